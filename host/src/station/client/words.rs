//! States of a station in words.

use shared::wire::{CameraState, Slot, SlotState};

/// A camera's state as a person reads it.
pub const fn camera_word(camera: CameraState) -> &'static str {
    match camera {
        CameraState::Running => "running",
        CameraState::Absent => "absent",
        CameraState::Finished => "finished",
    }
}

/// A slot as a person reads it.
pub const fn slot_name(slot: Slot) -> &'static str {
    match slot {
        Slot::Factory => "the factory slot",
        Slot::A => "slot A",
        Slot::B => "slot B",
    }
}

/// A slot's state as a person reads it.
pub const fn state_word(state: SlotState) -> &'static str {
    match state {
        SlotState::Empty => "empty",
        SlotState::Staged => "staged",
        SlotState::Trial => "trial",
        SlotState::Confirmed => "confirmed",
    }
}
