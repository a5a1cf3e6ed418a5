//! Host presence: a host is present while it sends requests.

use std::time::{Duration, Instant};

use super::HOST_SILENCE;

/// Tracks whether a host is present.
#[derive(Debug, Default)]
pub(super) struct Host {
    last_heard: Option<Instant>,
}

impl Host {
    /// It asked something.
    pub(super) const fn heard(&mut self, now: Instant) {
        self.last_heard = Some(now);
    }

    /// It is gone.
    pub(super) const fn left(&mut self) {
        self.last_heard = None;
    }

    /// Remaining time until it counts as disconnected; `None` if it already is.
    pub(super) fn leaves_in(&self, now: Instant) -> Option<Duration> {
        self.last_heard.map(|heard| (heard + HOST_SILENCE).saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_makes_a_host_leave() {
        let start = Instant::now();
        let mut host = Host::default();
        assert_eq!(host.leaves_in(start), None);
        host.heard(start);
        assert_eq!(host.leaves_in(start), Some(HOST_SILENCE));
        assert_eq!(host.leaves_in(start + HOST_SILENCE * 2), Some(Duration::ZERO));
        host.left();
        assert_eq!(host.leaves_in(start), None);
    }
}
