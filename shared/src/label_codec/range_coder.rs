//! Binary arithmetic coding: the carry-propagating range coder of LZMA.
//!
//! G. N. N. Martin, "Range encoding", 1979; byte-wise with carry as in Igor Pavlov's LZMA SDK.
//! The leading byte of LZMA, always zero, is left out, and zeros at the end are not stored: beyond
//! its last byte a stream goes on with at most [`TAIL`] zeros.

use alloc::vec::Vec;

/// Probabilities are shares of this.
pub(super) const ONE_BITS: u32 = 16;
/// Bytes that a decoder holds, so may read past the end.
const TAIL: usize = 4;
const RENORMALIZE_BELOW: u32 = 1 << 24;

/// One side of the coder: a model walks an image once, whether it writes or reads it.
pub(super) trait BitCoder {
    /// Codes a bit that is set with probability `chance / 2^16`, `0 < chance < 2^16`.
    ///
    /// Writing stores `bit` and gives it back; reading ignores it and gives the stored one.
    fn bit(&mut self, chance: u32, bit: bool) -> bool;

    /// Codes how many of `most` bits of one chance are not set before the first that is; all of them where none is.
    ///
    /// Writing stores `unset` and gives it back; reading ignores it and gives the stored one.
    fn unset(&mut self, chance: u32, most: u32, unset: u32) -> u32 {
        let mut passed = 0;
        while passed < most && !self.bit(chance, passed == unset) {
            passed += 1;
        }
        passed
    }
}

/// Writes bits.
pub(super) struct RangeEncoder {
    bytes: Vec<u8>,
    low: u64,
    range: u32,
    cache: u8,
    /// Bytes not yet written, `cache` and the 0xFFs after it, that a carry can still change.
    pending: usize,
}

impl RangeEncoder {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, low: 0, range: u32::MAX, cache: 0, pending: 0 }
    }

    /// Ends the stream with as few bytes as possible.
    pub(super) fn finish(mut self) -> Vec<u8> {
        // The number in [low, low + range) with the most trailing zeros.
        let high = self.low + u64::from(self.range) - 1;
        let differing = 63 - (self.low ^ high).leading_zeros();
        if self.low.trailing_zeros() < differing {
            self.low = high & (u64::MAX << differing);
        }
        let start = self.bytes.len() + self.pending;
        for _ in 0..=TAIL {
            self.shift_low();
        }
        while self.bytes.len() > start && self.bytes.last() == Some(&0) {
            self.bytes.pop();
        }
        self.bytes
    }

    fn renormalize(&mut self) {
        while self.range < RENORMALIZE_BELOW {
            self.range <<= 8;
            self.shift_low();
        }
    }

    fn shift_low(&mut self) {
        let carry = (self.low >> 32) as u8;
        let byte = (self.low >> 24) as u8;
        if self.pending > 0 && byte == 0xFF && carry == 0 {
            self.pending += 1;
        } else {
            if self.pending > 0 {
                self.bytes.push(self.cache.wrapping_add(carry));
                self.bytes.extend(core::iter::repeat_n(0xFF_u8.wrapping_add(carry), self.pending - 1));
            }
            self.pending = 1;
            self.cache = byte;
        }
        self.low = (self.low & 0x00FF_FFFF) << 8;
    }
}

impl BitCoder for RangeEncoder {
    fn bit(&mut self, chance: u32, bit: bool) -> bool {
        let bound = (self.range >> ONE_BITS) * chance;
        if bit {
            self.range = bound;
        } else {
            self.low += u64::from(bound);
            self.range -= bound;
        }
        self.renormalize();
        bit
    }

    /// What is below the interval grows by what the interval loses: it is added once for many bits.
    fn unset(&mut self, chance: u32, most: u32, unset: u32) -> u32 {
        let mut left = unset.min(most);
        while left > 0 {
            let mut range = self.range;
            while left > 0 && range >= RENORMALIZE_BELOW {
                // `chance` is below 2^16: this is never below zero.
                range = range.wrapping_sub((range >> ONE_BITS).wrapping_mul(chance));
                left -= 1;
            }
            self.low += u64::from(self.range - range);
            self.range = range;
            self.renormalize();
        }
        if unset < most {
            self.bit(chance, true);
        }
        unset.min(most)
    }
}

/// Reads bits.
pub(super) struct RangeDecoder<'a> {
    bytes: &'a [u8],
    next: usize,
    code: u32,
    range: u32,
}

