//! Several stations at once: connected in parallel, distinguished by their names, and retried while they are away.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use host_console::Failure;
use shared::wire::Identity;

use crate::monitor::live::{ReconnectOutcome, StopCondition, reconnect};
use crate::station::client::{BaudRate, LinkError, SerialTransport, SessionState, StationClient};
use crate::station::slug::station_slug;

/// A connected station, and its name in topics and folders.
#[derive(Debug)]
pub struct ConnectedStation {
    /// The client.
    pub station: StationClient<SerialTransport>,
    /// The station's identity.
    pub identity: Identity,
    /// Its name for topics and folders.
    pub slug: String,
}

/// Which station is on which port: names are unique.
#[derive(Debug, Default)]
pub struct StationRegistry(Mutex<BTreeMap<String, String>>);

impl StationRegistry {
    /// Registers a station that answers on `port`.
    ///
    /// # Errors
    /// [`Failure`] when a station on another port has the same name.
    pub fn register(
        &self,
        port: &str,
        (station, identity): (StationClient<SerialTransport>, Identity),
    ) -> Result<ConnectedStation, Failure> {
        let slug = station_slug(&identity.name);
        let mut ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match ports.insert(slug.clone(), port.to_owned()) {
            Some(other) if other != port => {
                let problem = format!("two stations have the name {slug}: on {other} and on {port}");
                ports.insert(slug, other);
                let next = "give each a unique name in its settings, such as name = \"bench-2\"";
                Err(Failure::usage(problem, next))
            }
            _ => Ok(ConnectedStation { station, identity, slug }),
        }
    }
}

/// A port, and the outcome of the first attempt to connect there.
#[derive(Debug)]
pub struct PendingStation {
    /// The port.
    pub port: String,
    baud: u32,
    first: Result<ConnectedStation, LinkError>,
}

impl PendingStation {
    /// Why the first attempt failed; `None` if it succeeded.
    pub fn connect_error(&self) -> Option<&LinkError> {
        self.first.as_ref().err()
    }

    /// The station, once it is connected; `None` when `condition` or `stop` ends the wait first.
    ///
    /// # Errors
    /// [`Failure`] when the station cannot be used, or another one has its name.
    pub fn wait_until_connected(
        self,
        registry: &StationRegistry,
        condition: StopCondition,
        stop: &AtomicBool,
    ) -> Result<Option<ConnectedStation>, Failure> {
        match self.first {
            Ok(station) => return Ok(Some(station)),
            Err(error) if !error.is_transient() => return Err(error.into()),
            Err(_) => {}
        }
        let baud = BaudRate::at_max(self.baud);
        match reconnect(&self.port, baud, SessionState::default(), condition, stop)? {
            ReconnectOutcome::Connected(opened) => registry.register(&self.port, *opened).map(Some),
            ReconnectOutcome::Stopped(_) => Ok(None),
        }
    }
}

/// The stations, if at least one of them is connected.
///
/// # Errors
/// The error of the first station.
pub fn require_one_connected(stations: Vec<PendingStation>) -> Result<Vec<PendingStation>, LinkError> {
    if stations.iter().any(|station| station.first.is_ok()) {
        return Ok(stations);
    }
    stations.into_iter().find_map(|station| station.first.err()).map_or_else(|| Ok(Vec::new()), Err)
}

/// Connects to the stations at these ports, in parallel, by `open`.
///
/// # Errors
/// [`Failure`] when two of those that answer have one name.
pub fn connect_all(
    ports: &[String],
    baud: u32,
    registry: &StationRegistry,
    open: impl Fn(&str, u32) -> Result<(StationClient<SerialTransport>, Identity), LinkError> + Sync,
) -> Result<Vec<PendingStation>, Failure> {
    let open = &open;
    let opened: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = ports.iter().map(|port| scope.spawn(move || open(port, baud))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let pending = |(port, opened): (&String, Result<_, LinkError>)| {
        let first = match opened {
            Ok(opened) => Ok(registry.register(port, opened)?),
            Err(error) => Err(error),
        };
        Ok(PendingStation { port: port.clone(), baud, first })
    };
    ports.iter().zip(opened).map(pending).collect()
}
