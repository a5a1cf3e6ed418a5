//! `nuclei-host publish`: publishes counts to an MQTT broker and to Prometheus.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::ScopedJoinHandle;

use clap::Args;
use host_console::{Exit, Failure, interrupt, output, warning};

use super::port_args::FleetArgs;
use crate::monitor::fleet::{ConnectedStation, PendingStation, StationRegistry};
use crate::monitor::live::{FrameSink, StationMonitor, StopCondition};
use crate::publish::{
    BrokerAddress, ConnectOptions, Credentials, Metrics, MqttPublisher, Outbox, Scheme, StationPublisher,
    TlsFiles, TopicLevel, Topics,
};

const EXAMPLES: &str = "Examples:
  nuclei-host publish --port /dev/ttyUSB0 --broker mqtt://broker.lab
  nuclei-host publish --port /dev/ttyUSB0 --port /dev/ttyUSB1 --broker mqtt://10.0.0.7 --discovery
  nuclei-host publish --broker mqtts://broker.lab --ca lab-ca.pem --login /etc/nuclei/broker-login
  nuclei-host publish --broker mqtt://broker.lab --queue /var/lib/nuclei/queue --prometheus 127.0.0.1:9464
  mosquitto_sub -h broker.lab -t 'nuclei/#' -v      (what a subscriber sees)";

/// Publish the counts of one or more stations to an MQTT 5 broker, and as Prometheus metrics.
///
/// nuclei/STATION/count gets one JSON object per frame, as live --json prints it, with an id. nuclei/STATION/status and
/// nuclei/host/CLIENT/status are online or offline, and retained. Delivery is at least once (QoS 1): counts that the
/// broker has not acknowledged are queued while it is unavailable and then sent in order, and the last few may be
/// published twice with the same id. With --queue the queue is on disk, and a publisher that was killed continues with
/// it. Stations and a broker that are not available, at start or later, are reconnected when they appear. Ctrl-C stops
/// it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PublishArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    /// Address of the broker; mqtts is encrypted, mqtt is for a network you trust
    #[arg(long, value_name = "mqtt[s]://HOST[:PORT]")]
    broker: BrokerAddress,
    /// CA certificates for the broker, PEM [default: those of the system]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Client certificate, if the broker requires one, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Private key of --cert, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// File with the user name on line 1 and the password on line 2, readable only by you [default: NUCLEI_MQTT_USER
    /// and NUCLEI_MQTT_PASSWORD of the environment]
    #[arg(long, value_name = "FILE")]
    login: Option<PathBuf>,
    /// First level of all topics
    #[arg(long, value_name = "LEVEL", default_value = "nuclei")]
    topic: TopicLevel,
    /// MQTT client identifier, unique on the broker [default: nuclei-host, this machine's name and the ports]
    #[arg(long, value_name = "NAME")]
    client: Option<TopicLevel>,
    /// Publish discovery messages for Home Assistant, under this prefix
    #[arg(long, value_name = "PREFIX", num_args = 0..=1, default_missing_value = "homeassistant")]
    discovery: Option<TopicLevel>,
    /// Store the queue in this folder, so that no count is lost when publish is killed
    #[arg(long, value_name = "DIR", value_parser = queue_folder)]
    queue: Option<PathBuf>,
    /// Counts that the queue holds, about 1 kB each; a full queue drops its oldest counts
    #[arg(long, alias = "queue-bound", value_name = "N", default_value = "50000")]
    queue_capacity: NonZeroUsize,
    /// Serve Prometheus metrics on this address, at /metrics
    #[arg(long, value_name = "ADDRESS")]
    prometheus: Option<SocketAddr>,
}

/// A folder, and no number: that is what `--queue-capacity` takes.
fn queue_folder(text: &str) -> Result<PathBuf, String> {
    match text.parse::<i64>() {
        Ok(_) => Err("expected a folder; --queue-capacity sets how many counts the queue holds".to_owned()),
        Err(_) => Ok(text.into()),
    }
}

