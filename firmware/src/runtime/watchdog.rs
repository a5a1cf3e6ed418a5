//! The supervisor, such as systemd: the station notifies it when it is ready, alive and stopping.
//! Protocol: sd_notify(3).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::log;

/// A thread that is busy with one piece of work for longer than this has stalled. A large image on a small board takes
/// a minute.
pub const STALL_LIMIT: Duration = Duration::from_secs(120);

/// Since when a thread has been busy with one piece of work.
#[derive(Debug, Clone, Default)]
pub struct ThreadHeartbeat(Arc<Mutex<Option<Instant>>>);

impl ThreadHeartbeat {
    /// Does a piece of work, and is busy meanwhile.
    pub fn busy<T>(&self, work: impl FnOnce() -> T) -> T {
        self.set(Some(Instant::now()));
        let done = work();
        self.set(None);
        done
    }

    /// Whether the thread is idle, or has been busy for at most `limit`.
    pub fn is_responsive(&self, limit: Duration) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_none_or(|since| since.elapsed() <= limit)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// How often to call [`notify_watchdog`]: a third of the supervisor's timeout. `None` where it has none.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|timeout| timeout / 3)
}

/// The station is ready; `line` becomes its status.
pub fn notify_ready(line: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(line)]);
}

/// The station is alive.
pub fn notify_watchdog() {
    notify(&[NotifyState::Watchdog]);
}

/// The station is stopping.
pub fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        log!("the supervisor could not be notified: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_responsive_while_waiting_and_for_a_while_at_work() {
        let heartbeat = ThreadHeartbeat::default();
        assert!(heartbeat.is_responsive(Duration::ZERO));
        let seen = heartbeat
            .busy(|| (heartbeat.is_responsive(STALL_LIMIT), heartbeat.is_responsive(Duration::ZERO)));
        assert_eq!(seen, (true, false));
        assert!(heartbeat.is_responsive(Duration::ZERO));
    }
}
