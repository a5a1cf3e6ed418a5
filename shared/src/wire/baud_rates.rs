//! The baud rates at which host and station look for each other.

/// Rates that every line falls back to, bits per second, fastest first.
const COMMON: [u32; 4] = [921_600, 460_800, 230_400, 115_200];

/// The rates of a line whose maximum is `max` bits per second: that one, and the common ones below it, fastest first.
///
/// Either side chooses among these: the host by the response it gets, the station by what it can decode.
pub fn baud_rates(max: u32) -> impl Iterator<Item = u32> {
    core::iter::once(max).chain(COMMON.into_iter().filter(move |&rate| rate < max))
}

/// Bits of a byte on the line: start, eight, stop.
pub(crate) const BITS_PER_BYTE: u32 = 10;

/// The share of a line of `baud` bits per second that this many bytes per second take, 0 to 1.
pub fn line_share(bytes_per_second: f64, baud: u32) -> f64 {
    bytes_per_second * f64::from(BITS_PER_BYTE) / f64::from(baud.max(1))
}

/// A station that receives this many bytes without a packet switches to another rate. Fewer are the noise of a plug.
pub const MIN_UNDECODABLE_BYTES: usize = 8;

/// How many zeros to send before a handshake at `baud` on a line whose maximum is `max` bits per second: a station that
/// listens at any slower rate of the line receives at least [`MIN_UNDECODABLE_BYTES`] of them. Zeros are no packet and
/// do no harm.
pub fn wake_preamble_len(max: u32, baud: u32) -> usize {
    // A slower receiver takes several bytes for one, and waits for the edge of the next: less than twice as many.
    let slowest = baud_rates(max).last().unwrap_or(max).max(1);
    2 * MIN_UNDECODABLE_BYTES * (baud.div_ceil(slowest) as usize)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn rates_begin_at_the_maximum_and_descend() {
        assert_eq!(baud_rates(921_600).collect::<Vec<_>>(), COMMON);
        assert_eq!(
            baud_rates(3_000_000).collect::<Vec<_>>(),
            [3_000_000, 921_600, 460_800, 230_400, 115_200]
        );
        assert_eq!(baud_rates(250_000).collect::<Vec<_>>(), [250_000, 230_400, 115_200]);
        assert_eq!(baud_rates(9_600).collect::<Vec<_>>(), [9_600]);
    }

    /// What a receiver at `slow` bits per second makes of zeros at `fast`: a byte begins at a falling edge and takes
    /// ten of its own bits.
    fn bytes_of_zeros(zeros: usize, fast: u32, slow: u32) -> usize {
        // In bits of the fast line: each zero falls at its start and rises for the last of its ten bits.
        let taken = 10.0 * f64::from(fast) / f64::from(slow);
        let (mut bytes, mut from) = (0, 0.0);
        loop {
            let falls = libm::ceil(from / 10.0) * 10.0;
            if falls >= 10.0 * zeros as f64 {
                return bytes;
            }
            bytes += 1;
            from = falls + taken;
        }
    }

    #[test]
    fn a_line_carries_a_byte_in_ten_bits() {
        assert_eq!(line_share(11_520.0, 115_200), 1.0);
        assert_eq!(line_share(23_040.0, 921_600), 0.25);
        assert_eq!(line_share(0.0, 0), 0.0);
    }

    #[test]
    fn the_preamble_wakes_a_station_at_any_slower_rate() {
        for max in [115_200, 250_000, 921_600, 3_000_000, 12_000_000] {
            for fast in baud_rates(max) {
                let zeros = wake_preamble_len(max, fast);
                for slow in baud_rates(max).filter(|&slow| slow < fast) {
                    let bytes = bytes_of_zeros(zeros, fast, slow);
                    assert!(bytes >= MIN_UNDECODABLE_BYTES, "{bytes} of {zeros} zeros, {fast} to {slow}");
                }
                // They take less time than a tenth of a second.
                assert!(zeros as f64 * 10.0 / f64::from(fast) < 0.1);
            }
        }
    }
}
