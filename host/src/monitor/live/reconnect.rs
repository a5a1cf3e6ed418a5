//! When a session ends, and reconnecting to a disconnected station.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shared::wire::Identity;

use crate::station::client::{BaudRate, LinkError, SerialTransport, SessionState, StationClient};

/// Pause between attempts to connect.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Longest time until a stop is noticed.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// When a session ends by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopCondition {
    /// At this time.
    pub at: Option<Instant>,
    /// After this many frames.
    pub frames: Option<u32>,
}

impl StopCondition {
    /// Why a session ends now, after this many frames; `None` if it continues.
    pub(super) fn check(self, frames: u32, stop: &AtomicBool) -> Option<StopReason> {
        if stop.load(Ordering::Relaxed) {
            return Some(StopReason::Interrupted);
        }
        let in_time = self.at.is_none_or(|at| Instant::now() < at);
        let wanted = self.frames.is_none_or(|wanted| frames < wanted);
        if in_time && wanted { None } else { Some(StopReason::Condition) }
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Its [`StopCondition`] was met.
    Condition,
    /// By ctrl-C.
    Interrupted,
    /// The source has reached its last image.
    EndOfInput,
}

/// The outcome of [`reconnect`].
#[derive(Debug)]
pub enum ReconnectOutcome {
    /// The station answers.
    Connected(Box<(StationClient<SerialTransport>, Identity)>),
    /// The session ended first.
    Stopped(StopReason),
}

/// Retries to open the line until the station answers.
///
/// # Errors
/// [`LinkError`] of the kind that a retry does not cure.
pub fn reconnect(
    port: &str,
    mut baud: BaudRate,
    session: SessionState,
    condition: StopCondition,
    stop: &AtomicBool,
) -> Result<ReconnectOutcome, LinkError> {
    loop {
        let until = Instant::now() + RETRY_DELAY;
        while Instant::now() < until {
            if let Some(reason) = (StopCondition { frames: None, ..condition }).check(0, stop) {
                return Ok(ReconnectOutcome::Stopped(reason));
            }
            std::thread::sleep(POLL_INTERVAL.min(RETRY_DELAY));
        }
        match StationClient::reopen(port, baud, session.clone()) {
            Ok(opened) => return Ok(ReconnectOutcome::Connected(Box::new(opened))),
            Err(LinkError::Cancelled { .. }) => {
                return Ok(ReconnectOutcome::Stopped(StopReason::Interrupted));
            }
            // Silence at the slower speeds does not rule out the faster ones.
            Err(error) if error.is_transient() => baud = BaudRate::at_max(baud.max),
            Err(error) => return Err(error),
        }
    }
}
