//! The queue of messages to the broker.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use host_console::warning;
use tokio::sync::Notify;

use super::disk_queue::{DiskQueue, QueueError, Recovered};
use super::message::{MessageKind, MqttMessage};
use super::metrics::Metrics;

/// Messages in flight, which means sent and not acknowledged: so many may arrive twice after an outage.
pub const MAX_IN_FLIGHT: usize = 16;

/// Longest time that a queued count stays only in the system's page cache.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// The queue of messages to the broker: counts up to a capacity, and the newest of every state.
#[derive(Debug)]
pub struct Outbox {
    parts: Mutex<Parts>,
    capacity: NonZeroUsize,
    metrics: Metrics,
    /// Wakes the sender.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Parts {
    /// The number of the next count.
    next: u64,
    /// The queue's copy on disk.
    disk: Option<DiskQueue>,
    states: BTreeMap<String, RetainedState>,
    /// Counts that this connection has not sent.
    unsent: VecDeque<MqttMessage>,
    /// Messages that this connection has sent and the broker has not acknowledged.
    in_flight: VecDeque<UnackedMessage>,
    /// The queue has overflowed since the broker was last connected.
    overflowed: bool,
    closed: bool,
}

#[derive(Debug)]
struct RetainedState {
    content: String,
    is_sent: bool,
}

#[derive(Debug)]
struct UnackedMessage {
    /// MQTT's packet identifier, once the client has chosen it.
    packet: Option<u16>,
    message: MqttMessage,
}

impl Outbox {
    /// An empty queue of at most `capacity` counts, in memory.
    pub fn new(capacity: NonZeroUsize, metrics: Metrics) -> Self {
        Self { parts: Mutex::default(), capacity, metrics, changed: Notify::new() }
    }

