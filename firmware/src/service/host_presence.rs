//! Host presence: a host is present while it sends requests.

use std::time::{Duration, Instant};

/// How long the host may be silent before it counts as gone.
pub const HOST_TIMEOUT: Duration = Duration::from_secs(10);

/// Tracks whether a host is present.
#[derive(Debug, Default)]
pub(super) struct HostPresence {
    last_request: Option<Instant>,
}

impl HostPresence {
    /// It asked something.
    pub(super) const fn touch(&mut self, now: Instant) {
        self.last_request = Some(now);
    }

    /// It is gone.
    pub(super) const fn clear(&mut self) {
        self.last_request = None;
    }

    /// Remaining time until it counts as disconnected; `None` if it already is.
    pub(super) fn expires_in(&self, now: Instant) -> Option<Duration> {
        self.last_request.map(|last| (last + HOST_TIMEOUT).saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_makes_a_host_leave() {
        let start = Instant::now();
        let mut host = HostPresence::default();
        assert_eq!(host.expires_in(start), None);
        host.touch(start);
        assert_eq!(host.expires_in(start), Some(HOST_TIMEOUT));
        assert_eq!(host.expires_in(start + HOST_TIMEOUT * 2), Some(Duration::ZERO));
        host.clear();
        assert_eq!(host.expires_in(start), None);
    }
}
