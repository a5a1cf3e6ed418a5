//! What a slot report says about one slot.

use shared::wire::{ModelDigest, Slot, SlotContent, SlotReport, SlotState};

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
