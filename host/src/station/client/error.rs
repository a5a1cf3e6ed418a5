//! Why a request to a station failed, with the next step.

use std::io;

use host_console::{Exit, Failure};
use shared::wire::{PROTOCOL_VERSION, Refusal, TrustRefusal};
use thiserror::Error;

use super::ports::{describe_ports, list_ports};
use crate::station::key_store::KeyStoreError;

/// What was received instead of a station's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineObservation {
    /// Nothing.
    Silence,
    /// Bytes that are no packet.
    Noise,
    /// The bytes that were sent.
    Echo,
}

/// Why a request to a station failed.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The port does not exist.
    #[error("port {port} does not exist")]
    NoPort {
        /// The port meant.
        port: String,
    },
    /// This user cannot open the port.
    #[error("this user cannot open port {port}")]
    NoPermission {
        /// The port meant.
        port: String,
    },
    /// Another program holds the port.
    #[error("port {port} is in use by another program")]
    Busy {
        /// The port meant.
        port: String,
    },
    /// The port cannot be opened.
    #[error("port {port} cannot be opened as a serial port")]
    Open {
        /// The port meant.
        port: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The port disconnected.
    #[error("port {port} disconnected")]
    Lost {
        /// The port.
        port: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// No station responded to the handshake.
    #[error("no station answered on {port}{}", match observed {
        LineObservation::Silence => "",
        LineObservation::Noise => ": received data is not valid (wrong baud rate?)",
        LineObservation::Echo => ": the port echoes what is sent",
    })]
    NoStation {
        /// The port.
        port: String,
        /// What arrived instead.
        observed: LineObservation,
    },
    /// The command was cancelled before a station answered.
    #[error("no station on {port} answered before the program was stopped")]
    Cancelled {
        /// The port.
        port: String,
    },
    /// The station speaks another protocol version.
    #[error("the station on {port} speaks protocol {station}, this program {PROTOCOL_VERSION}")]
    Protocol {
        /// The port.
        port: String,
        /// The station's version.
        station: u16,
    },
    /// The station responded before, and now does not.
    #[error("the station on {port} no longer answers")]
    Timeout {
        /// The port.
        port: String,
    },
    /// The station refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The station requires a signature, and there is no key.
    #[error(
        "this station only accepts changes signed by a trusted key, and no signing key was found on this computer"
    )]
    NoKey(#[source] KeyStoreError),
    /// The response does not match the request.
    #[error("the station on {port} sent an unexpected response")]
    UnexpectedResponse {
        /// The port.
        port: String,
    },
    /// The request is larger than a packet.
    #[error("the request does not fit into a packet")]
    Encode(#[from] shared::wire::EncodeError),
}

impl LinkError {
    /// The error of opening `port`.
    pub(super) fn of_open(port: &str, source: io::Error) -> Self {
        let port = port.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NoPort { port },
            io::ErrorKind::PermissionDenied => Self::NoPermission { port },
            io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock => Self::Busy { port },
            _ => Self::Open { port, source },
        }
    }

    /// Whether the same request may succeed once the line or the station is back.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::NoPort { .. } | Self::Lost { .. } | Self::NoStation { .. } | Self::Timeout { .. }
        ) || matches!(self, Self::Busy { .. } | Self::Open { .. })
    }

    /// The exit code of a command that ends with it.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) | Self::NoKey(_) | Self::Encode(_) | Self::Cancelled { .. } => Exit::Failed,
            _ => Exit::StationAbsent,
        }
    }

    /// What to do about it.
    pub fn next_step(&self) -> String {
        match self {
            Self::NoPort { .. } | Self::Open { .. } => {
                format!("{}; choose one with --port", describe_ports(&list_ports()))
            }
            Self::NoPermission { .. } => {
                "join the group that owns the port, usually with: sudo usermod -aG dialout $USER, then log in again"
                    .into()
            }
            Self::Cancelled { .. } => "run the command again".into(),
            Self::Busy { .. } => "stop the program that uses it, such as another nuclei-host".into(),
            Self::Lost { .. } | Self::Timeout { .. } => {
                "check the cable and the station's power, then run the command again".into()
            }
            Self::NoStation { observed: LineObservation::Silence, .. } => {
                "check the port, the station's power, and that --baud is at least the rate in its settings"
                    .into()
            }
            Self::NoStation { observed: LineObservation::Noise, .. } => {
                "set --baud to the rate in the station's settings, or choose another port".into()
            }
            Self::NoStation { observed: LineObservation::Echo, .. } => {
                "remove the loopback plug, or choose another port".into()
            }
            Self::Protocol { station, .. } if *station < PROTOCOL_VERSION => {
                "update nuclei-station on the station to the version of nuclei-host".into()
            }
            Self::Protocol { .. } => "update nuclei-host to the version of the station".into(),
            Self::Refused(Refusal::Busy) => "wait until the trial is over (nuclei-host station slots shows it)".into(),
            Self::Refused(Refusal::Trust(TrustRefusal::UnknownKey { .. })) => {
                "add its line, as nuclei-host key list prints it, under [trust.keys] in the station's \
                     TOML, or choose another key with --key"
                    .into()
            }
            Self::Refused(Refusal::Trust(TrustRefusal::LockedOut { seconds })) => {
                format!("run the command again in {seconds} s; counting continues")
            }
            Self::NoKey(error) => error.next_step(),
            Self::Refused(_) | Self::UnexpectedResponse { .. } | Self::Encode(_) => {
                "check with nuclei-host station status that both sides have the same version".into()
            }
        }
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        let next = error.next_step();
        Self::new(error.exit(), error, next)
    }
}