    /// A queue on disk, in a folder, with the counts that an earlier program left there.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn open_durable(
        folder: &Path,
        capacity: NonZeroUsize,
        metrics: Metrics,
    ) -> Result<Arc<Self>, QueueError> {
        let (disk, Recovered { counts, next, damaged }) = DiskQueue::open(folder)?;
        if damaged > 0 {
            warning!("{damaged} damaged lines of the queue in {} were skipped", folder.display());
        }
        if !counts.is_empty() {
            warning!("{} counts are queued in {} from an earlier run", counts.len(), folder.display());
        }
        let outbox = Self::new(capacity, metrics);
        let mut parts = outbox.parts();
        (parts.unsent, parts.next, parts.disk) = (counts, next, Some(disk));
        outbox.evict_oldest(&mut parts, capacity.get());
        outbox.update_queued_metric(&parts);
        drop(parts);
        let outbox = Arc::new(outbox);
        let weak = Arc::downgrade(&outbox);
        std::thread::spawn(move || {
            while let Some(outbox) = weak.upgrade() {
                outbox.sync();
                drop(outbox);
                std::thread::sleep(SYNC_INTERVAL);
            }
        });
        Ok(outbox)
    }

    /// Flushes the files to disk; nobody waits for it.
    fn sync(&self) {
        let unsynced = self.parts().disk.as_mut().map(DiskQueue::take_unsynced);
        for file in unsynced.into_iter().flatten() {
            // A failing disk is reported when it is written to.
            let _ = file.sync_data();
        }
    }

    /// Whether every queued count is on disk.
    pub fn is_durable(&self) -> bool {
        self.parts().disk.as_ref().is_some_and(DiskQueue::is_durable)
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a count. A full queue drops its oldest, counts the loss, and warns once per outage.
    pub fn push_count(&self, topic: String, content: String) {
        let mut parts = self.parts();
        self.evict_oldest(&mut parts, self.capacity.get() - 1);
        let message = MqttMessage { number: parts.next, topic, content, kind: MessageKind::Count };
        parts.next += 1;
        if let Some(disk) = &mut parts.disk {
            disk.push(&message);
        }
        parts.unsent.push_back(message);
        self.update_queued_metric(&parts);
        self.changed.notify_one();
    }

    /// Drops the oldest counts until at most `most` are queued.
    fn evict_oldest(&self, parts: &mut Parts, most: usize) {
        while queued(parts) > most && parts.unsent.pop_front().is_some() {
            self.metrics.dropped.inc();
            if !std::mem::replace(&mut parts.overflowed, true) {
                warning!("the queue is full ({} counts): its oldest counts are dropped", self.capacity);
            }
        }
        parts.ack_disk_queue();
    }

    /// Replaces the state of a topic.
    pub fn set_state(&self, topic: String, content: String) {
        self.parts().states.insert(topic, RetainedState { content, is_sent: false });
        self.changed.notify_one();
    }

    /// No more messages follow.
    pub fn close(&self) {
        self.parts().closed = true;
        self.changed.notify_one();
    }

    /// Number of counts that the broker has not acknowledged.
    pub fn queued(&self) -> usize {
        queued(&self.parts())
    }

    /// Waits until there may be something to send.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The message to send now: states first. `None` while [`MAX_IN_FLIGHT`] are in flight.
    pub fn next(&self) -> Option<MqttMessage> {
        let mut parts = self.parts();
        if parts.in_flight.len() >= MAX_IN_FLIGHT {
            return None;
        }
        let state = parts.states.iter_mut().find(|(_, state)| !state.is_sent).map(|(topic, state)| {
            state.is_sent = true;
            let (topic, content) = (topic.clone(), state.content.clone());
            MqttMessage { number: 0, topic, content, kind: MessageKind::State }
        });
        let message = state.or_else(|| parts.unsent.pop_front())?;
        parts.in_flight.push_back(UnackedMessage { packet: None, message: message.clone() });
        Some(message)
    }

    /// The client has sent the first message without a packet identifier under this one.
    pub fn on_sent(&self, packet: u16) {
        if let Some(sent) = self.parts().in_flight.iter_mut().find(|sent| sent.packet.is_none()) {
            sent.packet = Some(packet);
        }
    }

    /// The broker has acknowledged a message.
    pub fn on_ack(&self, packet: u16) {
        if self.remove(packet).is_some_and(|message| message.kind == MessageKind::Count) {
            self.metrics.published.inc();
        }
    }

    /// The broker has rejected a message, which is returned.
    pub fn on_rejected(&self, packet: u16) -> Option<MqttMessage> {
        let message = self.remove(packet)?;
        if message.kind == MessageKind::Count {
            self.metrics.dropped.inc();
        }
        Some(message)
    }

    fn remove(&self, packet: u16) -> Option<MqttMessage> {
        let mut parts = self.parts();
        let place = parts.in_flight.iter().position(|sent| sent.packet == Some(packet))?;
        let removed = parts.in_flight.remove(place);
        parts.ack_disk_queue();
        self.update_queued_metric(&parts);
        self.changed.notify_one();
        Some(removed?.message)
    }

    /// A new connection is open.
    pub fn on_connected(&self) {
        self.metrics.broker_up.set(1);
        self.parts().overflowed = false;
        self.changed.notify_one();
    }

    /// The connection is closed: messages in flight are sent again, in the same order.
    pub fn on_disconnected(&self) {
        self.metrics.broker_up.set(0);
        let mut parts = self.parts();
        while let Some(sent) = parts.in_flight.pop_back() {
            if sent.message.kind == MessageKind::Count {
                parts.unsent.push_front(sent.message);
            }
        }
        // A restarted broker may have lost them.
        parts.states.values_mut().for_each(|state| state.is_sent = false);
    }

    /// Whether the queue is closed and every message is acknowledged.
    pub fn is_drained(&self) -> bool {
        let parts = self.parts();
        let are_states_sent = parts.states.values().all(|state| state.is_sent);
        parts.closed && are_states_sent && parts.unsent.is_empty() && parts.in_flight.is_empty()
    }

    fn update_queued_metric(&self, parts: &Parts) {
        self.metrics.queued.set(queued(parts) as i64);
    }
}

