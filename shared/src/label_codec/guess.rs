//! Probabilities that learn.

use super::range_coder::{BitCoder, ONE_BITS};

/// Bits of a learned probability: finer than what the coder takes, so that small steps add up.
const FINE_BITS: u32 = 22;
const FINE_ONE: u32 = 1 << FINE_BITS;
/// Observations after which a guess forgets as fast as it learns.
const MEMORY: u8 = u8::MAX;
/// The share of the error that is learned at the `n`th observation, `2^16 / (n + 1.6)`.
const RATES: [i64; MEMORY as usize + 1] = {
    let mut rates = [0; MEMORY as usize + 1];
    let mut n = 0;
    while n < rates.len() {
        rates[n] = (10 << 16) / (10 * n as i64 + 16);
        n += 1;
    }
    rates
};

/// The probability that a bit is set, learned from the bits seen.
#[derive(Clone, Copy)]
pub(super) struct Guess {
    chance: u32,
    seen: u8,
}

impl Guess {
    /// Nothing is known.
    pub(super) const EVEN: Self = Self { chance: FINE_ONE / 2, seen: 0 };

    /// A first guess of odds `2^((level - 32) / 4)` that weighs as much as `seen` observations.
    pub(super) const fn from_level(level: u8, seen: u8) -> Self {
        // 2^(k / 4) in thousandths.
        const QUARTERS: [u64; 4] = [1000, 1189, 1414, 1682];
        let odds = QUARTERS[(level % 4) as usize] << (level / 4);
        let chance = (odds << FINE_BITS) / (odds + (1000 << 8));
        Self { chance: chance as u32, seen }
    }

    /// Codes a bit and learns from it.
    pub(super) fn code(&mut self, coder: &mut impl BitCoder, bit: bool) -> bool {
        const LEAST: u32 = 16;
        let chance = (self.chance >> (FINE_BITS - ONE_BITS)).clamp(LEAST, (1 << ONE_BITS) - LEAST);
        let bit = coder.bit(chance, bit);
        let target = if bit { FINE_ONE - 1 } else { 0 };
        let error = i64::from(target) - i64::from(self.chance);
        self.chance = (i64::from(self.chance) + ((error * RATES[self.seen as usize]) >> 16)) as u32;
        self.seen = self.seen.saturating_add(1);
        bit
    }
}

/// The probability of a rare event, counted (Krichevsky and Trofimov, 1981, with a first guess).
#[derive(Clone, Copy)]
pub(super) struct Rarity {
    events: u32,
    trials: u32,
    chance: u32,
}

impl Rarity {
    /// A first guess: so many events in so many trials.
    pub(super) const fn new(events: u32, trials: u32) -> Self {
        Self { events, trials, chance: Self::share(events, trials) }
    }

    const fn share(events: u32, trials: u32) -> u32 {
        let chance = ((events as u64) << ONE_BITS) / trials as u64;
        if chance == 0 { 1 } else { chance as u32 }
    }

    /// Codes how many of `most` trials pass before the event, which has happened when it is fewer.
    pub(super) fn code(&mut self, coder: &mut impl BitCoder, most: u32, quiet: u32) -> u32 {
        let passed = coder.unset(self.chance, most, quiet);
        self.trials += passed + 1;
        self.events += u32::from(passed < most);
        self.chance = Self::share(self.events, self.trials);
        passed
    }
}

/// Whole numbers, small ones being likely: Elias gamma of `number + 1` with learned length.
#[derive(Clone)]
pub(super) struct Numbers {
    longer: [Guess; 33],
}

impl Numbers {
    pub(super) const fn new() -> Self {
        Self { longer: [Guess::EVEN; 33] }
    }

    /// Codes a number.
    pub(super) fn code(&mut self, coder: &mut impl BitCoder, number: u32) -> u32 {
        let number = u64::from(number) + 1;
        let wanted = number.ilog2() as usize;
        let mut bits = 0;
        while bits < 32 && self.longer[bits].code(coder, bits < wanted) {
            bits += 1;
        }
        let mut read = 1;
        for bit in (0..bits).rev() {
            read = read << 1 | u64::from(coder.bit(1 << (ONE_BITS - 1), number >> bit & 1 == 1));
        }
        // 32 bits after the leading one can say more than fits; a writer never does.
        u32::try_from(read - 1).unwrap_or(u32::MAX)
    }
}
