//! Messages on their way to the broker.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::metrics::Metrics;
use super::queue_log::{Left, QueueError, QueueLog};

/// Messages sent and not acknowledged yet: as many may come twice when the broker is lost.
pub const WINDOW: usize = 16;

/// How long what was written to the disk may be in the system's memory alone.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// A count's number in the queue.
    pub number: u64,
    /// Where it goes.
    pub topic: String,
    /// What it says.
    pub content: String,
    /// Counts wait in the queue; states are told anew whenever the broker is back.
    pub kind: MessageKind,
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Something that happened: each is sent.
    Count,
    /// How something is: the last is sent, and retained by the broker.
    State,
}

/// Messages on their way to the broker: counts in a queue with a bound, and the last word on every state.
#[derive(Debug)]
pub struct Outbox {
    parts: Mutex<Parts>,
    bound: NonZeroUsize,
    metrics: Metrics,
    /// There may be something to send.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Parts {
    /// The number of the next count.
    next: u64,
    /// What is kept on the disk.
    log: Option<QueueLog>,
    states: BTreeMap<String, State>,
    /// Counts not sent over this connection.
    waiting: VecDeque<Message>,
    /// What was sent over this connection and not acknowledged.
    sent: VecDeque<Sent>,
    /// The queue was full since the broker was last there.
    overflowed: bool,
    closed: bool,
}

#[derive(Debug)]
struct State {
    content: String,
    is_sent: bool,
}

#[derive(Debug)]
struct Sent {
    /// MQTT's packet identifier, once it is known.
    packet: Option<u16>,
    message: Message,
}

impl Outbox {
    /// An empty one, whose queue holds that many counts.
    pub fn new(bound: NonZeroUsize, metrics: Metrics) -> Self {
        Self { parts: Mutex::default(), bound, metrics, changed: Notify::new() }
    }

