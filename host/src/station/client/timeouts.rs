//! How long a host waits for a station.

use std::time::Duration;

/// How long a host waits before it repeats a request or fails, beyond the time that the line itself takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the response to a handshake.
    pub handshake: Duration,
    /// For any other response.
    pub response: Duration,
    /// For a station that is silent while it receives a model: it may restart meanwhile.
    pub restart: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_millis(500),
            response: Duration::from_secs(1),
            restart: Duration::from_secs(15),
        }
    }
}
