//! The station or stations to use: arguments of every command that needs a serial port.

use clap::Args;
use host_console::{Exit, Failure, one_line, warning};
use shared::trust::SecretKey;
use shared::wire::Identity;

use crate::monitor::fleet::{PendingStation, StationRegistry, connect_all};
use crate::station::client::{
    BaudRate, DEFAULT_BAUD, LinkError, PortKind, SerialTransport, StationClient, describe_ports, list_ports,
};
use crate::station::key_store::{KeyName, KeyStore, KeyStoreError};

/// The station to use.
#[derive(Debug, Clone, Args)]
pub struct PortArgs {
    /// The station's serial port, such as /dev/ttyUSB0 [default: the only USB serial port]
    #[arg(long, value_name = "PORT", global = true)]
    pub port: Option<String>,
    /// Baud rate; if only noise arrives, slower common rates are tried
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
    /// Key that signs changes, if the station requires one [default: the only key on this machine]
    #[arg(long = "key", value_name = "NAME", global = true)]
    sign_with: Option<KeyName>,
}

impl SigningArgs {
    /// The key. Without a name, the store's only key; a missing key is an error only if the station requires a
    /// signature.
    ///
    /// # Errors
    /// [`Failure`] when the named key cannot be used.
    pub fn key(&self) -> Result<Result<SecretKey, KeyStoreError>, Failure> {
        let key = KeyStore::of_user().and_then(|keys| Ok(keys.choose(self.sign_with.as_ref())?.1));
        match (&self.sign_with, key) {
            (Some(_), Err(error)) => Err(Failure::usage(one_line(&error), error.next_step())),
            (_, key) => Ok(key),
        }
    }
}

impl PortArgs {
    /// The named port, or the only USB serial port.
    ///
    /// # Errors
    /// [`Exit::StationAbsent`] where there is none, [`Exit::Usage`] where there are several.
    pub fn path(&self) -> Result<String, Failure> {
        self.port.clone().map_or_else(only_usb_port, Ok)
    }

    /// Opens the port and performs the handshake.
    ///
    /// # Errors
    /// [`Failure`], mostly of [`Exit::StationAbsent`].
    pub fn open(&self) -> Result<(StationClient<SerialTransport>, Identity), Failure> {
        let key = self.signing.key()?;
        let (mut station, identity) = open(&self.path()?, self.baud)?;
        station.sign_with(key);
        Ok((station, identity))
    }
}

/// Opens a port, performs the handshake, and reports if that only works at a slower baud rate.
pub fn open(port: &str, baud: u32) -> Result<(StationClient<SerialTransport>, Identity), LinkError> {
    let (station, identity) = StationClient::open(port, baud)?;
    let BaudRate { max, current } = station.baud_rate();
    if current < max {
        warning!("the station on {port} answers at {current} baud, but not at {max}");
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
            "no USB serial port found",
            format!("name the station's port with --port; {}", describe_ports(&ports)),
        )),
        _ => Err(Failure::usage(
            "there are several USB serial ports",
            format!("name the station's port with --port; {}", describe_ports(&ports)),
        )),
    }
}

/// The stations to use.
#[derive(Debug, Clone, Args)]
pub struct FleetArgs {
    /// A station's serial port; repeat for each station [default: the only USB serial port]
    #[arg(long = "port", value_name = "PORT")]
    ports: Vec<String>,
    /// Baud rate of all ports; if only noise arrives, slower common rates are tried
    #[arg(
        long,
        value_name = "RATE",
        default_value_t = DEFAULT_BAUD,
        value_parser = clap::value_parser!(u32).range(1200..=12_000_000),
    )]
    baud: u32,
}

impl FleetArgs {
    /// The named ports, or the only USB serial port.
    ///
    /// # Errors
    /// [`Failure`] when no port is named and there is not exactly one, or one is named twice.
    pub fn ports(&self) -> Result<Vec<String>, Failure> {
        if self.ports.is_empty() {
            return Ok(vec![only_usb_port()?]);
        }
        let twice = self.ports.iter().enumerate().find(|(at, port)| self.ports[..*at].contains(port));
        match twice {
            Some((_, port)) => {
                Err(Failure::usage(format!("{port} is given twice"), "give each station's port once"))
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
