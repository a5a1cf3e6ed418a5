//! When watching ends, and waiting for a station that is not there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shared::wire::Identity;

use super::viewer::LOOK_AROUND;
use crate::station::client::{LineSpeed, LinkError, Numbering, SerialLine, Station};

/// Pause between attempts to find a station that went away.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// When watching ends by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct End {
    /// At this time.
    pub at: Option<Instant>,
    /// After so many frames.
    pub frames: Option<u32>,
}

/// Why watching ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As was asked for.
    AsAsked,
    /// By ctrl-C.
    Stopped,
    /// The pictures came to their end.
    Finished,
}

pub(super) fn is_over(end: End, frames: u32, stop: &AtomicBool) -> Option<Ended> {
    if stop.load(Ordering::Relaxed) {
        return Some(Ended::Stopped);
    }
    let in_time = end.at.is_none_or(|at| Instant::now() < at);
    let wanted = end.frames.is_none_or(|wanted| frames < wanted);
    if in_time && wanted { None } else { Some(Ended::AsAsked) }
}

/// What came of waiting.
#[derive(Debug)]
pub enum Awaited {
    /// The station answers.
    Back(Box<(Station<SerialLine>, Identity)>),
    /// Watching ended before.
    Over(Ended),
}

/// Opens the line as soon as that works.
///
/// # Errors
/// [`LinkError`] of the kind that does not pass.
pub fn wait_for(
    port: &str,
    mut speed: LineSpeed,
    numbering: Numbering,
    end: End,
    stop: &AtomicBool,
) -> Result<Awaited, LinkError> {
    loop {
        let until = Instant::now() + TRY_AGAIN;
        while Instant::now() < until {
            if let Some(ended) = is_over(End { frames: None, ..end }, 0, stop) {
                return Ok(Awaited::Over(ended));
            }
            std::thread::sleep(LOOK_AROUND.min(TRY_AGAIN));
        }
        match Station::reopen(port, speed, numbering.clone()) {
            Ok(opened) => return Ok(Awaited::Back(Box::new(opened))),
            Err(LinkError::Stopped { .. }) => return Ok(Awaited::Over(Ended::Stopped)),
            // Silence at the slower speeds says nothing of the faster ones.
            Err(error) if error.is_passing() => speed = LineSpeed::top(speed.top),
            Err(error) => return Err(error),
        }
    }
}
