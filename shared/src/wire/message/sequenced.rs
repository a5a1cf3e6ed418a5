//! Frame results and notices with their sequence numbers, and the request to resend those that are missing.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::{FrameReport, Notice};

/// How many reliable events a station buffers so that it can resend them. It evicts older ones.
pub const RETRANSMIT_CAPACITY: usize = 1024;

/// Identifies one start of a station; drawn at random. Events sent before a restart are never mistaken for those sent
/// after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootId(pub u32);

/// A reliable event and its position among all that the station produced since it started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SequencedEvent {
    /// The start of the station that it belongs to.
    pub boot_id: BootId,
    /// Its number since that start, from 0. The packet's sequence is the low 16 bits.
    pub sequence: u64,
    /// The event itself.
    pub event: ReliableEvent,
}

/// What a station resends until the host has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ReliableEvent {
    /// A frame's result.
    Frame(FrameReport),
    /// Something changed.
    Notice(Notice),
}

/// The reliable events that a host is missing: a negative acknowledgement, as in RFC 4585 and RTPS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nack {
    /// The start of the station that the host follows.
    pub boot_id: BootId,
    /// The host has every event before this number, or no longer waits for it.
    pub base: u64,
    /// Bit `i % 8` of byte `i / 8`: whether number `base + i` is missing.
    pub bitmap: Vec<u8, { RETRANSMIT_CAPACITY / 8 }>,
}

impl Nack {
    /// Requests those of `sequences`, which ascend from `base` on, that a station may still buffer.
    pub fn new(boot_id: BootId, base: u64, sequences: impl Iterator<Item = u64>) -> Self {
        let mut bitmap = Vec::new();
        for sequence in sequences {
            let offset = sequence.saturating_sub(base);
            let byte = usize::try_from(offset / 8).unwrap_or(usize::MAX);
            if byte >= bitmap.capacity() || (byte >= bitmap.len() && bitmap.resize(byte + 1, 0).is_err()) {
                break;
            }
            bitmap[byte] |= 1 << (offset % 8);
        }
        Self { boot_id, base, bitmap }
    }

    /// The missing numbers, ascending.
    pub fn sequences(&self) -> impl Iterator<Item = u64> {
        let offsets = (0..).zip(&self.bitmap).flat_map(|(byte, bits)| {
            (0..8).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| 8 * byte + bit)
        });
        offsets.filter_map(|offset: u64| self.base.checked_add(offset))
    }
}

/// Which reliable events a station can resend, and how far it has sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRange {
    /// The station's current start.
    pub boot_id: BootId,
    /// The number of the oldest event in its buffer.
    pub first_available: u64,
    /// The station has sent every event before this number at least once.
    pub next_unsent: u64,
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nack_bitmap_round_trips(
            base in prop_oneof![0..5000u64, Just(u64::MAX - 2000)],
            offsets in proptest::collection::btree_set(0..RETRANSMIT_CAPACITY as u64, 0..50),
        ) {
            let sequences: Vec<u64> = offsets.iter().map(|offset| base + offset).collect();
            let nack = Nack::new(BootId(1), base, sequences.iter().copied());
            prop_assert_eq!(nack.sequences().collect::<Vec<_>>(), sequences);
        }

        #[test]
        fn an_arbitrary_bitmap_gives_no_number_before_its_base(
            base: u64,
            bitmap in proptest::collection::vec(any::<u8>(), 0..=RETRANSMIT_CAPACITY / 8),
        ) {
            let nack = Nack { boot_id: BootId(0), base, bitmap: bitmap.into_iter().collect() };
            prop_assert!(nack.sequences().all(|sequence| sequence >= base));
        }
    }

    #[test]
    fn a_nack_requests_no_more_than_a_station_buffers() {
        let nack = Nack::new(BootId(0), 7, 7..);
        assert_eq!(nack.sequences().count(), RETRANSMIT_CAPACITY);
        assert_eq!(nack.sequences().last(), Some(7 + RETRANSMIT_CAPACITY as u64 - 1));
    }
}
