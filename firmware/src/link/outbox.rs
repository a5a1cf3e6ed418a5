//! What waits to be sent, most important first.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use shared::wire::{CHUNK, Event, FrameReport, Message, Notice, Packet, Piece, Response};

/// Answers that may wait before the line is read no further.
const MAX_ANSWERS: usize = 32;
/// Frame results and notices that may wait. Only a line that takes nothing at all for so many frames
/// loses the oldest, and that is counted.
const MAX_EVENTS: usize = 1024;

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
/// Answers go first, then frame results and notices in their order, then masks, then previews. Masks and
/// previews go whole or not at all: one that was begun is finished, and of those that were not the newest
/// stays. While no line is open, nothing is kept.
///
/// Every frame result and notice has its number, whether it is sent or not: the host knows by the gaps what it
/// missed, also while the line was lost.
#[derive(Debug)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    top_speed: u32,
}

#[derive(Debug, Default)]
struct Waiting {
    is_open: bool,
    answers: VecDeque<Packet>,
    events: VecDeque<Event>,
    masks: Lane,
    preview: Lane,
    sequence: u16,
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
    /// second for a piece of something else, or a piece of 256 bytes.
    pub fn new(baud: u32) -> Self {
        Self { waiting: Mutex::default(), changed: Condvar::new(), top_speed: baud }
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
        self.event(Event::Frame(report));
    }

    /// Queues a notice.
    pub fn notice(&self, notice: Notice) {
        self.event(Event::Notice(notice));
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
        self.lock().unsent
    }

    /// The line is open: things are kept from now on.
    pub fn open(&self) {
        self.lock().is_open = true;
    }

    /// The line is lost: what waits is forgotten, and everybody who waits goes on.
    pub fn close(&self) {
        let mut waiting = self.lock();
        let sequence = waiting.sequence.wrapping_add(waiting.events.len() as u16);
        *waiting = Waiting { sequence, unsent: waiting.unsent, ..Waiting::default() };
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

    fn event(&self, event: Event) {
        let mut waiting = self.lock();
        if !waiting.is_open {
            waiting.next_number();
            return;
        }
        if waiting.events.len() >= MAX_EVENTS {
            waiting.events.pop_front();
            waiting.next_number();
            waiting.unsent += 1;
        }
        waiting.events.push_back(event);
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
    const fn next_number(&mut self) -> u16 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn take(&mut self, piece: usize) -> Option<Packet> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        let (event, bulk) = if let Some(event) = self.events.pop_front() {
            (event, Vec::new())
        } else if let Some((place, bytes)) = self.masks.take(piece) {
            (Event::Masks(place), bytes)
        } else {
            let (place, bytes) = self.preview.take(piece)?;
            (Event::Preview(place), bytes)
        };
        Some(Packet { sequence: self.next_number(), message: Message::Event(event), bulk })
    }
}

impl Lane {
    /// How many were given up for it.
    fn replace(&mut self, bulk: Bulk) -> u32 {
        u32::from(self.next.replace(bulk).is_some())
    }

    fn take(&mut self, piece: usize) -> Option<(Piece, Vec<u8>)> {
        let (bulk, sent) = self.begun.take().or_else(|| self.next.take().map(|bulk| (bulk, 0)))?;
        let end = bulk.bytes.len().min(sent + piece);
        let place = Piece { frame: bulk.frame, offset: sent as u32, total: bulk.bytes.len() as u32 };
        let bytes = bulk.bytes[sent..end].to_vec();
        if end < bulk.bytes.len() {
            self.begun = Some((bulk, end));
        }
        Some((place, bytes))
    }
}

#[cfg(test)]
mod tests {
    use shared::wire::CameraState;

    use super::*;

    fn bulk(frame: u32, length: usize) -> Bulk {
        Bulk { frame, bytes: vec![frame as u8; length] }
    }

    fn describe(packet: &Packet) -> String {
        match &packet.message {
            Message::Response(_) => format!("answer {}", packet.sequence),
            Message::Event(Event::Masks(place)) => format!("masks {} {}", place.frame, place.offset),
            Message::Event(Event::Preview(place)) => format!("preview {} {}", place.frame, place.offset),
            Message::Event(Event::Notice(_)) => "notice".to_owned(),
            other => format!("{other:?}"),
        }
    }

    fn next(outbox: &Outbox) -> String {
        describe(&outbox.next().unwrap())
    }

    #[test]
    fn answers_before_events_before_masks_before_previews() {
        let outbox = Outbox::new(921_600);
        outbox.open();
        outbox.preview(bulk(1, 10));
        outbox.masks(bulk(1, 10));
        outbox.notice(Notice::Camera(CameraState::Running));
        outbox.answer(7, Response::Echo, vec![1]);
        let order: Vec<_> = (0..4).map(|_| next(&outbox)).collect();
        assert_eq!(order, ["answer 7", "notice", "masks 1 0", "preview 1 0"]);
    }

    #[test]
    fn a_begun_preview_is_finished_and_of_the_others_the_newest_stays() {
        let outbox = Outbox::new(0);
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
    fn without_a_line_nothing_is_kept_and_a_line_that_takes_nothing_is_bounded() {
        let outbox = Outbox::new(9600);
        outbox.notice(Notice::Camera(CameraState::Absent));
        assert_eq!(outbox.next(), None);
        outbox.open();
        for _ in 0..MAX_EVENTS + 5 {
            outbox.notice(Notice::Camera(CameraState::Absent));
        }
        assert_eq!(outbox.unsent(), 5);
        outbox.close();
        assert_eq!(outbox.next(), None);
        outbox.wait_for_room();
    }

    #[test]
    fn what_is_never_sent_has_its_number() {
        let outbox = Outbox::new(9600);
        let notice = || outbox.notice(Notice::Camera(CameraState::Absent));
        let number = || outbox.next().unwrap().sequence;
        outbox.open();
        notice();
        assert_eq!(number(), 1);
        // Two wait when the line is lost, and three come before it is open again.
        (0..2).for_each(|_| notice());
        outbox.close();
        (0..3).for_each(|_| notice());
        outbox.open();
        notice();
        assert_eq!(number(), 7);
        (0..MAX_EVENTS + 4).for_each(|_| notice());
        assert_eq!(number(), 12);
    }

    #[test]
    fn a_full_outbox_holds_back_the_reader_alone() {
        let outbox = Outbox::new(9600);
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
