//! Bytes that make no packet: whoever sends them does so at another speed.

use std::time::{Duration, Instant};

/// How long bytes may come without a packet: longer than the longest one takes at the slowest common speed.
const PATIENCE: Duration = Duration::from_millis(450);
/// Bytes that it takes beside the time; fewer are the noise of a plug.
const LEAST: usize = 8;

/// The bytes since the last packet.
#[derive(Debug, Default)]
pub struct Babble {
    since: Option<Instant>,
    bytes: usize,
}

impl Babble {
    /// Hears so many bytes, in which a packet ended that was `understood` or none; whether it is time to listen at
    /// another speed.
    pub fn hear(&mut self, bytes: usize, understood: bool, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        self.bytes += bytes;
        let is_over = self.bytes >= LEAST && now.saturating_duration_since(since) >= PATIENCE;
        if understood {
            *self = Self::default();
        } else if is_over {
            // The next speed has its time from now on.
            *self = Self { since: Some(now), bytes: 0 };
        }
        is_over && !understood
    }
}

#[cfg(test)]
mod tests {
    use shared::wire::{MAX_PACKET, speeds};

    use super::*;

    #[test]
    fn the_longest_packet_ends_before_patience_does() {
        let slowest = speeds(u32::MAX).last().unwrap();
        assert!(PATIENCE > Duration::from_secs_f64(MAX_PACKET as f64 * 10.0 / f64::from(slowest)));
    }

    #[test]
    fn many_bytes_for_long_without_a_packet_are_babble() {
        let (start, mut babble) = (Instant::now(), Babble::default());
        assert!(!babble.hear(500, false, start));
        assert!(!babble.hear(500, false, start + PATIENCE / 2));
        assert!(babble.hear(1, false, start + PATIENCE));
        assert!(!babble.hear(500, false, start + PATIENCE * 3 / 2));
        assert!(babble.hear(500, false, start + PATIENCE * 2));
    }

    #[test]
    fn a_packet_and_a_few_stray_bytes_are_none() {
        let (start, mut babble) = (Instant::now(), Babble::default());
        assert!(!babble.hear(100, false, start));
        assert!(!babble.hear(100, true, start + PATIENCE));
        assert!(!babble.hear(100, false, start + PATIENCE * 3 / 2));
        let mut babble = Babble::default();
        assert!(!babble.hear(2, false, start));
        assert!(!babble.hear(2, false, start + PATIENCE * 4));
    }
}
