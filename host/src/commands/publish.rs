//! `nuclei-host publish`: the counts of one or several stations, to an MQTT broker and to Prometheus.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::ScopedJoinHandle;

use clap::Args;
use host_console::{Exit, Failure, interrupt, output};

use super::live::summary_line;
use super::port_args::FleetArgs;
use crate::monitor::fleet::{Member, Place, Roster};
use crate::monitor::live::{End, Show, Viewer};
use crate::publish::{
    Access, BrokerAddress, Courier, Credentials, Level, Login, Metrics, Outbox, Outlet, Scheme, Topics,
};

const EXAMPLES: &str = "Examples:
  nuclei-host publish --port /dev/ttyUSB0 --broker mqtt://broker.lab
  nuclei-host publish --port /dev/ttyUSB0 --port /dev/ttyUSB1 --broker mqtt://10.0.0.7 --discovery
  nuclei-host publish --broker mqtts://broker.lab --ca lab-ca.pem --login /etc/nuclei/broker-login
  nuclei-host publish --broker mqtt://broker.lab --queue /var/lib/nuclei/queue --prometheus 127.0.0.1:9464
  mosquitto_sub -h broker.lab -t 'nuclei/#' -v      (what a subscriber sees)";

/// Send the counts of one or several stations to an MQTT 5 broker, and tell them to Prometheus.
///
/// nuclei/STATION/count gets a JSON object a frame, that of live --json with an id; nuclei/STATION/status and
/// nuclei/host/CLIENT/status say online or offline, and are retained. All by QoS 1: the broker acknowledges every
/// count. Those that it has not acknowledged wait while it is away, and go out in order when it is back; the last
/// few may then come twice, with the same id. With --queue they wait on the disk, and a publisher that was killed goes
/// on with them when it is started again. Ends with ctrl-C. Stations and a broker that are not there, at the start or
/// later, are waited for.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PublishArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    /// Where the broker is; mqtts encrypts, mqtt is for a network that you trust
    #[arg(long, value_name = "mqtt[s]://HOST[:PORT]")]
    broker: BrokerAddress,
    /// Certificates of who signs the broker's, PEM [default: those that the system trusts]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// This host's certificate, where the broker asks for one, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The secret key of --cert, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// A file that only you may read, with a user that the broker knows in its first line and the password in its
    /// second [default: NUCLEI_MQTT_USER and NUCLEI_MQTT_PASSWORD of the environment]
    #[arg(long, value_name = "FILE")]
    login: Option<PathBuf>,
    /// First level of every topic
    #[arg(long, value_name = "LEVEL", default_value = "nuclei")]
    topic: Level,
    /// MQTT client identifier, each its own on one broker [default: nuclei-host, this machine's name and the ports]
    #[arg(long, value_name = "NAME")]
    client: Option<Level>,
    /// Let Home Assistant find the stations, under this prefix
    #[arg(long, value_name = "PREFIX", num_args = 0..=1, default_missing_value = "homeassistant")]
    discovery: Option<Level>,
    /// Keep the counts that wait for the broker in this folder, so that a kill loses none
    #[arg(long, value_name = "DIR", value_parser = queue_folder)]
    queue: Option<PathBuf>,
    /// Counts that may wait for the broker, about 1 kB each; beyond, the oldest are dropped, and counted
    #[arg(long, value_name = "N", default_value = "50000")]
    queue_bound: NonZeroUsize,
    /// Serve Prometheus metrics here, at /metrics
    #[arg(long, value_name = "ADDRESS")]
    prometheus: Option<SocketAddr>,
}

/// A folder, and no number: that is what `--queue-bound` takes.
fn queue_folder(text: &str) -> Result<PathBuf, String> {
    match text.parse::<i64>() {
        Ok(_) => Err("a folder is wanted; --queue-bound says how many counts may wait".to_owned()),
        Err(_) => Ok(text.into()),
    }
}

