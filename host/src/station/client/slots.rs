//! The content of a slot, and reverting to the previous one.

use host_console::Failure;
use shared::wire::{ModelDigest, Slot, SlotContent, SlotReport, SlotState};
use thiserror::Error;

use super::{LinkError, StationClient, Transport};

/// The content of a slot. The factory model counts as confirmed, and its length is not reported.
pub const fn content(slots: &SlotReport, slot: Slot) -> SlotContent {
    match slot {
        Slot::Factory => SlotContent { state: SlotState::Confirmed, digest: Some(slots.factory), length: 0 },
        Slot::A => slots.a,
        Slot::B => slots.b,
    }
}

/// The active model, if the station reports it.
pub const fn running(slots: &SlotReport) -> Option<ModelDigest> {
    content(slots, slots.active).digest
}

/// Why the station cannot revert.
#[derive(Debug, Error)]
pub enum RevertError {
    /// The line or the station.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It runs the factory model.
    #[error("the station runs its factory model, so there is no previous one")]
    Factory,
    /// It did not report its active model.
    #[error("the station did not report its active model")]
    Unnamed,
}

impl From<RevertError> for Failure {
    fn from(error: RevertError) -> Self {
        match error {
            RevertError::Link(error) => error.into(),
            RevertError::Factory => Self::failed(error, "nuclei-host flash installs another model"),
            RevertError::Unnamed => Self::failed(error, "nuclei-host station slots"),
        }
    }
}

/// Reverts to the previous model: returns the model it left, and the slots afterwards.
///
/// # Errors
/// [`RevertError`].
pub fn revert_running<T: Transport>(
    station: &mut StationClient<T>,
) -> Result<(ModelDigest, SlotReport), RevertError> {
    let before = station.slots()?;
    if before.active == Slot::Factory {
        return Err(RevertError::Factory);
    }
    let digest = running(&before).ok_or(RevertError::Unnamed)?;
    Ok((digest, station.revert(digest)?))
}
