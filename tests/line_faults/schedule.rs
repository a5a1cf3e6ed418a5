//! The schedule of a bad line: a sequence of faults determined by a seed.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// The faults of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// One bit of a byte is flipped.
    Bit,
    /// A byte is another one.
    Byte,
    /// Bytes in a row are other ones.
    Burst,
    /// Bytes are left out.
    Removal,
    /// Bytes come that nobody sent.
    Insertion,
    /// The last packets come once more.
    Duplication,
    /// The line hangs up, and packets of the old one come amid those of the new one.
    Reordering,
    /// Nothing comes for longer than an answer is waited for, and then all of it.
    Late,
    /// The next zero is left out.
    LostDelimiter,
    /// The next length in the framing is another one.
    CorruptLength,
    /// A few bytes a millisecond.
    SlowDrip,
    /// Tens of thousands of bytes that nobody sent.
    Flood,
    /// The line hangs up and is gone for a while.
    HangUp,
}

pub const FAULTS: [Fault; 13] = [
    Fault::Bit,
    Fault::Byte,
    Fault::Burst,
    Fault::Removal,
    Fault::Insertion,
    Fault::Duplication,
    Fault::Reordering,
    Fault::Late,
    Fault::LostDelimiter,
    Fault::CorruptLength,
    Fault::SlowDrip,
    Fault::Flood,
    Fault::HangUp,
];

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToStation,
    ToHost,
}

/// A fault, after how many bytes since the last one it begins, and the seed of whatever it draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    pub after: u64,
    pub fault: Fault,
    pub seed: u64,
}

/// Faults of one direction. The line is good once they are over, so that every conversation comes to its end.
#[derive(Debug, Clone)]
pub struct Schedule {
    random: SmallRng,
    faults: Vec<Fault>,
    mean_gap: f64,
    left: u32,
}

impl Schedule {
    /// The first seeds know one fault each, the others a mixture.
    pub fn new(seed: u64, direction: Direction) -> Self {
        let mut random = SmallRng::seed_from_u64(2 * seed + direction as u64);
        let faults = match FAULTS.get(seed as usize) {
            Some(&fault) => vec![fault],
            None => {
                let count = random.random_range(1..=FAULTS.len());
                FAULTS.choose_multiple(&mut random, count).copied().collect()
            }
        };
        let mean_gap = 3000.0 * 20f64.powf(random.random());
        Self { random, faults, mean_gap, left: 40 }
    }
}

impl Iterator for Schedule {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        self.left = self.left.checked_sub(1)?;
        let random = &mut self.random;
        // Faults are independent of each other: their gaps are exponential.
        let after = (-self.mean_gap * (1.0 - random.random::<f64>()).ln()) as u64 + 1;
        let fault = *self.faults.choose(random)?;
        Some(Planned { after, fault, seed: random.random() })
    }
}