impl Parts {
    /// Acknowledges in the disk queue what the broker has acknowledged without a gap.
    fn ack_disk_queue(&mut self) {
        let sent = self.in_flight.iter().filter(|sent| sent.message.kind == MessageKind::Count);
        let open = sent.map(|sent| &sent.message).chain(self.unsent.front()).map(|message| message.number);
        let below = open.min().unwrap_or(self.next);
        if let Some(disk) = &mut self.disk {
            disk.ack_below(below);
        }
    }
}

fn queued(parts: &Parts) -> usize {
    let sent = parts.in_flight.iter().filter(|sent| sent.message.kind == MessageKind::Count);
    parts.unsent.len() + sent.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(capacity: usize) -> (Outbox, Metrics) {
        let metrics = Metrics::default();
        (Outbox::new(NonZeroUsize::new(capacity).unwrap(), metrics.clone()), metrics)
    }

    /// Sends all that may be sent, as packets from `packet` on; their contents.
    fn send(outbox: &Outbox, packet: u16) -> Vec<String> {
        let messages = std::iter::from_fn(|| outbox.next()).zip(packet..);
        messages.map(|(message, packet)| (outbox.on_sent(packet), message.content).1).collect()
    }

    fn count(outbox: &Outbox, numbers: std::ops::Range<u32>) {
        numbers.for_each(|number| outbox.push_count("count".into(), number.to_string()));
    }

    fn words(numbers: std::ops::Range<u32>) -> Vec<String> {
        numbers.map(|number| number.to_string()).collect()
    }

    #[test]
    fn unacknowledged_counts_are_resent_in_order() {
        let (outbox, metrics) = outbox(100);
        count(&outbox, 0..20);
        assert_eq!(send(&outbox, 1), words(0..16));
        (1..=5).for_each(|packet| outbox.on_ack(packet));
        assert_eq!(send(&outbox, 17), words(16..20));
        outbox.on_disconnected();
        count(&outbox, 20..22);
        assert_eq!(outbox.queued(), 17);
        assert_eq!(send(&outbox, 1), words(5..21));
        // A broker may acknowledge in another order.
        (1..=16).rev().for_each(|packet| outbox.on_ack(packet));
        assert_eq!(send(&outbox, 1), words(21..22));
        outbox.on_ack(1);
        assert_eq!((outbox.queued(), metrics.published.get(), metrics.dropped.get()), (0, 22, 0));
    }

    #[test]
    fn a_full_queue_drops_and_counts_its_oldest() {
        let (outbox, metrics) = outbox(3);
        count(&outbox, 0..5);
        assert_eq!((outbox.queued(), metrics.dropped.get(), metrics.queued.get()), (3, 2, 3));
        assert_eq!(send(&outbox, 1), words(2..5));
    }

    #[test]
    fn a_rejected_count_is_dropped_and_named() {
        let (outbox, metrics) = outbox(3);
        count(&outbox, 0..1);
        send(&outbox, 1);
        assert_eq!(outbox.on_rejected(1).map(|message| message.topic).as_deref(), Some("count"));
        assert_eq!((outbox.queued(), metrics.published.get(), metrics.dropped.get()), (0, 0, 1));
        assert_eq!(outbox.on_rejected(1), None);
    }

    #[test]
    fn the_newest_states_go_first_on_every_connection() {
        let (outbox, metrics) = outbox(3);
        count(&outbox, 0..1);
        outbox.set_state("a".into(), "online".into());
        outbox.set_state("a".into(), "offline".into());
        assert_eq!(send(&outbox, 1), ["offline", "0"]);
        outbox.on_ack(1);
        outbox.on_disconnected();
        assert_eq!(send(&outbox, 1), ["offline", "0"]);
        outbox.close();
        assert!(!outbox.is_drained());
        (1..=2).for_each(|packet| outbox.on_ack(packet));
        assert!(outbox.is_drained());
        assert_eq!(metrics.published.get(), 1);
    }
}