    /// One that is kept in a folder, and goes on with what an earlier one left there.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn kept(folder: &Path, bound: NonZeroUsize, metrics: Metrics) -> Result<Arc<Self>, QueueError> {
        let (log, Left { counts, next, damaged }) = QueueLog::open(folder)?;
        if damaged > 0 {
            eprintln!("{damaged} lines of the queue in {} are damaged and left out", folder.display());
        }
        if !counts.is_empty() {
            eprintln!("{} counts wait in {} from before", counts.len(), folder.display());
        }
        let outbox = Self::new(bound, metrics);
        let mut parts = outbox.parts();
        (parts.waiting, parts.next, parts.log) = (counts, next, Some(log));
        outbox.make_room(&mut parts, bound.get());
        outbox.tell_queued(&parts);
        drop(parts);
        let outbox = Arc::new(outbox);
        let kept = Arc::downgrade(&outbox);
        std::thread::spawn(move || {
            while let Some(outbox) = kept.upgrade() {
                outbox.sync();
                drop(outbox);
                std::thread::sleep(SYNC_EVERY);
            }
        });
        Ok(outbox)
    }

    /// Brings to the disk what only the system has; nobody waits for it.
    fn sync(&self) {
        let unsynced = self.parts().log.as_mut().map(QueueLog::unsynced);
        for file in unsynced.into_iter().flatten() {
            // A disk that fails is told of when it is written to.
            let _ = file.sync_data();
        }
    }

    /// Whether all that waits is on the disk.
    pub fn is_whole(&self) -> bool {
        self.parts().log.as_ref().is_some_and(QueueLog::is_whole)
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a count at the queue's end. Where the queue is full, its oldest count is dropped, which is counted, and
    /// told on standard error once until the broker is back.
    pub fn count(&self, topic: String, content: String) {
        let mut parts = self.parts();
        self.make_room(&mut parts, self.bound.get() - 1);
        let message = Message { number: parts.next, topic, content, kind: MessageKind::Count };
        parts.next += 1;
        if let Some(log) = &mut parts.log {
            log.put(&message);
        }
        parts.waiting.push_back(message);
        self.tell_queued(&parts);
        self.changed.notify_one();
    }

    /// Drops the oldest counts until no more than so many wait.
    fn make_room(&self, parts: &mut Parts, most: usize) {
        while queued(parts) > most && parts.waiting.pop_front().is_some() {
            self.metrics.dropped.inc();
            if !std::mem::replace(&mut parts.overflowed, true) {
                eprintln!(
                    "{} counts wait for the broker, as many as may: the oldest are dropped",
                    self.bound
                );
            }
        }
        parts.settle();
    }

    /// Says how something is from now on.
    pub fn state(&self, topic: String, content: String) {
        self.parts().states.insert(topic, State { content, is_sent: false });
        self.changed.notify_one();
    }

    /// No more messages come.
    pub fn close(&self) {
        self.parts().closed = true;
        self.changed.notify_one();
    }

    /// Counts that the broker has not acknowledged.
    pub fn queued(&self) -> usize {
        queued(&self.parts())
    }

    /// Waits until there may be something to send.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The message to send now: states first, and never more than [`WINDOW`] that are not acknowledged.
    pub fn next(&self) -> Option<Message> {
        let mut parts = self.parts();
        if parts.sent.len() >= WINDOW {
            return None;
        }
        let state = parts.states.iter_mut().find(|(_, state)| !state.is_sent).map(|(topic, state)| {
            state.is_sent = true;
            let (topic, content) = (topic.clone(), state.content.clone());
            Message { number: 0, topic, content, kind: MessageKind::State }
        });
        let message = state.or_else(|| parts.waiting.pop_front())?;
        parts.sent.push_back(Sent { packet: None, message: message.clone() });
        Some(message)
    }

    /// The first message without a packet identifier went out under this one.
    pub fn sent(&self, packet: u16) {
        if let Some(sent) = self.parts().sent.iter_mut().find(|sent| sent.packet.is_none()) {
            sent.packet = Some(packet);
        }
    }

    /// The broker took a message.
    pub fn acknowledged(&self, packet: u16) {
        if self.settle(packet).is_some_and(|message| message.kind == MessageKind::Count) {
            self.metrics.published.inc();
        }
    }

    /// The broker does not take a message; which it was.
    pub fn refused(&self, packet: u16) -> Option<Message> {
        let message = self.settle(packet)?;
        if message.kind == MessageKind::Count {
            self.metrics.dropped.inc();
        }
        Some(message)
    }

    fn settle(&self, packet: u16) -> Option<Message> {
        let mut parts = self.parts();
        let place = parts.sent.iter().position(|sent| sent.packet == Some(packet))?;
        let settled = parts.sent.remove(place);
        parts.settle();
        self.tell_queued(&parts);
        self.changed.notify_one();
        Some(settled?.message)
    }

    /// A connection is there, on which nothing was sent.
    pub fn connected(&self) {
        self.metrics.broker_up.set(1);
        self.parts().overflowed = false;
        self.changed.notify_one();
    }

    /// The connection is gone: what was not acknowledged is to be sent again, in the same order.
    pub fn disconnected(&self) {
        self.metrics.broker_up.set(0);
        let mut parts = self.parts();
        while let Some(sent) = parts.sent.pop_back() {
            if sent.message.kind == MessageKind::Count {
                parts.waiting.push_front(sent.message);
            }
        }
        // A broker that was started anew may have forgotten them.
        parts.states.values_mut().for_each(|state| state.is_sent = false);
    }

    /// Whether all is said and acknowledged.
    pub fn is_done(&self) -> bool {
        let parts = self.parts();
        let is_told = parts.states.values().all(|state| state.is_sent);
        parts.closed && is_told && parts.waiting.is_empty() && parts.sent.is_empty()
    }

    fn tell_queued(&self, parts: &Parts) {
        self.metrics.queued.set(queued(parts) as i64);
    }
}

