//! What a slot report says about one slot, and the way back to the slot before.

use host_console::Failure;
use shared::wire::{ModelDigest, Slot, SlotContent, SlotReport, SlotState};
use thiserror::Error;

use super::{Line, LinkError, Station};

/// What a slot holds. The factory's is confirmed, and its length is not told.
pub const fn content(slots: &SlotReport, slot: Slot) -> SlotContent {
    match slot {
        Slot::Factory => SlotContent { state: SlotState::Confirmed, digest: Some(slots.factory), length: 0 },
        Slot::A => slots.a,
        Slot::B => slots.b,
    }
}

/// The model that runs, where the station names it.
pub const fn running(slots: &SlotReport) -> Option<ModelDigest> {
    content(slots, slots.active).digest
}

/// Why the station does not go back to another model.
#[derive(Debug, Error)]
pub enum RevertError {
    /// The line or the station.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Its own model is the first of all.
    #[error("the station runs its factory model, so there is no previous one")]
    Factory,
    /// It names no model to leave.
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

/// Leaves the running model for the one before it: the model left, and what the slots then hold.
///
/// # Errors
/// [`RevertError`].
pub fn revert_running<L: Line>(station: &mut Station<L>) -> Result<(ModelDigest, SlotReport), RevertError> {
    let before = station.slots()?;
    if before.active == Slot::Factory {
        return Err(RevertError::Factory);
    }
    let digest = running(&before).ok_or(RevertError::Unnamed)?;
    Ok((digest, station.revert(digest)?))
}
