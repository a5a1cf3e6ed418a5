//! The one signal that ends every thread.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Set once, seen by all clones.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl Stop {
    /// Asks every thread to end.
    pub fn set(&self) {
        let (set, changed) = &*self.shared;
        *set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        *self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is set, at most so long; whether it is set.
    pub fn wait(&self, longest: Duration) -> bool {
        let (set, changed) = &*self.shared;
        let set = set.lock().unwrap_or_else(PoisonError::into_inner);
        *changed.wait_timeout_while(set, longest, |set| !*set).unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_thread_is_woken() {
        let stop = Stop::default();
        let waiter = std::thread::spawn({
            let stop = stop.clone();
            move || stop.wait(Duration::from_secs(600))
        });
        stop.set();
        assert!(waiter.join().unwrap() && stop.is_set());
        assert!(!Stop::default().wait(Duration::ZERO));
    }
}
