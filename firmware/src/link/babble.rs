//! Bytes that make no packet: whoever sends them does so at another speed.

use std::time::{Duration, Instant};

use shared::wire::MIN_UNDECODABLE_BYTES;

/// How long bytes may come without a packet: longer than the longest one takes at the slowest common speed.
const PATIENCE: Duration = Duration::from_millis(450);
/// After such a silence, what came before has nothing to do with what comes now.
const FORGOTTEN: Duration = Duration::from_secs(3);

/// The bytes since the last packet.
#[derive(Debug, Default)]
pub struct Babble {
    /// Since when, and when the last of them came.
    times: Option<(Instant, Instant)>,
    bytes: usize,
}

impl Babble {
    /// Hears so many bytes, in which a packet ended that was `understood` or none.
    pub fn hear(&mut self, bytes: usize, understood: bool, now: Instant) {
        if understood {
            *self = Self::default();
            return;
        }
        let known = self.times.filter(|&(_, last)| now.saturating_duration_since(last) < FORGOTTEN);
        if known.is_none() {
            self.bytes = 0;
        }
        self.times = Some((known.map_or(now, |(since, _)| since), now));
        self.bytes += bytes;
    }

    /// Whether it is time to listen at another speed. To be asked in a pause of the line: a packet that has begun is
    /// whole by then.
    pub fn is_over(&mut self, now: Instant) -> bool {
        let lasted = |&(since, last): &(Instant, Instant)| last.saturating_duration_since(since) >= PATIENCE;
        let is_over = self.bytes >= MIN_UNDECODABLE_BYTES && self.times.as_ref().is_some_and(lasted);
        if is_over {
            // The next speed has its time from now on.
            *self = Self { times: Some((now, now)), bytes: 0 };
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use shared::wire::{MAX_PACKET, baud_rates};

    use super::*;

    #[test]
    fn the_longest_packet_ends_before_patience_does() {
        let slowest = baud_rates(u32::MAX).last().unwrap();
        assert!(PATIENCE > Duration::from_secs_f64(MAX_PACKET as f64 * 10.0 / f64::from(slowest)));
    }

    #[test]
    fn many_bytes_for_long_without_a_packet_are_babble() {
        let (start, mut babble) = (Instant::now(), Babble::default());
        babble.hear(500, false, start);
        assert!(!babble.is_over(start + PATIENCE / 8));
        babble.hear(500, false, start + PATIENCE);
        assert!(babble.is_over(start + PATIENCE * 9 / 8));
        // The next speed has as long.
        babble.hear(500, false, start + PATIENCE * 3 / 2);
        assert!(!babble.is_over(start + PATIENCE * 13 / 8));
        babble.hear(500, false, start + PATIENCE * 9 / 4);
        assert!(babble.is_over(start + PATIENCE * 5 / 2));
    }

    #[test]
    fn a_damaged_packet_is_none_and_neither_are_a_few_stray_bytes() {
        let (start, mut babble) = (Instant::now(), Babble::default());
        // Damaged, then a pause, then the same again in two parts, of which the first makes no packet.
        babble.hear(100, false, start);
        assert!(!babble.is_over(start + PATIENCE / 8));
        babble.hear(50, false, start + PATIENCE * 2);
        babble.hear(50, true, start + PATIENCE * 2);
        assert!(!babble.is_over(start + PATIENCE * 3));
        let mut babble = Babble::default();
        babble.hear(2, false, start);
        babble.hear(2, false, start + PATIENCE * 4);
        assert!(!babble.is_over(start + PATIENCE * 5));
    }

    #[test]
    fn what_came_long_ago_is_forgotten() {
        let (start, mut babble) = (Instant::now(), Babble::default());
        babble.hear(100, false, start);
        babble.hear(100, false, start + FORGOTTEN);
        assert!(!babble.is_over(start + FORGOTTEN + PATIENCE));
    }
}
