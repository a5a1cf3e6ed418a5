//! How long a host waits for a station.

use std::time::Duration;

/// How long a host waits before it asks again or gives up, beside the time that the line takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// For the answer to a greeting.
    pub greeting: Duration,
    /// For any other answer.
    pub answer: Duration,
    /// For a station that says nothing while it is given a model: it may restart in between.
    pub restart: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            greeting: Duration::from_millis(500),
            answer: Duration::from_secs(1),
            restart: Duration::from_secs(15),
        }
    }
}
