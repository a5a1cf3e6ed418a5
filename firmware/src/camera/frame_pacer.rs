//! When the next frame of a source that makes its own is due.

use std::thread;
use std::time::{Duration, Instant};

use super::{CameraError, GrabStrategy};

/// Frames at even intervals. Frames that were due while nobody asked are skipped, as with a live camera, but only with
/// [`GrabStrategy::LatestOnly`].
#[derive(Debug)]
pub(super) struct FramePacer {
    interval: Duration,
    /// When the next frame is due; `None` before the first and after a triggered one, which restart the pacer.
    next: Option<Instant>,
}

/// How long to wait for a frame, and how many came before it.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    wait: Duration,
    skipped: u32,
}

impl FramePacer {
    /// A pacer of 0.1 to 240 frames per second.
    pub(super) fn new(frames_per_second: f32) -> Result<Self, CameraError> {
        if !(0.1..=240.0).contains(&frames_per_second) {
            return Err(CameraError::FrameRate { given: frames_per_second });
        }
        Ok(Self { interval: Duration::from_secs_f64(1.0 / f64::from(frames_per_second)), next: None })
    }

    /// Waits until the next frame is due and returns how many were skipped.
    pub(super) fn wait(&mut self, strategy: GrabStrategy) -> u32 {
        let due = self.due(strategy, Instant::now());
        thread::sleep(due.wait);
        due.skipped
    }

    fn due(&mut self, strategy: GrabStrategy, now: Instant) -> Due {
        let Some(next) = self.next.filter(|_| strategy == GrabStrategy::LatestOnly) else {
            self.next = (strategy == GrabStrategy::LatestOnly).then(|| now + self.interval);
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
    fn late_callers_skip_frames_and_triggers_never_do() {
        let start = Instant::now();
        let mut pacer = FramePacer::new(10.0).unwrap();
        // (strategy, milliseconds after the start, milliseconds to wait, frames skipped)
        let cases = [
            (GrabStrategy::LatestOnly, 0, 0, 0),
            (GrabStrategy::LatestOnly, 40, 60, 0),
            (GrabStrategy::LatestOnly, 250, 0, 0),
            (GrabStrategy::LatestOnly, 650, 0, 3),
            (GrabStrategy::LatestOnly, 660, 40, 0),
            (GrabStrategy::OneByOne, 5_000, 0, 0),
            (GrabStrategy::OneByOne, 5_001, 0, 0),
            (GrabStrategy::LatestOnly, 9_000, 0, 0),
            (GrabStrategy::LatestOnly, 9_050, 50, 0),
        ];
        for (strategy, at, wait, skipped) in cases {
            let due = pacer.due(strategy, start + Duration::from_millis(at));
            let expected = Due { wait: Duration::from_millis(wait), skipped };
            assert_eq!(due, expected, "{strategy:?} at {at} ms");
        }
    }

    #[test]
    fn a_year_asleep_is_no_overflow() {
        let start = Instant::now();
        let mut pacer = FramePacer::new(240.0).unwrap();
        pacer.due(GrabStrategy::LatestOnly, start);
        let due = pacer.due(GrabStrategy::LatestOnly, start + Duration::from_secs(365 * 86_400));
        assert_eq!(due, Due { wait: Duration::ZERO, skipped: u32::MAX });
    }
}