impl PublishArgs {
    fn connect_options(&self) -> Result<ConnectOptions, Failure> {
        let credentials = match &self.login {
            Some(path) => Some(Credentials::load(path)?),
            None => Credentials::of_environment()?,
        };
        let identity = self.cert.clone().zip(self.key.clone());
        let files = TlsFiles { authorities: self.ca.clone(), identity };
        let tls = match self.broker.scheme {
            Scheme::Mqtts => Some(files.load()?),
            Scheme::Mqtt if files.is_named() => {
                let problem = format!("{} has no encryption, and certificates need it", self.broker);
                return Err(Failure::usage(
                    problem,
                    "write mqtts:// in --broker, or leave the certificates out",
                ));
            }
            Scheme::Mqtt => None,
        };
        if credentials.is_some() && tls.is_none() {
            warning!("caution: the password is sent to {} without encryption", self.broker);
        }
        Ok(ConnectOptions { credentials, tls })
    }
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &PublishArgs) -> Result<Exit, Failure> {
    let stop = interrupt::flag()?;
    let connect_options = args.connect_options()?;
    let ports = args.fleet.ports()?;
    let client = args.client.clone().unwrap_or_else(|| client(&ports));
    let topics = Topics { root: args.topic.clone(), client };
    let metrics = Metrics::default();
    if let Some(address) = args.prometheus {
        output::line(&format!("metrics are at http://{}/metrics", metrics.serve(address)?))?;
    }
    let registry = StationRegistry::default();
    let stations = args.fleet.connect_all(&ports, &registry)?;
    let outbox = match &args.queue {
        Some(folder) => Outbox::open_durable(folder, args.queue_capacity, metrics.clone())?,
        None => Arc::new(Outbox::new(args.queue_capacity, metrics.clone())),
    };
    let publisher = MqttPublisher::start(&args.broker, connect_options, topics.clone(), Arc::clone(&outbox))?;
    output::line(&format!("publishing to {}, topic {}    (Ctrl-C to stop)", args.broker, args.topic))?;

    let publishing = Publishing { args, topics, metrics, outbox, registry, stop };
    let result = std::thread::scope(|scope| {
        let publishing = &publishing;
        let threads: Vec<_> =
            stations.into_iter().map(|pending| scope.spawn(move || publishing.run(pending))).collect();
        // A failure at one station does not end the others.
        let results: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
        results.into_iter().try_for_each(|result| result.unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let left = publisher.finish();
    let Publishing { metrics, outbox, .. } = publishing;
    output::line(&format!(
        "{} counts published, {} dropped",
        metrics.published.get(),
        metrics.dropped.get()
    ))?;
    result?;
    match &args.queue {
        Some(folder) if left > 0 && outbox.is_durable() => {
            warning!("{left} counts stay queued in {} for the next run", folder.display());
        }
        _ if left > 0 => {
            return Err(Failure::failed(
                format!("{left} counts did not reach the broker"),
                "they are lost; next time, end publishing while the broker is connected, or use --queue",
            ));
        }
        _ => {}
    }
    Ok(Exit::Done)
}

/// What publishing from all stations shares.
struct Publishing<'a> {
    args: &'a PublishArgs,
    topics: Topics,
    metrics: Metrics,
    outbox: Arc<Outbox>,
    registry: StationRegistry,
    stop: &'a AtomicBool,
}

impl Publishing<'_> {
    /// Publishes a station's counts until the end.
    fn run(&self, pending: PendingStation) -> Result<(), Failure> {
        let mut name = pending.port.clone();
        let result = self.connect_and_publish(pending, &mut name);
        if let Err(failure) = &result {
            // The other stations may go on for long.
            failure.print_for(&name);
        }
        result
    }

    /// The same; sets `name` to the station's once it is known.
    fn connect_and_publish(&self, pending: PendingStation, name: &mut String) -> Result<(), Failure> {
        let is_late = pending.connect_error().is_some();
        if let Some(error) = pending.connect_error() {
            warning!("{error}; waiting for the station");
        }
        let connected = pending.wait_until_connected(&self.registry, StopCondition::default(), self.stop)?;
        let Some(ConnectedStation { station, identity, slug }) = connected else { return Ok(()) };
        name.clone_from(&slug);
        if is_late {
            warning!("{name}: station connected on {}", station.port());
        }
        let publisher = StationPublisher::new(
            TopicLevel::of_name(&slug),
            self.topics.clone(),
            Arc::clone(&self.outbox),
            self.metrics.clone(),
        );
        if let Some(prefix) = &self.args.discovery {
            publisher.announce(prefix, &identity);
        }
        let mut monitor = StationMonitor::new(FrameSink::Mqtt(Box::new(publisher)), None);
        let (_, summary) = monitor.run((station, identity), StopCondition::default(), self.stop)?;
        output::line(&format!("{name}: {}", summary.to_line()))
    }
}

/// The same client identifier for these ports of this machine, in whatever order they are named.
fn client(ports: &[String]) -> TopicLevel {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut names: Vec<&str> = ports.iter().filter_map(|port| port.rsplit('/').next()).collect();
    names.sort_unstable();
    TopicLevel::of_name(&["nuclei-host", machine.trim(), &names.join("-")].join("-"))
}
