//! States of a station as text.

use shared::wire::{CameraState, Slot, SlotState};

/// A camera's state as text.
pub const fn camera_word(camera: CameraState) -> &'static str {
    match camera {
        CameraState::Running => "running",
        CameraState::Absent => "absent",
        CameraState::Finished => "finished",
    }
}

/// A slot as text.
pub const fn slot_name(slot: Slot) -> &'static str {
    match slot {
        Slot::Factory => "the factory slot",
        Slot::A => "slot A",
        Slot::B => "slot B",
    }
}

/// A slot's state as text.
pub const fn state_word(state: SlotState) -> &'static str {
    match state {
        SlotState::Empty => "empty",
        SlotState::Staged => "staged",
        SlotState::Trial => "trial",
        SlotState::Confirmed => "confirmed",
    }
}
