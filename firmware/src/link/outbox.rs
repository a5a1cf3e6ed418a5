//! What waits to be sent, most important first.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use shared::wire::{
    BootId, CHUNK, Event, EventRange, Fragment, FrameReport, Message, Nack, Notice, Packet, ReliableEvent,
    Response, RetransmitBuffer,
};

/// Answers that may wait before the line is read no further.
const MAX_ANSWERS: usize = 32;

/// Masks or a preview of one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bulk {
    /// The frame's number.
    pub frame: u32,
    /// The bytes, sent in pieces.
    pub bytes: Vec<u8>,
}

/// What waits to be sent. Nothing here blocks whoever puts something in.
///
/// Answers go first, then frame results and notices that a host asked for again, then new ones in their order, then
/// masks, then previews. Masks and previews go whole or not at all: one that was begun is finished, and of those that
/// were not the newest stays. While no line is open, none of them is kept.
///
/// Frame results and notices are kept by the [`RetransmitBuffer`] whether a line is open or not, and for as long as
/// there is room: the host knows by their numbers what it missed, also while the line was lost, and has it told again.
/// What waits when the line is lost, or when a host opens a conversation, is told to nobody who does not ask for it.
#[derive(Debug)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    top_speed: u32,
}

#[derive(Debug)]
struct Waiting {
    is_open: bool,
    answers: VecDeque<Packet>,
    reliable: RetransmitBuffer,
    masks: Lane,
    preview: Lane,
    /// Pieces of masks and previews so far.
    pieces: u16,
    unsent: u32,
    /// Bits a second, where it is no longer the line's first speed.
    speed: Option<u32>,
}

/// Bytes of a piece on a line of so many bits a second, of which a byte takes ten.
fn piece(speed: u32) -> usize {
    (speed as usize / 200).clamp(256, CHUNK as usize)
}

/// Masks, or previews.
#[derive(Debug, Default)]
struct Lane {
    begun: Option<(Bulk, usize)>,
    next: Option<Bulk>,
}

