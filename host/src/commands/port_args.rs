//! Which station: the arguments that every command on the line takes.

use clap::Args;
use host_console::{Exit, Failure};
use shared::wire::Identity;

use crate::link::{DEFAULT_BAUD, PortKind, SerialLine, Station, describe_ports, list_ports};

/// Which station is meant.
#[derive(Debug, Clone, Args)]
pub struct PortArgs {
    /// The station's serial port, such as /dev/ttyUSB0 [default: the only one on USB]
    #[arg(long, value_name = "PORT", global = true)]
    pub port: Option<String>,
    /// The line's rate in bits a second, as in the station's settings
    #[arg(
        long,
        value_name = "RATE",
        global = true,
        default_value_t = DEFAULT_BAUD,
        value_parser = clap::value_parser!(u32).range(1200..=12_000_000),
    )]
    pub baud: u32,
}

impl PortArgs {
    /// The port named, or the only one that it can be.
    ///
    /// # Errors
    /// [`Exit::StationAbsent`] where there is none, [`Exit::Usage`] where there are several.
    pub fn path(&self) -> Result<String, Failure> {
        if let Some(port) = &self.port {
            return Ok(port.clone());
        }
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

    /// Opens the port and greets the station.
    ///
    /// # Errors
    /// [`Failure`], mostly of [`Exit::StationAbsent`].
    pub fn open(&self) -> Result<(Station<SerialLine>, Identity), Failure> {
        Ok(Station::open(&self.path()?, self.baud)?)
    }
}
