//! Which station, or stations: the arguments that every command on the line takes.

use clap::Args;
use host_console::{Exit, Failure, one_line};
use shared::trust::SecretKey;
use shared::wire::Identity;

use crate::monitor::fleet::{PendingStation, StationRegistry, connect_all};
use crate::station::client::{
    DEFAULT_BAUD, LineSpeed, LinkError, PortKind, SerialLine, Station, describe_ports, list_ports,
};
use crate::station::key_store::{KeyName, KeyStore, KeyStoreError};

/// Which station is meant.
#[derive(Debug, Clone, Args)]
pub struct PortArgs {
    /// The station's serial port, such as /dev/ttyUSB0 [default: the only one on USB]
    #[arg(long, value_name = "PORT", global = true)]
    pub port: Option<String>,
    /// The line's rate in bits a second; where only noise comes, slower common ones are tried
    #[arg(
        long,
        value_name = "RATE",
        global = true,
        default_value_t = DEFAULT_BAUD,
        value_parser = clap::value_parser!(u32).range(1200..=12_000_000),
    )]
    pub baud: u32,
    #[command(flatten)]
    signing: SigningArgs,
}

/// Who signs changes.
#[derive(Debug, Clone, Args)]
pub struct SigningArgs {
    /// The key that signs changes, where the station trusts keys [default: the only one there is]
    #[arg(long = "key", value_name = "NAME", global = true)]
    sign_with: Option<KeyName>,
}

impl SigningArgs {
    /// The key. One that is not named is looked for, and missed only where the station wants a signature.
    ///
    /// # Errors
    /// [`Failure`] when the key that is named cannot be used.
    pub fn key(&self) -> Result<Result<SecretKey, KeyStoreError>, Failure> {
        let key = KeyStore::of_user().and_then(|keys| Ok(keys.choose(self.sign_with.as_ref())?.1));
        match (&self.sign_with, key) {
            (Some(_), Err(error)) => Err(Failure::usage(one_line(&error), error.next_step())),
            (_, key) => Ok(key),
        }
    }
}

impl PortArgs {
    /// The port named, or the only one that it can be.
    ///
    /// # Errors
    /// [`Exit::StationAbsent`] where there is none, [`Exit::Usage`] where there are several.
    pub fn path(&self) -> Result<String, Failure> {
        self.port.clone().map_or_else(only_usb_port, Ok)
    }

    /// Opens the port and greets the station.
    ///
    /// # Errors
    /// [`Failure`], mostly of [`Exit::StationAbsent`].
    pub fn open(&self) -> Result<(Station<SerialLine>, Identity), Failure> {
        let key = self.signing.key()?;
        let (mut station, identity) = open(&self.path()?, self.baud)?;
        station.sign_with(key);
        Ok((station, identity))
    }
}

/// Opens a port and greets the station there, and tells where that works at a slower speed alone.
pub fn open(port: &str, baud: u32) -> Result<(Station<SerialLine>, Identity), LinkError> {
    let (station, identity) = Station::open(port, baud)?;
    let LineSpeed { top, now } = station.speed();
    if now < top {
        eprintln!("the station on {port} answers at {now} baud, and not at {top}");
    }
    Ok((station, identity))
}

fn only_usb_port() -> Result<String, Failure> {
    let ports = list_ports();
    let mut usb = ports.iter().filter(|port| port.kind == PortKind::Usb);
    match (usb.next(), usb.next()) {
        (Some(port), None) => Ok(port.path.clone()),
        (None, _) => Err(Failure::new(
            Exit::StationAbsent,
            "no station is plugged in by USB",
            format!("name its port with --port; {}", describe_ports(&ports)),
        )),
        _ => Err(Failure::usage(
            "there are several serial ports on USB",
            format!("name the station's with --port; {}", describe_ports(&ports)),
        )),
    }
}

/// Which stations are meant.
#[derive(Debug, Clone, Args)]
pub struct FleetArgs {
    /// A station's serial port; once for each station [default: the only one on USB]
    #[arg(long = "port", value_name = "PORT")]
    ports: Vec<String>,
    /// The lines' rate in bits a second; where only noise comes, slower common ones are tried
    #[arg(
        long,
        value_name = "RATE",
        default_value_t = DEFAULT_BAUD,
        value_parser = clap::value_parser!(u32).range(1200..=12_000_000),
    )]
    baud: u32,
}

impl FleetArgs {
    /// The ports named, or the only one that it can be.
    ///
    /// # Errors
    /// [`Failure`] when no port is named and there is not one alone, or one is named twice.
    pub fn ports(&self) -> Result<Vec<String>, Failure> {
        if self.ports.is_empty() {
            return Ok(vec![only_usb_port()?]);
        }
        let twice = self.ports.iter().enumerate().find(|(at, port)| self.ports[..*at].contains(port));
        match twice {
            Some((_, port)) => {
                Err(Failure::usage(format!("{port} is named twice"), "name each station's port once"))
            }
            None => Ok(self.ports.clone()),
        }
    }

    /// Connects to the stations at these ports, in parallel.
    ///
    /// # Errors
    /// [`Failure`] when two of those that answer have one name.
    pub fn connect_all(
        &self,
        ports: &[String],
        registry: &StationRegistry,
    ) -> Result<Vec<PendingStation>, Failure> {
        connect_all(ports, self.baud, registry, open)
    }
}
