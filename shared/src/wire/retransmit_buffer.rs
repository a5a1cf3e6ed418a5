//! The sender's side of reliable events: each is sent once, and again when a host reports it missing.

use alloc::collections::{BTreeSet, VecDeque};

use super::message::{BootId, EventRange, Nack, RETRANSMIT_CAPACITY, ReliableEvent, SequencedEvent};

/// Buffers the last [`RETRANSMIT_CAPACITY`] reliable events, whether or not a host received them.
///
/// No event is ever acknowledged: the buffer evicts the oldest when it is full, so that neither a lost acknowledgement
/// nor one from another host changes what can be resent. Resent events go before new ones. A
/// [`ReorderBuffer`](super::ReorderBuffer) that receives a new event therefore knows that everything it requested was
/// sent.
#[derive(Debug, Clone)]
pub struct RetransmitBuffer {
    boot_id: BootId,
    /// The last events, without a gap.
    buffer: VecDeque<ReliableEvent>,
    /// The number of the next event to be pushed.
    next: u64,
    /// The first event that was not sent yet.
    next_unsent: u64,
    /// The events to send again.
    to_resend: BTreeSet<u64>,
    evicted_unsent: u32,
}

impl RetransmitBuffer {
    /// An empty buffer for the events since that start of the station.
    pub const fn new(boot_id: BootId) -> Self {
        Self {
            boot_id,
            buffer: VecDeque::new(),
            next: 0,
            next_unsent: 0,
            to_resend: BTreeSet::new(),
            evicted_unsent: 0,
        }
    }

    /// Appends an event. A full buffer evicts its oldest.
    pub fn push(&mut self, event: ReliableEvent) {
        if self.buffer.len() == RETRANSMIT_CAPACITY {
            let oldest = self.first_available();
            self.buffer.pop_front();
            self.to_resend.remove(&oldest);
            if self.next_unsent == oldest {
                self.next_unsent += 1;
                self.evicted_unsent = self.evicted_unsent.saturating_add(1);
            }
        }
        self.buffer.push_back(event);
        self.next += 1;
    }

    /// The event to send now; `None` when every event was sent.
    pub fn next_to_send(&mut self) -> Option<SequencedEvent> {
        let sequence = match self.to_resend.pop_first() {
            Some(sequence) => sequence,
            None if self.next_unsent < self.next => {
                self.next_unsent += 1;
                self.next_unsent - 1
            }
            None => return None,
        };
        let event = self.buffer.get((sequence - self.first_available()) as usize)?.clone();
        Some(SequencedEvent { boot_id: self.boot_id, sequence, event })
    }

    /// Skips everything that waits to be sent, since no host is there to receive it. A host can still request it.
    pub fn skip_unsent(&mut self) {
        self.next_unsent = self.next;
        self.to_resend.clear();
    }

    /// Schedules the events that a host is missing; returns the response.
    pub fn on_nack(&mut self, nack: &Nack) -> EventRange {
        let range = EventRange {
            boot_id: self.boot_id,
            first_available: self.first_available(),
            next_unsent: self.next_unsent,
        };
        if nack.boot_id == self.boot_id {
            let is_available = |sequence: &u64| (range.first_available..range.next_unsent).contains(sequence);
            self.to_resend.extend(nack.sequences().filter(is_available));
        }
        range
    }

    /// Events that were evicted before they were sent.
    pub const fn evicted_unsent(&self) -> u32 {
        self.evicted_unsent
    }

    fn first_available(&self) -> u64 {
        self.next - self.buffer.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::wire::{CameraState, Notice};

    const BOOT_ID: BootId = BootId(7);

    fn buffer(events: usize) -> RetransmitBuffer {
        let mut buffer = RetransmitBuffer::new(BOOT_ID);
        (0..events).for_each(|_| push(&mut buffer));
        buffer
    }

    fn push(buffer: &mut RetransmitBuffer) {
        buffer.push(ReliableEvent::Notice(Notice::Camera(CameraState::Running)));
    }

    /// The numbers of all that is sent until nothing is left.
    fn sent(buffer: &mut RetransmitBuffer) -> Vec<u64> {
        core::iter::from_fn(|| buffer.next_to_send()).map(|event| event.sequence).collect()
    }

    fn nack(sequences: &[u64]) -> Nack {
        Nack::new(BOOT_ID, sequences[0], sequences.iter().copied())
    }

    #[test]
    fn sends_each_event_once_and_resends_before_new_events() {
        let mut buffer = buffer(5);
        assert_eq!(sent(&mut buffer), [0, 1, 2, 3, 4]);
        (0..2).for_each(|_| push(&mut buffer));
        // An event that was not sent yet cannot be missing.
        let range = buffer.on_nack(&nack(&[1, 3, 5]));
        assert_eq!(range, EventRange { boot_id: BOOT_ID, first_available: 0, next_unsent: 5 });
        buffer.on_nack(&nack(&[3, 4]));
        assert_eq!(sent(&mut buffer), [1, 3, 4, 5, 6]);
        assert!(sent(&mut buffer).is_empty());
    }

    #[test]
    fn a_nack_of_another_boot_is_answered_and_resends_nothing() {
        let mut buffer = buffer(3);
        sent(&mut buffer);
        let range = buffer.on_nack(&Nack { boot_id: BootId(8), ..nack(&[0, 1, 2]) });
        assert_eq!(range.boot_id, BOOT_ID);
        assert!(sent(&mut buffer).is_empty());
    }

    #[test]
    fn skipped_events_can_be_requested() {
        let mut buffer = buffer(3);
        buffer.skip_unsent();
        push(&mut buffer);
        assert_eq!(sent(&mut buffer), [3]);
        buffer.on_nack(&nack(&[0, 2]));
        assert_eq!(sent(&mut buffer), [0, 2]);
        buffer.on_nack(&nack(&[1]));
        buffer.skip_unsent();
        assert!(sent(&mut buffer).is_empty());
        assert_eq!(buffer.evicted_unsent(), 0);
    }

    #[test]
    fn a_full_buffer_evicts_its_oldest_and_counts_those_it_never_sent() {
        let mut buffer = buffer(RETRANSMIT_CAPACITY + 5);
        assert_eq!(buffer.evicted_unsent(), 5);
        let all = sent(&mut buffer);
        assert_eq!((all[0], all.len()), (5, RETRANSMIT_CAPACITY));
        buffer.on_nack(&nack(&[5, 6, 7]));
        (0..2).for_each(|_| push(&mut buffer));
        assert_eq!((buffer.evicted_unsent(), buffer.on_nack(&nack(&[5])).first_available), (5, 7));
        let capacity = RETRANSMIT_CAPACITY as u64;
        assert_eq!(sent(&mut buffer), [7, capacity + 5, capacity + 6]);
    }
}
