//! Bytes that form no packet: whoever sends them uses another baud rate.

use std::time::{Duration, Instant};

use shared::wire::MIN_UNDECODABLE_BYTES;

/// How long bytes may arrive without a packet: longer than the longest packet takes at the slowest common rate.
const PACKET_TIMEOUT: Duration = Duration::from_millis(450);
/// After a silence this long, earlier bytes have nothing to do with later ones.
const IDLE_RESET: Duration = Duration::from_secs(3);

/// Counts the bytes since the last packet that could be decoded.
#[derive(Debug, Default)]
pub struct BaudMismatchDetector {
    /// When the first and the last of them arrived.
    times: Option<(Instant, Instant)>,
    bytes: usize,
}

impl BaudMismatchDetector {
    /// Records that many received bytes, and whether a packet that could be decoded ended within them.
    pub fn record(&mut self, bytes: usize, decoded: bool, now: Instant) {
        if decoded {
            *self = Self::default();
            return;
        }
        let known = self.times.filter(|&(_, last)| now.saturating_duration_since(last) < IDLE_RESET);
        if known.is_none() {
            self.bytes = 0;
        }
        self.times = Some((known.map_or(now, |(first, _)| first), now));
        self.bytes += bytes;
    }

    /// Whether it is time to listen at another rate. Call this in a pause of the line: a packet that had begun is complete
    /// by then.
    pub fn should_switch(&mut self, now: Instant) -> bool {
        let timed_out =
            |&(first, last): &(Instant, Instant)| last.saturating_duration_since(first) >= PACKET_TIMEOUT;
        let should_switch = self.bytes >= MIN_UNDECODABLE_BYTES && self.times.as_ref().is_some_and(timed_out);
        if should_switch {
            // The next rate has its full time from now on.
            *self = Self { times: Some((now, now)), bytes: 0 };
        }
        should_switch
    }
}

#[cfg(test)]
mod tests {
    use shared::wire::{MAX_PACKET, baud_rates};

    use super::*;

    #[test]
    fn the_longest_packet_ends_before_the_timeout() {
        let slowest = baud_rates(u32::MAX).last().unwrap();
        assert!(PACKET_TIMEOUT > Duration::from_secs_f64(MAX_PACKET as f64 * 10.0 / f64::from(slowest)));
    }

    #[test]
    fn many_bytes_for_long_without_a_packet_are_a_mismatch() {
        let (start, mut detector) = (Instant::now(), BaudMismatchDetector::default());
        detector.record(500, false, start);
        assert!(!detector.should_switch(start + PACKET_TIMEOUT / 8));
        detector.record(500, false, start + PACKET_TIMEOUT);
        assert!(detector.should_switch(start + PACKET_TIMEOUT * 9 / 8));
        // The next rate has as long.
        detector.record(500, false, start + PACKET_TIMEOUT * 3 / 2);
        assert!(!detector.should_switch(start + PACKET_TIMEOUT * 13 / 8));
        detector.record(500, false, start + PACKET_TIMEOUT * 9 / 4);
        assert!(detector.should_switch(start + PACKET_TIMEOUT * 5 / 2));
    }

    #[test]
    fn a_damaged_packet_is_no_mismatch_and_neither_are_a_few_stray_bytes() {
        let (start, mut detector) = (Instant::now(), BaudMismatchDetector::default());
        // Damaged, then a pause, then the same again in two parts, of which the first ends no packet.
        detector.record(100, false, start);
        assert!(!detector.should_switch(start + PACKET_TIMEOUT / 8));
        detector.record(50, false, start + PACKET_TIMEOUT * 2);
        detector.record(50, true, start + PACKET_TIMEOUT * 2);
        assert!(!detector.should_switch(start + PACKET_TIMEOUT * 3));
        let mut detector = BaudMismatchDetector::default();
        detector.record(2, false, start);
        detector.record(2, false, start + PACKET_TIMEOUT * 4);
        assert!(!detector.should_switch(start + PACKET_TIMEOUT * 5));
    }

    #[test]
    fn bytes_before_a_long_silence_do_not_count() {
        let (start, mut detector) = (Instant::now(), BaudMismatchDetector::default());
        detector.record(100, false, start);
        detector.record(100, false, start + IDLE_RESET);
        assert!(!detector.should_switch(start + IDLE_RESET + PACKET_TIMEOUT));
    }
}
