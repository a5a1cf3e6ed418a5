//! What waits to be sent, most important first.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use shared::wire::{
    BootId, CHUNK, Event, EventRange, Fragment, FrameReport, Message, Nack, Notice, Packet, ReliableEvent,
    Response, RetransmitBuffer,
};

/// Responses that may wait before the connection is read no further.
const MAX_RESPONSES: usize = 32;

/// Masks or a preview of one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FramePayload {
    /// The frame's number.
    pub frame: u32,
    /// The bytes, sent in fragments.
    pub bytes: Vec<u8>,
}

/// The queue of packets to send. It never blocks whoever adds to it.
///
/// Responses go first, then frame results and notices to resend, then new ones in their order, then masks, then previews.
/// Masks and previews go whole or not at all: one whose first fragment was sent is finished, and of the others only the
/// latest stays. While no connection is open, neither waits.
///
/// Frame results and notices stay in the [`RetransmitBuffer`] whether a connection is open or not, for as long as it has
/// room: their numbers show the host what it missed, also while the line was lost, and it requests that. What waits when
/// the line is lost, or when a host opens a conversation, is sent only on request.
#[derive(Debug)]
pub struct TxQueue {
    state: Mutex<TxState>,
    changed: Condvar,
    max_baud: u32,
}

#[derive(Debug)]
struct TxState {
    is_open: bool,
    responses: VecDeque<Packet>,
    reliable: RetransmitBuffer,
    masks: LatestOnly,
    preview: LatestOnly,
    /// Fragments of masks and previews so far.
    fragments: u16,
    unsent: u32,
    /// Bits per second, when it is no longer the line's first rate.
    baud: Option<u32>,
}

/// Bytes of a fragment on a line of that many bits per second, of which a byte takes ten.
fn fragment_length(baud: u32) -> usize {
    (baud as usize / 200).clamp(256, CHUNK as usize)
}

/// The masks, or the preview, of the latest frame.
#[derive(Debug, Default)]
struct LatestOnly {
    /// What is being sent, and how many of its bytes were.
    current: Option<(FramePayload, usize)>,
    next: Option<FramePayload>,
}

