//! Why a station did not do what was asked, with the remedy.

use std::io;

use host_console::{Exit, Failure};
use shared::wire::{PROTOCOL_VERSION, Refusal, TrustRefusal};
use thiserror::Error;

use super::ports::{describe_ports, list_ports};
use crate::station::key_store::KeyStoreError;

/// What was heard instead of a station.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nothing.
    Silence,
    /// Bytes that make no packet.
    Noise,
    /// What was sent.
    Echo,
}

/// Why a station did not do what was asked.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The port is not there.
    #[error("there is no port {port}")]
    NoPort {
        /// The port meant.
        port: String,
    },
    /// The port is not this user's to open.
    #[error("the port {port} may not be opened by this user")]
    NoPermission {
        /// The port meant.
        port: String,
    },
    /// Another program holds the port.
    #[error("the port {port} is in use by another program")]
    Busy {
        /// The port meant.
        port: String,
    },
    /// The port cannot be opened.
    #[error("the port {port} cannot be opened as a serial line")]
    Open {
        /// The port meant.
        port: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The port went away.
    #[error("the line {port} was lost")]
    Lost {
        /// The port.
        port: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Nobody answered the first request.
    #[error("no station answers on {port}{}", match heard {
        Heard::Silence => "",
        Heard::Noise => ": bytes come that are no packets",
        Heard::Echo => ": the line gives back what is sent",
    })]
    NoStation {
        /// The port.
        port: String,
        /// What came instead.
        heard: Heard,
    },
    /// The user or the system wanted an end before a station answered.
    #[error("no station on {port} had answered before the program was stopped")]
    Stopped {
        /// The port.
        port: String,
    },
    /// The station is of another protocol version.
    #[error("the station on {port} speaks protocol {station}, this program {PROTOCOL_VERSION}")]
    Protocol {
        /// The port.
        port: String,
        /// The station's version.
        station: u16,
    },
    /// The station answered before, and now does not.
    #[error("the station on {port} no longer answers")]
    Silent {
        /// The port.
        port: String,
    },
    /// The station refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The station wants a signature, and there is no key for it.
    #[error("the station takes changes from the keys that it trusts alone, and no key is here to sign with")]
    NoKey(#[source] KeyStoreError),
    /// The answer is none to the request.
    #[error("the station on {port} gave an answer that does not fit the request")]
    Unfitting {
        /// The port.
        port: String,
    },
    /// The request is larger than a packet.
    #[error("the request does not fit a packet")]
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
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::NoPort { .. } | Self::Lost { .. } | Self::NoStation { .. } | Self::Silent { .. })
            || matches!(self, Self::Busy { .. } | Self::Open { .. })
    }

    /// The exit code of a command that ends with it.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) | Self::NoKey(_) | Self::Encode(_) | Self::Stopped { .. } => Exit::Failed,
            _ => Exit::StationAbsent,
        }
    }

    /// What to do about it.
    pub fn next_step(&self) -> String {
        match self {
            Self::NoPort { .. } | Self::Open { .. } => {
                format!("{}; name one with --port", describe_ports(&list_ports()))
            }
            Self::NoPermission { .. } => {
                "join the group that owns the port, mostly: sudo usermod -aG dialout $USER, then log in again"
                    .into()
            }
            Self::Stopped { .. } => "run the command again".into(),
            Self::Busy { .. } => "end the program that holds it, such as another nuclei-host".into(),
            Self::Lost { .. } | Self::Silent { .. } => {
                "look at the cable and the station's power, then run the command again".into()
            }
            Self::NoStation { heard: Heard::Silence, .. } => {
                "is it the right port, is the station on, and --baud no less than the rate in its settings?"
                    .into()
            }
            Self::NoStation { heard: Heard::Noise, .. } => {
                "set --baud to the rate in the station's settings, or name another port".into()
            }
            Self::NoStation { heard: Heard::Echo, .. } => {
                "take the loop off the line's end, or name another port".into()
            }
            Self::Protocol { station, .. } if *station < PROTOCOL_VERSION => {
                "update the station's nuclei-station to this program's release".into()
            }
            Self::Protocol { .. } => "update nuclei-host to the station's release".into(),
            Self::Refused(Refusal::Busy) => "wait until the trial is over: nuclei-host station slots".into(),
            Self::Refused(Refusal::Trust(TrustRefusal::Stranger { .. })) => {
                "put its line, as nuclei-host key list prints it, under [trust.keys] of the station's TOML, \
                 or name another with --key"
                    .into()
            }
            Self::Refused(Refusal::Trust(TrustRefusal::Locked { seconds })) => {
                format!("run the command again after {seconds} s; counting goes on meanwhile")
            }
            Self::NoKey(error) => error.next_step(),
            Self::Refused(_) | Self::Unfitting { .. } | Self::Encode(_) => {
                "update both sides to one release if they differ: nuclei-host station status".into()
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