impl Parts {
    /// Tells the disk how far all counts are settled.
    fn settle(&mut self) {
        let sent = self.sent.iter().filter(|sent| sent.message.kind == MessageKind::Count);
        let open = sent.map(|sent| &sent.message).chain(self.waiting.front()).map(|message| message.number);
        let below = open.min().unwrap_or(self.next);
        if let Some(log) = &mut self.log {
            log.settle(below);
        }
    }
}

fn queued(parts: &Parts) -> usize {
    let sent = parts.sent.iter().filter(|sent| sent.message.kind == MessageKind::Count);
    parts.waiting.len() + sent.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(bound: usize) -> (Outbox, Metrics) {
        let metrics = Metrics::default();
        (Outbox::new(NonZeroUsize::new(bound).unwrap(), metrics.clone()), metrics)
    }

    /// Sends all that may be sent, as packets from `packet` on; what it says.
    fn send(outbox: &Outbox, packet: u16) -> Vec<String> {
        let messages = std::iter::from_fn(|| outbox.next()).zip(packet..);
        messages.map(|(message, packet)| (outbox.sent(packet), message.content).1).collect()
    }

    fn count(outbox: &Outbox, numbers: std::ops::Range<u32>) {
        numbers.for_each(|number| outbox.count("count".into(), number.to_string()));
    }

    fn words(numbers: std::ops::Range<u32>) -> Vec<String> {
        numbers.map(|number| number.to_string()).collect()
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_in_order() {
        let (outbox, metrics) = outbox(100);
        count(&outbox, 0..20);
        assert_eq!(send(&outbox, 1), words(0..16));
        (1..=5).for_each(|packet| outbox.acknowledged(packet));
        assert_eq!(send(&outbox, 17), words(16..20));
        outbox.disconnected();
        count(&outbox, 20..22);
        assert_eq!(outbox.queued(), 17);
        assert_eq!(send(&outbox, 1), words(5..21));
        // Also where a broker acknowledges in another order.
        (1..=16).rev().for_each(|packet| outbox.acknowledged(packet));
        assert_eq!(send(&outbox, 1), words(21..22));
        outbox.acknowledged(1);
        assert_eq!((outbox.queued(), metrics.published.get(), metrics.dropped.get()), (0, 22, 0));
    }

    #[test]
    fn a_full_queue_drops_its_oldest_and_counts_them() {
        let (outbox, metrics) = outbox(3);
        count(&outbox, 0..5);
        assert_eq!((outbox.queued(), metrics.dropped.get(), metrics.queued.get()), (3, 2, 3));
        assert_eq!(send(&outbox, 1), words(2..5));
    }

    #[test]
    fn a_refused_count_is_dropped_and_named() {
        let (outbox, metrics) = outbox(3);
        count(&outbox, 0..1);
        send(&outbox, 1);
        assert_eq!(outbox.refused(1).map(|message| message.topic).as_deref(), Some("count"));
        assert_eq!((outbox.queued(), metrics.published.get(), metrics.dropped.get()), (0, 0, 1));
        assert_eq!(outbox.refused(1), None);
    }

    #[test]
    fn states_go_first_the_last_word_alone_and_anew_on_every_connection() {
        let (outbox, metrics) = outbox(3);
        count(&outbox, 0..1);
        outbox.state("a".into(), "online".into());
        outbox.state("a".into(), "offline".into());
        assert_eq!(send(&outbox, 1), ["offline", "0"]);
        outbox.acknowledged(1);
        outbox.disconnected();
        assert_eq!(send(&outbox, 1), ["offline", "0"]);
        outbox.close();
        assert!(!outbox.is_done());
        (1..=2).for_each(|packet| outbox.acknowledged(packet));
        assert!(outbox.is_done());
        assert_eq!(metrics.published.get(), 1);
    }
}
