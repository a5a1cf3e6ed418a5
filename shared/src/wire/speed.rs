//! The speeds at which host and station look for each other.

/// Speeds that every line falls back to, bits a second, fastest first.
const COMMON: [u32; 4] = [921_600, 460_800, 230_400, 115_200];

/// The speeds of a line whose fastest is `top` bits a second: that one, and the common ones below it, fastest first.
///
/// Either side chooses among these: the host by what is answered, the station by what it understands.
pub fn speeds(top: u32) -> impl Iterator<Item = u32> {
    core::iter::once(top).chain(COMMON.into_iter().filter(move |&speed| speed < top))
}

/// Bytes without a packet that it takes for a station to listen at another speed; fewer are the noise of a plug.
pub const BABBLE: usize = 8;

/// How many zeros go before a greeting at `speed` on a line whose fastest is `top` bits a second, so that a station that
/// listens at any of the line's slower speeds makes [`BABBLE`] bytes of them. Zeros are no packet, and harm none.
pub fn waking_zeros(top: u32, speed: u32) -> usize {
    // Whoever listens slower takes several bytes for one, and waits for the next one's edge: less than twice as many.
    let slowest = speeds(top).last().unwrap_or(top).max(1);
    2 * BABBLE * (speed.div_ceil(slowest) as usize)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_line_begins_with_its_own_speed_and_goes_down() {
        assert_eq!(speeds(921_600).collect::<Vec<_>>(), COMMON);
        assert_eq!(speeds(3_000_000).collect::<Vec<_>>(), [3_000_000, 921_600, 460_800, 230_400, 115_200]);
        assert_eq!(speeds(250_000).collect::<Vec<_>>(), [250_000, 230_400, 115_200]);
        assert_eq!(speeds(9_600).collect::<Vec<_>>(), [9_600]);
    }

    /// What a receiver at `slow` bits a second makes of zeros at `fast`: a byte begins at a falling edge and takes ten of
    /// its own bits.
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
    fn zeros_wake_a_station_at_any_slower_speed() {
        for top in [115_200, 250_000, 921_600, 3_000_000, 12_000_000] {
            for fast in speeds(top) {
                let zeros = waking_zeros(top, fast);
                for slow in speeds(top).filter(|&slow| slow < fast) {
                    let bytes = bytes_of_zeros(zeros, fast, slow);
                    assert!(bytes >= BABBLE, "{bytes} of {zeros} zeros, {fast} to {slow}");
                }
                // They take less time than a tenth of a second.
                assert!(zeros as f64 * 10.0 / f64::from(fast) < 0.1);
            }
        }
    }
}
