//! Why a session with a station ends.

use host_console::Failure;

use crate::records::provenance::ProvenanceError;
use crate::station::client::LinkError;

/// Why a session with a station failed.
#[derive(Debug)]
pub(super) enum SessionError {
    /// The connection failed; a reconnect may help.
    Link(LinkError),
    /// Anything else; the command ends.
    Fatal(Failure),
}

impl From<LinkError> for SessionError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<ProvenanceError> for SessionError {
    fn from(error: ProvenanceError) -> Self {
        match error {
            ProvenanceError::Link(error) => Self::Link(error),
            ProvenanceError::Stored(failure) => Self::Fatal(failure),
        }
    }
}

impl From<Failure> for SessionError {
    fn from(failure: Failure) -> Self {
        Self::Fatal(failure)
    }
}