impl Outbox {
    /// An outbox for a line of `baud` bits a second at its fastest: an answer never waits longer than a twentieth of a
    /// second for a piece of something else, or a piece of 256 bytes. Frame results and notices are of that run.
    pub fn new(baud: u32, boot_id: BootId) -> Self {
        let waiting = Waiting {
            is_open: false,
            answers: VecDeque::new(),
            reliable: RetransmitBuffer::new(boot_id),
            masks: Lane::default(),
            preview: Lane::default(),
            pieces: 0,
            unsent: 0,
            speed: None,
        };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new(), top_speed: baud }
    }

    /// The line goes on at another speed until it is lost.
    pub fn set_speed(&self, baud: u32) {
        self.lock().speed = Some(baud);
    }

    /// Queues the answer to the request of that sequence number.
    pub fn answer(&self, sequence: u16, response: Response, bulk: Vec<u8>) {
        let message = Message::Response(response);
        self.put(|waiting| waiting.answers.push_back(Packet { sequence, message, bulk }));
    }

    /// Queues a frame's result.
    pub fn frame(&self, report: FrameReport) {
        self.push(ReliableEvent::Frame(report));
    }

    /// Queues a notice.
    pub fn notice(&self, notice: Notice) {
        self.push(ReliableEvent::Notice(notice));
    }

    /// Queues the frame results and notices that a host lacks and that are still kept; what it is answered.
    pub fn tell_again(&self, nack: &Nack) -> EventRange {
        let range = self.lock().reliable.on_nack(nack);
        self.changed.notify_all();
        range
    }

    /// A host opens a conversation: frame results and notices that wait were for somebody else.
    pub fn greeted(&self) {
        self.lock().reliable.skip_unsent();
    }

    /// Queues a frame's masks in place of older ones that were not begun.
    pub fn masks(&self, masks: Bulk) {
        self.put(|waiting| waiting.unsent += waiting.masks.replace(masks));
    }

    /// Queues a frame's preview in place of an older one that was not begun.
    pub fn preview(&self, preview: Bulk) {
        self.put(|waiting| waiting.unsent += waiting.preview.replace(preview));
    }

    /// Masks, previews and results that were not sent since the line was slow.
    pub fn unsent(&self) -> u32 {
        let waiting = self.lock();
        waiting.unsent.saturating_add(waiting.reliable.evicted_unsent())
    }

    /// The line is open: things are kept from now on.
    pub fn open(&self) {
        self.lock().is_open = true;
    }

    /// The line is lost: what waits is forgotten, but for frame results and notices, and everybody who waits goes on.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_open = false;
        waiting.answers.clear();
        waiting.reliable.skip_unsent();
        (waiting.masks, waiting.preview) = Default::default();
        waiting.speed = None;
        self.changed.notify_all();
    }

    /// The next packet to send; waits for one. `None` when the line is lost.
    pub fn next(&self) -> Option<Packet> {
        let mut waiting = self.lock();
        loop {
            if !waiting.is_open {
                return None;
            }
            let piece = piece(waiting.speed.unwrap_or(self.top_speed));
            if let Some(packet) = waiting.take(piece) {
                self.changed.notify_all();
                return Some(packet);
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until fewer than [`MAX_ANSWERS`] answers wait, or the line is lost.
    pub fn wait_for_room(&self) {
        let waiting = self.lock();
        let is_full = |waiting: &mut Waiting| waiting.is_open && waiting.answers.len() >= MAX_ANSWERS;
        drop(self.changed.wait_while(waiting, is_full).unwrap_or_else(PoisonError::into_inner));
    }

    fn push(&self, event: ReliableEvent) {
        let mut waiting = self.lock();
        waiting.reliable.push(event);
        if !waiting.is_open {
            waiting.reliable.skip_unsent();
        }
        self.changed.notify_all();
    }

    fn put(&self, put: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.lock();
        if waiting.is_open {
            put(&mut waiting);
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self, piece: usize) -> Option<Packet> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        if let Some(event) = self.reliable.next_to_send() {
            return Some(Packet::new(event.sequence as u16, Event::Sequenced(event)));
        }
        let (event, bulk) = if let Some((place, bytes)) = self.masks.take(piece) {
            (Event::Masks(place), bytes)
        } else {
            let (place, bytes) = self.preview.take(piece)?;
            (Event::Preview(place), bytes)
        };
        self.pieces = self.pieces.wrapping_add(1);
        Some(Packet { sequence: self.pieces, message: Message::Event(event), bulk })
    }
}

impl Lane {
    /// How many were given up for it.
    fn replace(&mut self, bulk: Bulk) -> u32 {
        u32::from(self.next.replace(bulk).is_some())
    }

    fn take(&mut self, piece: usize) -> Option<(Fragment, Vec<u8>)> {
        let (bulk, sent) = self.begun.take().or_else(|| self.next.take().map(|bulk| (bulk, 0)))?;
        let end = bulk.bytes.len().min(sent + piece);
        let place = Fragment { frame: bulk.frame, offset: sent as u32, total: bulk.bytes.len() as u32 };
        let bytes = bulk.bytes[sent..end].to_vec();
        if end < bulk.bytes.len() {
            self.begun = Some((bulk, end));
        }
        Some((place, bytes))
    }
}

#[cfg(test)]
mod tests {
    use shared::wire::{CameraState, RETRANSMIT_CAPACITY, SequencedEvent};

    use super::*;

    const BOOT_ID: BootId = BootId(3);

    fn outbox(baud: u32) -> Outbox {
        Outbox::new(baud, BOOT_ID)
    }

    fn bulk(frame: u32, length: usize) -> Bulk {
        Bulk { frame, bytes: vec![frame as u8; length] }
    }

    fn describe(packet: &Packet) -> String {
        match &packet.message {
            Message::Response(_) => format!("answer {}", packet.sequence),
            Message::Event(Event::Masks(place)) => format!("masks {} {}", place.frame, place.offset),
            Message::Event(Event::Preview(place)) => format!("preview {} {}", place.frame, place.offset),
            Message::Event(Event::Sequenced(SequencedEvent { sequence, .. })) => format!("event {sequence}"),
            other => format!("{other:?}"),
        }
    }

    fn next(outbox: &Outbox) -> String {
        describe(&outbox.next().unwrap())
    }

    #[test]
    fn answers_before_events_before_masks_before_previews() {
        let outbox = outbox(921_600);
        outbox.open();
        outbox.preview(bulk(1, 10));
        outbox.masks(bulk(1, 10));
        outbox.notice(Notice::Camera(CameraState::Running));
        outbox.answer(7, Response::Echo, vec![1]);
        let order: Vec<_> = (0..4).map(|_| next(&outbox)).collect();
        assert_eq!(order, ["answer 7", "event 0", "masks 1 0", "preview 1 0"]);
    }

    #[test]
    fn a_begun_preview_is_finished_and_of_the_others_the_newest_stays() {
        let outbox = outbox(0);
        outbox.open();
        outbox.preview(bulk(1, 600));
        assert_eq!(next(&outbox), "preview 1 0");
        for frame in 2..5 {
            outbox.preview(bulk(frame, 10));
        }
        outbox.answer(3, Response::Echo, vec![]);
        let order: Vec<_> = (0..4).map(|_| next(&outbox)).collect();
        assert_eq!(order, ["answer 3", "preview 1 256", "preview 1 512", "preview 4 0"]);
        assert_eq!(outbox.unsent(), 2);
    }

    #[test]
    fn without_a_line_nothing_waits_and_a_line_that_takes_nothing_is_bounded() {
        let outbox = outbox(9600);
        outbox.notice(Notice::Camera(CameraState::Absent));
        outbox.masks(bulk(1, 10));
        assert_eq!(outbox.next(), None);
        outbox.open();
        for _ in 0..RETRANSMIT_CAPACITY + 5 {
            outbox.notice(Notice::Camera(CameraState::Absent));
        }
        // Number 0 happened while no line was open, and was for nobody.
        assert_eq!(outbox.unsent(), 5);
        assert_eq!(next(&outbox), "event 6");
        outbox.close();
        assert_eq!(outbox.next(), None);
        outbox.wait_for_room();
    }

    #[test]
    fn what_was_missed_is_told_to_who_asks_and_to_nobody_else() {
        let outbox = outbox(9600);
        let notice = || outbox.notice(Notice::Camera(CameraState::Absent));
        outbox.open();
        (0..3).for_each(|_| notice());
        assert_eq!(next(&outbox), "event 0");
        // Two wait when the line is lost, and three come before it is open again.
        outbox.close();
        (0..3).for_each(|_| notice());
        outbox.open();
        notice();
        assert_eq!(next(&outbox), "event 6");
        notice();
        outbox.greeted();
        outbox.preview(bulk(1, 10));
        let range = outbox.tell_again(&Nack::new(BOOT_ID, 1, 1..6));
        assert_eq!(range, EventRange { boot_id: BOOT_ID, first_available: 0, next_unsent: 8 });
        notice();
        let order: Vec<_> = (0..7).map(|_| next(&outbox)).collect();
        assert_eq!(order, ["event 1", "event 2", "event 3", "event 4", "event 5", "event 8", "preview 1 0"]);
    }

    #[test]
    fn numbers_in_packets_go_round() {
        let outbox = outbox(9600);
        outbox.open();
        for number in 0..=65_537u64 {
            outbox.notice(Notice::Camera(CameraState::Absent));
            let packet = outbox.next().unwrap();
            assert_eq!((packet.sequence, describe(&packet)), (number as u16, format!("event {number}")));
        }
    }

    #[test]
    fn a_full_outbox_holds_back_the_reader_alone() {
        let outbox = outbox(9600);
        outbox.open();
        for sequence in 0..MAX_ANSWERS as u16 {
            outbox.answer(sequence, Response::Echo, vec![]);
        }
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| outbox.wait_for_room());
            assert_eq!(next(&outbox), "answer 0");
            reader.join().unwrap();
        });
    }
}
