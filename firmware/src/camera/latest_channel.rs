//! A channel that holds one item, between a camera that does not wait and a receiver that may be slow: a newer item
//! replaces the one before, and replaced items are counted as skipped.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A channel's two ends.
pub(super) fn latest_channel<T, E>() -> (LatestSender<T, E>, LatestReceiver<T, E>) {
    let shared = Arc::new(Shared { state: Mutex::new(State::default()), changed: Condvar::new() });
    (LatestSender(Arc::clone(&shared)), LatestReceiver(shared))
}

/// Sends items; never blocks.
pub(super) struct LatestSender<T, E>(Arc<Shared<T, E>>);

/// Receives the latest item.
pub(super) struct LatestReceiver<T, E>(Arc<Shared<T, E>>);

/// An item, and how many were skipped since the one before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Received<T> {
    pub(super) item: T,
    pub(super) skipped: u32,
}

/// How old an item may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// The one in the channel will do.
    Any,
    /// It must have begun after the call. Of the items to come, the first may have been under way already.
    BegunAfterCall,
}

/// Why no item was received.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RecvError<E> {
    /// No item arrived in time.
    TimedOut,
    /// The sender ended, with this reason where it gave one.
    Ended(Option<E>),
}

struct Shared<T, E> {
    state: Mutex<State<T, E>>,
    changed: Condvar,
}

struct State<T, E> {
    item: Option<T>,
    sent: u64,
    skipped: u32,
    reason: Option<E>,
    sender_gone: bool,
    receiver_gone: bool,
}

impl<T, E> Default for State<T, E> {
    fn default() -> Self {
        Self { item: None, sent: 0, skipped: 0, reason: None, sender_gone: false, receiver_gone: false }
    }
}

impl<T, E> State<T, E> {
    fn put(&mut self, item: T) {
        self.sent += 1;
        if self.item.replace(item).is_some() {
            self.skipped = self.skipped.saturating_add(1);
        }
    }

    /// The number of the first item that is young enough.
    const fn earliest(&self, freshness: Freshness) -> u64 {
        match freshness {
            Freshness::Any => 0,
            Freshness::BegunAfterCall => self.sent + 2,
        }
    }

    fn take(&mut self, earliest: u64) -> Option<Received<T>> {
        let item = if self.sent >= earliest { self.item.take()? } else { return None };
        Some(Received { item, skipped: std::mem::take(&mut self.skipped) })
    }
}

impl<T, E> Shared<T, E> {
    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, E> LatestSender<T, E> {
    /// Replaces the item before. Returns `false` when the receiver is gone.
    #[must_use]
    pub(super) fn send(&self, item: T) -> bool {
        let mut state = self.0.lock();
        state.put(item);
        self.0.changed.notify_one();
        !state.receiver_gone
    }

    /// Counts items that were lost before they reached the channel.
    pub(super) fn count_lost(&self, count: u32) {
        let mut state = self.0.lock();
        state.skipped = state.skipped.saturating_add(count);
    }

    /// Ends with a reason.
    pub(super) fn end(self, reason: E) {
        self.0.lock().reason = Some(reason);
    }
}

impl<T, E> Drop for LatestSender<T, E> {
    fn drop(&mut self) {
        self.0.lock().sender_gone = true;
        self.0.changed.notify_one();
    }
}

impl<T, E> LatestReceiver<T, E> {
    /// Waits at most `timeout` for an item that is fresh enough. An item that was sent before the sender ended is still
    /// received.
    pub(super) fn recv(&self, freshness: Freshness, timeout: Duration) -> Result<Received<T>, RecvError<E>> {
        let mut state = self.0.lock();
        let earliest = state.earliest(freshness);
        let waiting =
            |state: &mut State<T, E>| !state.sender_gone && (state.item.is_none() || state.sent < earliest);
        state = self
            .0
            .changed
            .wait_timeout_while(state, timeout, waiting)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        match state.take(earliest) {
            Some(received) => Ok(received),
            None if state.sender_gone => Err(RecvError::Ended(state.reason.take())),
            None => Err(RecvError::TimedOut),
        }
    }
}

impl<T, E> Drop for LatestReceiver<T, E> {
    fn drop(&mut self) {
        self.0.lock().receiver_gone = true;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn slow_receiver_gets_the_latest_and_the_count_of_the_skipped() {
        let (sender, receiver) = latest_channel::<u32, ()>();
        let (go, orders) = mpsc::channel::<std::ops::Range<u32>>();
        let (done, published) = mpsc::channel();
        let camera = thread::spawn(move || {
            for items in orders {
                items.for_each(|item| assert!(sender.send(item)));
                done.send(()).unwrap();
            }
        });
        for (items, item, skipped) in [(0..1, 0, 0), (1..6, 5, 4), (6..8, 7, 1)] {
            go.send(items).unwrap();
            published.recv().unwrap();
            assert_eq!(receiver.recv(Freshness::Any, LONG).unwrap(), Received { item, skipped });
        }
        drop(go);
        camera.join().unwrap();
        assert_eq!(receiver.recv(Freshness::Any, LONG), Err(RecvError::Ended(None)));
    }

    #[test]
    fn waiting_receiver_is_woken() {
        let (sender, receiver) = latest_channel::<u32, ()>();
        let (started, start) = mpsc::channel();
        let taker = thread::spawn(move || {
            started.send(()).unwrap();
            receiver.recv(Freshness::Any, LONG)
        });
        start.recv().unwrap();
        assert!(sender.send(7));
        assert_eq!(taker.join().unwrap().unwrap().item, 7);
    }

    #[test]
    fn a_trigger_wants_what_begins_after_it() {
        let mut state = State::<u32, ()>::default();
        state.put(1);
        let earliest = state.earliest(Freshness::BegunAfterCall);
        assert_eq!(state.take(earliest), None, "it was there before the call");
        state.put(2);
        assert_eq!(state.take(earliest), None, "it was under way at the call");
        state.put(3);
        assert_eq!(state.take(earliest), Some(Received { item: 3, skipped: 2 }));
    }

    #[test]
    fn ends_are_reported() {
        let (sender, receiver) = latest_channel::<u32, &str>();
        assert_eq!(receiver.recv(Freshness::Any, Duration::ZERO), Err(RecvError::TimedOut));
        assert!(sender.send(1));
        sender.end("unplugged");
        assert_eq!(receiver.recv(Freshness::Any, LONG).unwrap().item, 1, "what came before the end counts");
        assert_eq!(receiver.recv(Freshness::BegunAfterCall, LONG), Err(RecvError::Ended(Some("unplugged"))));
        let (sender, receiver) = super::latest_channel::<u32, ()>();
        drop(receiver);
        assert!(!sender.send(1));
    }
}
