//! A mailbox with one place, between a camera that does not wait and a station that may be slow: the newest
//! item wins, and those that it replaces are counted.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Makes a mailbox and its two ends.
pub(super) fn newest<T, E>() -> (Publisher<T, E>, Newest<T, E>) {
    let shared = Arc::new(Mailbox { state: Mutex::new(State::default()), changed: Condvar::new() });
    (Publisher(Arc::clone(&shared)), Newest(shared))
}

/// The end that puts items in; never waits.
pub(super) struct Publisher<T, E>(Arc<Mailbox<T, E>>);

/// The end that takes the newest out.
pub(super) struct Newest<T, E>(Arc<Mailbox<T, E>>);

/// An item and how many were passed over since the one before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken<T> {
    pub(super) item: T,
    pub(super) passed_over: u32,
}

/// How old an item may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// The one in the mailbox will do.
    Any,
    /// It must have begun after the call. Of the items to come, the first may have been under way already.
    BegunAfterCall,
}

/// Why nothing was taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Nothing<E> {
    /// Nothing came in time.
    TimedOut,
    /// The publisher ended, with this reason where it gave one.
    Ended(Option<E>),
}

struct Mailbox<T, E> {
    state: Mutex<State<T, E>>,
    changed: Condvar,
}

struct State<T, E> {
    item: Option<T>,
    published: u64,
    passed_over: u32,
    reason: Option<E>,
    publisher_gone: bool,
    taker_gone: bool,
}

impl<T, E> Default for State<T, E> {
    fn default() -> Self {
        Self {
            item: None,
            published: 0,
            passed_over: 0,
            reason: None,
            publisher_gone: false,
            taker_gone: false,
        }
    }
}

impl<T, E> State<T, E> {
    fn put(&mut self, item: T) {
        self.published += 1;
        if self.item.replace(item).is_some() {
            self.passed_over = self.passed_over.saturating_add(1);
        }
    }

    /// The number of the first item that is young enough.
    const fn earliest(&self, age: Age) -> u64 {
        match age {
            Age::Any => 0,
            Age::BegunAfterCall => self.published + 2,
        }
    }

    fn take(&mut self, earliest: u64) -> Option<Taken<T>> {
        let item = if self.published >= earliest { self.item.take()? } else { return None };
        Some(Taken { item, passed_over: std::mem::take(&mut self.passed_over) })
    }
}

impl<T, E> Mailbox<T, E> {
    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, E> Publisher<T, E> {
    /// Puts an item in the place of the one before. `false` when nobody will take it any more.
    #[must_use]
    pub(super) fn publish(&self, item: T) -> bool {
        let mut state = self.0.lock();
        state.put(item);
        self.0.changed.notify_one();
        !state.taker_gone
    }

    /// Counts items that were lost before they came here.
    pub(super) fn lose(&self, count: u32) {
        let mut state = self.0.lock();
        state.passed_over = state.passed_over.saturating_add(count);
    }

    /// Ends with a reason.
    pub(super) fn end(self, reason: E) {
        self.0.lock().reason = Some(reason);
    }
}

impl<T, E> Drop for Publisher<T, E> {
    fn drop(&mut self) {
        self.0.lock().publisher_gone = true;
        self.0.changed.notify_one();
    }
}

impl<T, E> Newest<T, E> {
    /// Waits at most `patience` for an item that is young enough. An item that came before the
    /// publisher's end is still given.
    pub(super) fn take(&self, age: Age, patience: Duration) -> Result<Taken<T>, Nothing<E>> {
        let mut state = self.0.lock();
        let earliest = state.earliest(age);
        let waiting = |state: &mut State<T, E>| {
            !state.publisher_gone && (state.item.is_none() || state.published < earliest)
        };
        state = self
            .0
            .changed
            .wait_timeout_while(state, patience, waiting)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        match state.take(earliest) {
            Some(taken) => Ok(taken),
            None if state.publisher_gone => Err(Nothing::Ended(state.reason.take())),
            None => Err(Nothing::TimedOut),
        }
    }
}

impl<T, E> Drop for Newest<T, E> {
    fn drop(&mut self) {
        self.0.lock().taker_gone = true;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_slow_taker_gets_the_newest_and_the_count_of_the_rest() {
        let (publisher, newest) = newest::<u32, ()>();
        let (go, orders) = mpsc::channel::<std::ops::Range<u32>>();
        let (done, published) = mpsc::channel();
        let camera = thread::spawn(move || {
            for items in orders {
                items.for_each(|item| assert!(publisher.publish(item)));
                done.send(()).unwrap();
            }
        });
        for (items, item, passed_over) in [(0..1, 0, 0), (1..6, 5, 4), (6..8, 7, 1)] {
            go.send(items).unwrap();
            published.recv().unwrap();
            assert_eq!(newest.take(Age::Any, LONG).unwrap(), Taken { item, passed_over });
        }
        drop(go);
        camera.join().unwrap();
        assert_eq!(newest.take(Age::Any, LONG), Err(Nothing::Ended(None)));
    }

    #[test]
    fn a_waiting_taker_is_woken() {
        let (publisher, newest) = newest::<u32, ()>();
        let (started, start) = mpsc::channel();
        let taker = thread::spawn(move || {
            started.send(()).unwrap();
            newest.take(Age::Any, LONG)
        });
        start.recv().unwrap();
        assert!(publisher.publish(7));
        assert_eq!(taker.join().unwrap().unwrap().item, 7);
    }

    #[test]
    fn a_trigger_wants_what_begins_after_it() {
        let mut state = State::<u32, ()>::default();
        state.put(1);
        let earliest = state.earliest(Age::BegunAfterCall);
        assert_eq!(state.take(earliest), None, "it lay there before the call");
        state.put(2);
        assert_eq!(state.take(earliest), None, "it was under way at the call");
        state.put(3);
        assert_eq!(state.take(earliest), Some(Taken { item: 3, passed_over: 2 }));
    }

    #[test]
    fn ends_are_told() {
        let (publisher, newest) = newest::<u32, &str>();
        assert_eq!(newest.take(Age::Any, Duration::ZERO), Err(Nothing::TimedOut));
        assert!(publisher.publish(1));
        publisher.end("unplugged");
        assert_eq!(newest.take(Age::Any, LONG).unwrap().item, 1, "what came before the end counts");
        assert_eq!(newest.take(Age::BegunAfterCall, LONG), Err(Nothing::Ended(Some("unplugged"))));
        let (publisher, newest) = super::newest::<u32, ()>();
        drop(newest);
        assert!(!publisher.publish(1));
    }
}
