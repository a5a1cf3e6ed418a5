//! When the next frame of a source that makes its own is due.

use std::thread;
use std::time::{Duration, Instant};

use super::{CameraError, Pace};

/// Frames at even intervals. Frames that were due while nobody asked are passed over, as by a live camera,
/// but only at [`Pace::Newest`].
#[derive(Debug)]
pub(super) struct FrameClock {
    interval: Duration,
    /// When the next frame is due; `None` before the first and after a triggered one, which start the clock anew.
    next: Option<Instant>,
}

/// How long to wait for a frame, and how many came before it.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    wait: Duration,
    skipped: u32,
}

impl FrameClock {
    /// A clock of 0.1 to 240 frames in a second.
    pub(super) fn new(frames_per_second: f32) -> Result<Self, CameraError> {
        if !(0.1..=240.0).contains(&frames_per_second) {
            return Err(CameraError::FrameRate { given: frames_per_second });
        }
        Ok(Self { interval: Duration::from_secs_f64(1.0 / f64::from(frames_per_second)), next: None })
    }

    /// Waits until the next frame is due and tells how many were passed over.
    pub(super) fn wait(&mut self, pace: Pace) -> u32 {
        let due = self.due(pace, Instant::now());
        thread::sleep(due.wait);
        due.skipped
    }

    fn due(&mut self, pace: Pace, now: Instant) -> Due {
        let Some(next) = self.next.filter(|_| pace == Pace::Newest) else {
            self.next = (pace == Pace::Newest).then(|| now + self.interval);
            return Due { wait: Duration::ZERO, skipped: 0 };
        };
        let late = now.saturating_duration_since(next);
        let skipped = u32::try_from(late.as_nanos() / self.interval.as_nanos()).unwrap_or(u32::MAX);
        self.next =
            Some(if skipped == u32::MAX { now } else { next + self.interval * skipped } + self.interval);
        Due { wait: next.saturating_duration_since(now), skipped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_callers_pass_frames_over_and_triggers_never_do() {
        let start = Instant::now();
        let mut clock = FrameClock::new(10.0).unwrap();
        // (pace, milliseconds after the start, milliseconds to wait, frames passed over)
        let cases = [
            (Pace::Newest, 0, 0, 0),
            (Pace::Newest, 40, 60, 0),
            (Pace::Newest, 250, 0, 0),
            (Pace::Newest, 650, 0, 3),
            (Pace::Newest, 660, 40, 0),
            (Pace::Every, 5_000, 0, 0),
            (Pace::Every, 5_001, 0, 0),
            (Pace::Newest, 9_000, 0, 0),
            (Pace::Newest, 9_050, 50, 0),
        ];
        for (pace, at, wait, skipped) in cases {
            let due = clock.due(pace, start + Duration::from_millis(at));
            let expected = Due { wait: Duration::from_millis(wait), skipped };
            assert_eq!(due, expected, "{pace:?} at {at} ms");
        }
    }

    #[test]
    fn a_year_asleep_is_no_overflow() {
        let start = Instant::now();
        let mut clock = FrameClock::new(240.0).unwrap();
        clock.due(Pace::Newest, start);
        let due = clock.due(Pace::Newest, start + Duration::from_secs(365 * 86_400));
        assert_eq!(due, Due { wait: Duration::ZERO, skipped: u32::MAX });
    }
}