impl PublishArgs {
    fn access(&self) -> Result<Access, Failure> {
        let login = match &self.login {
            Some(path) => Some(Login::load(path)?),
            None => Login::of_environment()?,
        };
        let identity = self.cert.clone().zip(self.key.clone());
        let credentials = Credentials { authorities: self.ca.clone(), identity };
        let encryption = match self.broker.scheme {
            Scheme::Mqtts => Some(credentials.load()?),
            Scheme::Mqtt if credentials.is_named() => {
                let problem = format!("{} is without encryption, and certificates are for it", self.broker);
                return Err(Failure::usage(
                    problem,
                    "write mqtts:// in --broker, or leave the certificates out",
                ));
            }
            Scheme::Mqtt => None,
        };
        if login.is_some() && encryption.is_none() {
            eprintln!("caution: the password goes to {} without encryption", self.broker);
        }
        Ok(Access { login, encryption })
    }
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &PublishArgs) -> Result<Exit, Failure> {
    let stop = interrupt::flag()?;
    let access = args.access()?;
    let ports = args.fleet.ports()?;
    let client = args.client.clone().unwrap_or_else(|| client(&ports));
    let topics = Topics { root: args.topic.clone(), client };
    let metrics = Metrics::default();
    if let Some(address) = args.prometheus {
        output::line(&format!("metrics are at http://{}/metrics", metrics.serve(address)?))?;
    }
    let roster = Roster::default();
    let places = args.fleet.gather(&ports, &roster)?;
    let outbox = match &args.queue {
        Some(folder) => Outbox::kept(folder, args.queue_bound, metrics.clone())?,
        None => Arc::new(Outbox::new(args.queue_bound, metrics.clone())),
    };
    let courier = Courier::start(&args.broker, access, topics.clone(), Arc::clone(&outbox))?;
    output::line(&format!("publishing to {}, topic {}    (ctrl-C ends it)", args.broker, args.topic))?;

    let publishing = Publishing { args, topics, metrics, outbox, roster, stop };
    let watched = std::thread::scope(|scope| {
        let publishing = &publishing;
        let threads: Vec<_> =
            places.into_iter().map(|place| scope.spawn(move || publishing.station(place))).collect();
        // All are waited for, whatever becomes of one.
        let watched: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
        watched.into_iter().try_for_each(|watched| watched.unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let left = courier.finish();
    let Publishing { metrics, outbox, .. } = publishing;
    output::line(&format!(
        "{} counts published, {} dropped",
        metrics.published.get(),
        metrics.dropped.get()
    ))?;
    watched?;
    match &args.queue {
        Some(folder) if left > 0 && outbox.is_whole() => {
            eprintln!("{left} counts wait in {} for the next time", folder.display());
        }
        _ if left > 0 => {
            return Err(Failure::failed(
                format!("{left} counts did not reach the broker"),
                "nothing holds them any more; another time, end publishing while the broker is there, or use --queue",
            ));
        }
        _ => {}
    }
    Ok(Exit::Done)
}

/// What publishing every station needs.
struct Publishing<'a> {
    args: &'a PublishArgs,
    topics: Topics,
    metrics: Metrics,
    outbox: Arc<Outbox>,
    roster: Roster,
    stop: &'a AtomicBool,
}

impl Publishing<'_> {
    /// Publishes what a station tells until the end.
    fn station(&self, place: Place) -> Result<(), Failure> {
        let mut name = place.port.clone();
        let published = self.joined(place, &mut name);
        if let Err(failure) = &published {
            // The other stations may go on for long.
            eprintln!("{name}: {failure}");
        }
        published
    }

    /// The same; `name` is what the station is called, from when it is known.
    fn joined(&self, place: Place, name: &mut String) -> Result<(), Failure> {
        let is_late = place.absence().is_some();
        if let Some(error) = place.absence() {
            eprintln!("{error}; it is waited for");
        }
        let Some(member) = place.join(&self.roster, End::default(), self.stop)? else { return Ok(()) };
        let Member { station, identity, level } = member;
        *name = level.to_string();
        if is_late {
            eprintln!("{name}: the station is there, on {}", station.port());
        }
        let outlet = Outlet::new(level, self.topics.clone(), Arc::clone(&self.outbox), self.metrics.clone());
        if let Some(prefix) = &self.args.discovery {
            outlet.announce(prefix, &identity);
        }
        let mut viewer = Viewer::new(Show::Broker(Box::new(outlet)), None);
        let (_, summary) = viewer.watch((station, identity), End::default(), self.stop)?;
        output::line(&format!("{name}: {}", summary_line(&summary)))
    }
}

/// The same whenever these ports of this machine are published, in whatever order they are named.
fn client(ports: &[String]) -> Level {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut names: Vec<&str> = ports.iter().filter_map(|port| port.rsplit('/').next()).collect();
    names.sort_unstable();
    Level::of_name(&["nuclei-host", machine.trim(), &names.join("-")].join("-"))
}
