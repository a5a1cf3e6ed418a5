//! `nuclei-host publish`: the counts of one or several stations, to an MQTT broker and to Prometheus.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::ScopedJoinHandle;

use clap::Args;
use host_console::{Exit, Failure, interrupt, output};
use shared::wire::Identity;

use super::live::summary_line;
use super::port_args::FleetArgs;
use crate::link::{SerialLine, Station};
use crate::live::{End, Show, Viewer};
use crate::publishing::{BrokerAddress, Courier, Level, Login, Metrics, Outbox, Outlet, Topics};

const EXAMPLES: &str = "Examples:
  nuclei-host publish --port /dev/ttyUSB0 --broker mqtt://broker.lab
  nuclei-host publish --port /dev/ttyUSB0 --port /dev/ttyUSB1 --broker mqtt://10.0.0.7 --discovery
  nuclei-host publish --broker mqtt://broker.lab --prometheus 127.0.0.1:9464
  NUCLEI_MQTT_PASSWORD=... nuclei-host publish --broker mqtt://broker.lab --user bench
  mosquitto_sub -h broker.lab -t 'nuclei/#' -v      (what a subscriber sees)";

/// Where `--user`'s password is: arguments are there for every user of the machine to see.
const PASSWORD: &str = "NUCLEI_MQTT_PASSWORD";

/// Send the counts of one or several stations to an MQTT 5 broker, and tell them to Prometheus.
///
/// nuclei/STATION/count gets a JSON object a frame, that of live --json with an id; nuclei/STATION/status and
/// nuclei/host/CLIENT/status say online or offline, and are retained. All by QoS 1: the broker acknowledges every
/// count. Those that it has not acknowledged wait while it is away, and go out in order when it is back; the last
/// few may then come twice, with the same id. Ends with ctrl-C. A station that goes away is waited for.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PublishArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    /// Where the broker is; without encryption, so for a network that you trust
    #[arg(long, value_name = "mqtt://HOST[:PORT]")]
    broker: BrokerAddress,
    /// The user that the broker knows; the password stands in the environment, as NUCLEI_MQTT_PASSWORD
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// First level of every topic
    #[arg(long, value_name = "LEVEL", default_value = "nuclei")]
    topic: Level,
    /// MQTT client identifier, each its own on one broker [default: nuclei-host- and the stations' names]
    #[arg(long, value_name = "NAME")]
    client: Option<Level>,
    /// Let Home Assistant find the stations, under this prefix
    #[arg(long, value_name = "PREFIX", num_args = 0..=1, default_missing_value = "homeassistant")]
    discovery: Option<Level>,
    /// Counts that may wait for the broker, about 1 kB each; beyond, the oldest are dropped, and counted
    #[arg(long, value_name = "N", default_value = "50000")]
    queue: NonZeroUsize,
    /// Serve Prometheus metrics here, at /metrics
    #[arg(long, value_name = "ADDRESS")]
    prometheus: Option<SocketAddr>,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &PublishArgs) -> Result<Exit, Failure> {
    let stop = interrupt::flag()?;
    let login = args.user.as_deref().map(login).transpose()?;
    let stations = args.fleet.open()?;
    let levels = levels(&stations)?;
    let client = args.client.clone().unwrap_or_else(|| client(&levels));
    let topics = Topics { root: args.topic.clone(), client };
    let metrics = Metrics::default();
    if let Some(address) = args.prometheus {
        output::line(&format!("metrics are at http://{}/metrics", metrics.serve(address)?))?;
    }
    let outbox = Arc::new(Outbox::new(args.queue, metrics.clone()));
    let courier = Courier::start(&args.broker, login, topics.clone(), Arc::clone(&outbox))?;
    output::line(&format!("publishing to {}, topic {}    (ctrl-C ends it)", args.broker, args.topic))?;

    let watched = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for ((station, identity), level) in stations.into_iter().zip(levels) {
            let outlet = Outlet::new(level.clone(), topics.clone(), Arc::clone(&outbox), metrics.clone());
            if let Some(prefix) = &args.discovery {
                outlet.announce(prefix, &identity);
            }
            threads.push(scope.spawn(move || watch((station, identity), &level, outlet, stop)));
        }
        // All are waited for, whatever becomes of one.
        let watched: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
        watched.into_iter().try_for_each(|watched| watched.unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let left = courier.finish();
    output::line(&format!(
        "{} counts published, {} dropped",
        metrics.published.get(),
        metrics.dropped.get()
    ))?;
    watched?;
    if left > 0 {
        return Err(Failure::failed(
            format!("{left} counts did not reach the broker"),
            "nothing holds them any more; another time, end publishing while the broker is there",
        ));
    }
    Ok(Exit::Done)
}

type Opened = (Station<SerialLine>, Identity);

/// Publishes what a station tells until the end.
fn watch(opened: Opened, level: &Level, outlet: Outlet, stop: &AtomicBool) -> Result<(), Failure> {
    let mut viewer = Viewer::new(Show::Broker(Box::new(outlet)), None);
    match viewer.watch(opened, End::default(), stop) {
        Ok((_, summary)) => output::line(&format!("{level}: {}", summary_line(&summary))),
        Err(failure) => {
            // The other stations may go on for long.
            eprintln!("{level}: {failure}");
            Err(failure)
        }
    }
}

fn login(user: &str) -> Result<Login, Failure> {
    let password = std::env::var(PASSWORD).map_err(|error| {
        Failure::usage(
            format!("there is no password for {user}: {PASSWORD}: {error}"),
            "set it in the environment",
        )
    })?;
    Ok(Login { user: user.to_owned(), password })
}

/// The stations' levels in the topic tree, which must differ.
fn levels(stations: &[Opened]) -> Result<Vec<Level>, Failure> {
    let levels: Vec<_> = stations.iter().map(|(_, identity)| Level::of_name(&identity.name)).collect();
    let mut seen = BTreeSet::new();
    match levels.iter().find(|&level| !seen.insert(level)) {
        None => Ok(levels),
        Some(level) => Err(Failure::usage(
            format!("two of the stations would be {level} in the topics"),
            "give each a name of its own in its settings, such as name = \"bench-2\"",
        )),
    }
}

/// The same whenever these stations are published, in whatever order they are named.
fn client(levels: &[Level]) -> Level {
    let mut names: Vec<String> = levels.iter().map(Level::to_string).collect();
    names.sort();
    Level::of_name(&format!("nuclei-host-{}", names.join("-")))
}
