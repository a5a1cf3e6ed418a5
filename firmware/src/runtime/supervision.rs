//! What supervises the station, such as systemd: it hears that the station is ready, that it lives, and that it
//! ends. Protocol: sd_notify(3).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::note;

/// Longer than any one piece of a thread's work: a large picture on a small board takes a minute.
pub const LONGEST_WORK: Duration = Duration::from_secs(120);

/// Since when a thread has been at one piece of work.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Mutex<Option<Instant>>>);

impl Pulse {
    /// Does a piece of work.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        self.set(Some(Instant::now()));
        let done = work();
        self.set(None);
        done
    }

    /// Whether the thread waits for work, or has been at it for at most so long.
    pub fn beats(&self, longest: Duration) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_none_or(|since| since.elapsed() <= longest)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// How often the supervisor wants to hear that the station lives, with room to spare; `None` where it does not.
pub fn interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|longest| longest / 3)
}

/// The station is ready, in these words.
pub fn ready(line: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(line)]);
}

/// The station lives.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The station ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        note!("the supervisor could not be told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_while_waiting_and_for_a_while_at_work() {
        let pulse = Pulse::default();
        assert!(pulse.beats(Duration::ZERO));
        let seen = pulse.during(|| (pulse.beats(LONGEST_WORK), pulse.beats(Duration::ZERO)));
        assert_eq!(seen, (true, false));
        assert!(pulse.beats(Duration::ZERO));
    }
}
