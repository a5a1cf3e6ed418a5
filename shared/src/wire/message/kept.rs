//! Results and notices with their numbers, and what of them a host lacks.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::{FrameReport, Notice};

/// Results and notices that a station keeps to tell them again; older ones are let go.
pub const MAX_KEPT: usize = 1024;

/// One start of a station, drawn at random: what was told before the last start is not taken for what is told since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run(pub u32);

/// A result or notice, and its place among all of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The run that it is of.
    pub run: Run,
    /// Its number in the run, from 0. The packet's sequence is the low 16 bits.
    pub number: u64,
    /// What it tells.
    pub news: News,
}

/// What is kept to be told again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum News {
    /// A frame's result.
    Frame(FrameReport),
    /// Something changed.
    Notice(Notice),
}

/// Which results and notices a host lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacking {
    /// The run that the host follows.
    pub run: Run,
    /// All before this number came, or are given up.
    pub first: u64,
    /// Bit `i % 8` of byte `i / 8`: whether number `first + i` is lacking.
    pub bits: Vec<u8, { MAX_KEPT / 8 }>,
}

impl Lacking {
    /// Those of `numbers`, which rise from `first` on, that a station may still keep.
    pub fn new(run: Run, first: u64, numbers: impl Iterator<Item = u64>) -> Self {
        let mut bits = Vec::new();
        for number in numbers {
            let offset = number.saturating_sub(first);
            let byte = usize::try_from(offset / 8).unwrap_or(usize::MAX);
            if byte >= bits.capacity() || (byte >= bits.len() && bits.resize(byte + 1, 0).is_err()) {
                break;
            }
            bits[byte] |= 1 << (offset % 8);
        }
        Self { run, first, bits }
    }

    /// The numbers, rising.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        let offsets = (0..).zip(&self.bits).flat_map(|(byte, bits)| {
            (0..8).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| 8 * byte + bit)
        });
        offsets.filter_map(|offset: u64| self.first.checked_add(offset))
    }
}

/// What a station keeps, and how far it told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSpan {
    /// The station's run.
    pub run: Run,
    /// The number of the oldest that is kept.
    pub oldest: u64,
    /// All before this number were told, if perhaps not heard.
    pub told: u64,
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(
            first in prop_oneof![0..5000u64, Just(u64::MAX - 2000)],
            offsets in proptest::collection::btree_set(0..MAX_KEPT as u64, 0..50),
        ) {
            let numbers: Vec<u64> = offsets.iter().map(|offset| first + offset).collect();
            let lacking = Lacking::new(Run(1), first, numbers.iter().copied());
            prop_assert_eq!(lacking.numbers().collect::<Vec<_>>(), numbers);
        }

        #[test]
        fn no_bits_are_too_strange(first: u64, bits in proptest::collection::vec(any::<u8>(), 0..=MAX_KEPT / 8)) {
            let lacking = Lacking { run: Run(0), first, bits: bits.into_iter().collect() };
            prop_assert!(lacking.numbers().all(|number| number >= first));
        }
    }

    #[test]
    fn what_no_station_keeps_is_not_asked_for() {
        let lacking = Lacking::new(Run(0), 7, 7..);
        assert_eq!(lacking.numbers().count(), MAX_KEPT);
        assert_eq!(lacking.numbers().last(), Some(7 + MAX_KEPT as u64 - 1));
    }
}