impl<'a> RangeDecoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { bytes, next: 0, code: 0, range: u32::MAX };
        for _ in 0..TAIL {
            decoder.code = decoder.code << 8 | u32::from(decoder.next_byte());
        }
        decoder
    }

    /// Whether more was read than any whole stream holds.
    pub(super) fn is_overrun(&self) -> bool {
        self.next > self.bytes.len() + TAIL
    }

    /// Whether there are bytes that the writer would have left out: unread ones, or zeros at the end.
    pub(super) fn has_surplus(&self) -> bool {
        let unread = self.next < self.bytes.len();
        let needless_zero = self.next < self.bytes.len() + TAIL && self.bytes.last() == Some(&0);
        unread || needless_zero
    }

    fn next_byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        byte
    }
}

impl BitCoder for RangeDecoder<'_> {
    fn bit(&mut self, chance: u32, _: bool) -> bool {
        let bound = (self.range >> ONE_BITS) * chance;
        let bit = self.code < bound;
        if bit {
            self.range = bound;
        } else {
            self.code -= bound;
            self.range -= bound;
        }
        while self.range < RENORMALIZE_BELOW {
            self.range <<= 8;
            self.code = self.code << 8 | u32::from(self.next_byte());
        }
        bit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Codes many bits as many, since it says nothing else.
    struct BitByBit(RangeEncoder);

    impl BitCoder for BitByBit {
        fn bit(&mut self, chance: u32, bit: bool) -> bool {
            self.0.bit(chance, bit)
        }
    }

    proptest! {
        #[test]
        fn many_bits_are_the_same_as_each_by_itself(
            stretches in prop::collection::vec((prop_oneof![1u32..65_536, 1u32..60], 0u32..3000, 0u32..3000), 0..40)
        ) {
            let mut at_once = RangeEncoder::new(Vec::new());
            let mut each = BitByBit(RangeEncoder::new(Vec::new()));
            for &(chance, most, unset) in &stretches {
                let passed = at_once.unset(chance, most, unset);
                prop_assert_eq!(passed, unset.min(most));
                prop_assert_eq!(each.unset(chance, most, unset), passed);
            }
            let bytes = at_once.finish();
            prop_assert_eq!(&bytes, &each.0.finish());
            let mut decoder = RangeDecoder::new(&bytes);
            for &(chance, most, unset) in &stretches {
                prop_assert_eq!(decoder.unset(chance, most, 0), unset.min(most));
            }
        }

        #[test]
        fn bits_come_back(bits in prop::collection::vec((1u32..65_536, any::<bool>()), 0..400)) {
            let mut encoder = RangeEncoder::new(vec![9]);
            for &(chance, bit) in &bits {
                encoder.bit(chance, bit);
            }
            let bytes = encoder.finish();
            prop_assert_eq!(bytes[0], 9);
            let mut decoder = RangeDecoder::new(&bytes[1..]);
            for &(chance, bit) in &bits {
                prop_assert_eq!(decoder.bit(chance, !bit), bit);
            }
            prop_assert!(!decoder.is_overrun() && !decoder.has_surplus());
        }
    }

    #[test]
    fn length_is_the_entropy() {
        let ideal = |chance: f64| -(chance / 65_536.0).log2();
        for (chance, bit) in [(65_535, true), (1, false), (60_000, true), (32_768, false), (20, true)] {
            let mut encoder = RangeEncoder::new(Vec::new());
            for _ in 0..10_000 {
                encoder.bit(chance, bit);
            }
            let chance = if bit { f64::from(chance) } else { f64::from(65_536 - chance) };
            let bytes = 10_000.0 * ideal(chance) / 8.0;
            let length = encoder.finish().len() as f64;
            assert!(length <= bytes * 1.004 + 2.0, "{length} bytes for {bytes}");
        }
    }

    #[test]
    fn carries_run_through_many_bytes() {
        // The lowest of three, always: low stays just under a carry until the last bit.
        let mut encoder = RangeEncoder::new(Vec::new());
        let bits: Vec<(u32, bool)> = (0..3000).map(|i| (65_535, i % 1000 != 999)).collect();
        for &(chance, bit) in &bits {
            encoder.bit(chance, bit);
        }
        let bytes = encoder.finish();
        let mut decoder = RangeDecoder::new(&bytes);
        assert!(bits.iter().all(|&(chance, bit)| decoder.bit(chance, false) == bit));
    }
}