impl TxQueue {
    /// A queue for a line of at most `baud` bits per second, whose frame results and notices belong to that start of the
    /// station. A response never waits longer than a twentieth of a second for a fragment, or for 256 bytes of one.
    pub fn new(baud: u32, boot_id: BootId) -> Self {
        let state = TxState {
            is_open: false,
            responses: VecDeque::new(),
            reliable: RetransmitBuffer::new(boot_id),
            masks: LatestOnly::default(),
            preview: LatestOnly::default(),
            fragments: 0,
            unsent: 0,
            baud: None,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), max_baud: baud }
    }

    /// The line continues at another rate until it is lost.
    pub fn set_baud(&self, baud: u32) {
        self.lock().baud = Some(baud);
    }

    /// Queues the response to the request of that sequence number.
    pub fn respond(&self, sequence: u16, response: Response, bulk: Vec<u8>) {
        let message = Message::Response(response);
        self.add(|state| state.responses.push_back(Packet { sequence, message, bulk }));
    }

    /// Queues a frame's result.
    pub fn frame(&self, report: FrameReport) {
        self.push(ReliableEvent::Frame(report));
    }

    /// Queues a notice.
    pub fn notice(&self, notice: Notice) {
        self.push(ReliableEvent::Notice(notice));
    }

    /// Queues the frame results and notices that a host is missing and that are still buffered; returns the response.
    pub fn resend(&self, nack: &Nack) -> EventRange {
        let range = self.lock().reliable.on_nack(nack);
        self.changed.notify_all();
        range
    }

    /// A host opens a conversation: frame results and notices that wait were for another one.
    pub fn on_hello(&self) {
        self.lock().reliable.skip_unsent();
    }

    /// Queues a frame's masks, in place of older ones that are not being sent yet.
    pub fn masks(&self, masks: FramePayload) {
        self.add(|state| state.unsent += state.masks.replace(masks));
    }

    /// Queues a frame's preview, in place of an older one that is not being sent yet.
    pub fn preview(&self, preview: FramePayload) {
        self.add(|state| state.unsent += state.preview.replace(preview));
    }

    /// Masks, previews and results that were not sent because the line was slow.
    pub fn unsent(&self) -> u32 {
        let state = self.lock();
        state.unsent.saturating_add(state.reliable.evicted_unsent())
    }

    /// The connection is open: from now on packets wait for it.
    pub fn open(&self) {
        self.lock().is_open = true;
    }

    /// The connection is lost: drops what waits, except frame results and notices, and wakes everybody who waits.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_open = false;
        state.responses.clear();
        state.reliable.skip_unsent();
        (state.masks, state.preview) = Default::default();
        state.baud = None;
        self.changed.notify_all();
    }

    /// The next packet to send; waits for one. `None` when the connection is lost.
    pub fn next(&self) -> Option<Packet> {
        let mut state = self.lock();
        loop {
            if !state.is_open {
                return None;
            }
            let fragment_length = fragment_length(state.baud.unwrap_or(self.max_baud));
            if let Some(packet) = state.pop(fragment_length) {
                self.changed.notify_all();
                return Some(packet);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until fewer than [`MAX_RESPONSES`] responses wait, or the connection is lost.
    pub fn wait_for_capacity(&self) {
        let state = self.lock();
        let is_full = |state: &mut TxState| state.is_open && state.responses.len() >= MAX_RESPONSES;
        drop(self.changed.wait_while(state, is_full).unwrap_or_else(PoisonError::into_inner));
    }

    fn push(&self, event: ReliableEvent) {
        let mut state = self.lock();
        state.reliable.push(event);
        if !state.is_open {
            state.reliable.skip_unsent();
        }
        self.changed.notify_all();
    }

    fn add(&self, add: impl FnOnce(&mut TxState)) {
        let mut state = self.lock();
        if state.is_open {
            add(&mut state);
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, TxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TxState {
    fn pop(&mut self, fragment_length: usize) -> Option<Packet> {
        if let Some(response) = self.responses.pop_front() {
            return Some(response);
        }
        if let Some(event) = self.reliable.next_to_send() {
            return Some(Packet::new(event.sequence as u16, Event::Sequenced(event)));
        }
        let (event, bulk) = if let Some((fragment, bytes)) = self.masks.pop(fragment_length) {
            (Event::Masks(fragment), bytes)
        } else {
            let (fragment, bytes) = self.preview.pop(fragment_length)?;
            (Event::Preview(fragment), bytes)
        };
        self.fragments = self.fragments.wrapping_add(1);
        Some(Packet { sequence: self.fragments, message: Message::Event(event), bulk })
    }
}

impl LatestOnly {
    /// Queues a payload; returns how many it replaced.
    fn replace(&mut self, payload: FramePayload) -> u32 {
        u32::from(self.next.replace(payload).is_some())
    }

    fn pop(&mut self, fragment_length: usize) -> Option<(Fragment, Vec<u8>)> {
        let (payload, sent) = self.current.take().or_else(|| self.next.take().map(|payload| (payload, 0)))?;
        let end = payload.bytes.len().min(sent + fragment_length);
        let fragment =
            Fragment { frame: payload.frame, offset: sent as u32, total: payload.bytes.len() as u32 };
        let bytes = payload.bytes[sent..end].to_vec();
        if end < payload.bytes.len() {
            self.current = Some((payload, end));
        }
        Some((fragment, bytes))
    }
}

#[cfg(test)]
mod tests {
    use shared::wire::{CameraState, RETRANSMIT_CAPACITY, SequencedEvent};

    use super::*;

    const BOOT_ID: BootId = BootId(3);

    fn queue(baud: u32) -> TxQueue {
        TxQueue::new(baud, BOOT_ID)
    }

    fn payload(frame: u32, length: usize) -> FramePayload {
        FramePayload { frame, bytes: vec![frame as u8; length] }
    }

    fn describe(packet: &Packet) -> String {
        match &packet.message {
            Message::Response(_) => format!("response {}", packet.sequence),
            Message::Event(Event::Masks(fragment)) => {
                format!("masks {} {}", fragment.frame, fragment.offset)
            }
            Message::Event(Event::Preview(fragment)) => {
                format!("preview {} {}", fragment.frame, fragment.offset)
            }
            Message::Event(Event::Sequenced(SequencedEvent { sequence, .. })) => format!("event {sequence}"),
            other => format!("{other:?}"),
        }
    }

    fn next(queue: &TxQueue) -> String {
        describe(&queue.next().unwrap())
    }

    #[test]
    fn responses_go_before_events_before_masks_before_previews() {
        let queue = queue(921_600);
        queue.open();
        queue.preview(payload(1, 10));
        queue.masks(payload(1, 10));
        queue.notice(Notice::Camera(CameraState::Running));
        queue.respond(7, Response::Echo, vec![1]);
        let order: Vec<_> = (0..4).map(|_| next(&queue)).collect();
        assert_eq!(order, ["response 7", "event 0", "masks 1 0", "preview 1 0"]);
    }

    #[test]
    fn a_preview_that_is_being_sent_is_finished_and_of_the_others_the_latest_stays() {
        let queue = queue(0);
        queue.open();
        queue.preview(payload(1, 600));
        assert_eq!(next(&queue), "preview 1 0");
        for frame in 2..5 {
            queue.preview(payload(frame, 10));
        }
        queue.respond(3, Response::Echo, vec![]);
        let order: Vec<_> = (0..4).map(|_| next(&queue)).collect();
        assert_eq!(order, ["response 3", "preview 1 256", "preview 1 512", "preview 4 0"]);
        assert_eq!(queue.unsent(), 2);
    }

    #[test]
    fn without_a_connection_nothing_waits_and_a_stalled_one_is_bounded() {
        let queue = queue(9600);
        queue.notice(Notice::Camera(CameraState::Absent));
        queue.masks(payload(1, 10));
        assert_eq!(queue.next(), None);
        queue.open();
        for _ in 0..RETRANSMIT_CAPACITY + 5 {
            queue.notice(Notice::Camera(CameraState::Absent));
        }
        // Number 0 was queued while no connection was open.
        assert_eq!(queue.unsent(), 5);
        assert_eq!(next(&queue), "event 6");
        queue.close();
        assert_eq!(queue.next(), None);
        queue.wait_for_capacity();
    }

    #[test]
    fn missed_events_are_sent_only_on_request() {
        let queue = queue(9600);
        let notice = || queue.notice(Notice::Camera(CameraState::Absent));
        queue.open();
        (0..3).for_each(|_| notice());
        assert_eq!(next(&queue), "event 0");
        // Two wait when the connection is lost, and three follow before it is open again.
        queue.close();
        (0..3).for_each(|_| notice());
        queue.open();
        notice();
        assert_eq!(next(&queue), "event 6");
        notice();
        queue.on_hello();
        queue.preview(payload(1, 10));
        let range = queue.resend(&Nack::new(BOOT_ID, 1, 1..6));
        assert_eq!(range, EventRange { boot_id: BOOT_ID, first_available: 0, next_unsent: 8 });
        notice();
        let order: Vec<_> = (0..7).map(|_| next(&queue)).collect();
        assert_eq!(order, ["event 1", "event 2", "event 3", "event 4", "event 5", "event 8", "preview 1 0"]);
    }

    #[test]
    fn sequence_numbers_of_packets_wrap_around() {
        let queue = queue(9600);
        queue.open();
        for number in 0..=65_537u64 {
            queue.notice(Notice::Camera(CameraState::Absent));
            let packet = queue.next().unwrap();
            assert_eq!((packet.sequence, describe(&packet)), (number as u16, format!("event {number}")));
        }
    }

    #[test]
    fn a_full_queue_holds_back_only_the_reader() {
        let queue = queue(9600);
        queue.open();
        for sequence in 0..MAX_RESPONSES as u16 {
            queue.respond(sequence, Response::Echo, vec![]);
        }
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| queue.wait_for_capacity());
            assert_eq!(next(&queue), "response 0");
            reader.join().unwrap();
        });
    }
}
