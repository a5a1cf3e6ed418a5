//! Several stations at once: greeted together, told apart by their names, and waited for where they are not there.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use host_console::Failure;
use shared::wire::Identity;

use crate::monitor::live::{Awaited, End, wait_for};
use crate::publish::Level;
use crate::station::client::{LineSpeed, LinkError, Numbering, SerialLine, Station};

/// A station that answered, and what it is called in topics and folders.
#[derive(Debug)]
pub struct Member {
    /// The station.
    pub station: Station<SerialLine>,
    /// Who it says it is.
    pub identity: Identity,
    /// Its name, as topics and folders take it.
    pub level: Level,
}

/// Which station is on which port: no two have one name.
#[derive(Debug, Default)]
pub struct Roster(Mutex<BTreeMap<Level, String>>);

impl Roster {
    /// Enters a station that answers on `port`.
    ///
    /// # Errors
    /// [`Failure`] when a station on another port has the same name.
    pub fn enter(
        &self,
        port: &str,
        (station, identity): (Station<SerialLine>, Identity),
    ) -> Result<Member, Failure> {
        let level = Level::of_name(&identity.name);
        let mut ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match ports.insert(level.clone(), port.to_owned()) {
            Some(other) if other != port => {
                let problem = format!("two of the stations would be {level}: on {other} and on {port}");
                ports.insert(level, other);
                let next = "give each a name of its own in its settings, such as name = \"bench-2\"";
                Err(Failure::usage(problem, next))
            }
            _ => Ok(Member { station, identity, level }),
        }
    }
}

/// A port, and what came of the first greeting there.
#[derive(Debug)]
pub struct Place {
    /// The port.
    pub port: String,
    baud: u32,
    first: Result<Member, LinkError>,
}

impl Place {
    /// Why no station is there yet.
    pub fn absence(&self) -> Option<&LinkError> {
        self.first.as_ref().err()
    }

    /// The station, as soon as it is there; `None` where that is over before.
    ///
    /// # Errors
    /// [`Failure`] when the station cannot be used, or another one has its name.
    pub fn join(self, roster: &Roster, end: End, stop: &AtomicBool) -> Result<Option<Member>, Failure> {
        match self.first {
            Ok(member) => return Ok(Some(member)),
            Err(error) if !error.is_passing() => return Err(error.into()),
            Err(_) => {}
        }
        match wait_for(&self.port, LineSpeed::top(self.baud), Numbering::default(), end, stop)? {
            Awaited::Back(opened) => roster.enter(&self.port, *opened).map(Some),
            Awaited::Over(_) => Ok(None),
        }
    }
}

/// The places, where a station answers at one of them at least.
///
/// # Errors
/// Why none answers at the first.
pub fn some_present(places: Vec<Place>) -> Result<Vec<Place>, LinkError> {
    if places.iter().any(|place| place.first.is_ok()) {
        return Ok(places);
    }
    places.into_iter().find_map(|place| place.first.err()).map_or_else(|| Ok(Vec::new()), Err)
}

/// Greets the stations at these ports, all at the same time, by `open`.
///
/// # Errors
/// [`Failure`] when two of those that answer have one name.
pub fn gather(
    ports: &[String],
    baud: u32,
    roster: &Roster,
    open: impl Fn(&str, u32) -> Result<(Station<SerialLine>, Identity), LinkError> + Sync,
) -> Result<Vec<Place>, Failure> {
    let open = &open;
    let opened: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = ports.iter().map(|port| scope.spawn(move || open(port, baud))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let place = |(port, opened): (&String, Result<_, LinkError>)| {
        let first = match opened {
            Ok(opened) => Ok(roster.enter(port, opened)?),
            Err(error) => Err(error),
        };
        Ok(Place { port: port.clone(), baud, first })
    };
    ports.iter().zip(opened).map(place).collect()
}
