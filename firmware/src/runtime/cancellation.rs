//! The signal that ends every thread.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Cancelled once, for all clones.
#[derive(Debug, Clone, Default)]
pub struct CancellationToken {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl CancellationToken {
    /// Asks every thread to end.
    pub fn cancel(&self) {
        let (set, changed) = &*self.shared;
        *set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        *self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is cancelled, for at most `timeout`; returns whether it was cancelled.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let (set, changed) = &*self.shared;
        let set = set.lock().unwrap_or_else(PoisonError::into_inner);
        *changed.wait_timeout_while(set, timeout, |set| !*set).unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_thread_is_woken() {
        let stop = CancellationToken::default();
        let waiter = std::thread::spawn({
            let stop = stop.clone();
            move || stop.wait_timeout(Duration::from_secs(600))
        });
        stop.cancel();
        assert!(waiter.join().unwrap() && stop.is_cancelled());
        assert!(!CancellationToken::default().wait_timeout(Duration::ZERO));
    }
}
