//! Which chunk of a model the host sends next.

use alloc::{
    collections::{BTreeSet, VecDeque},
    vec::Vec,
};
use core::ops::Range;

use super::packet::{CHUNK, MAX_PACKET};

/// How eagerly chunks are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadOptions {
    /// Most chunks sent and unanswered; at least 1 is used.
    pub window: u16,
    /// After so long without its answer a chunk is sent again.
    pub timeout_ms: u32,
}

impl UploadOptions {
    /// Eight chunks on their way, and twice the time that these take at `baud` bits a second plus
    /// `answer_ms` for the station to answer.
    pub fn for_baud(baud: u32, answer_ms: u32) -> Self {
        const WINDOW: u16 = 8;
        // A byte is ten bits on the line: start, eight, stop.
        let window_bits = u64::from(WINDOW) * MAX_PACKET as u64 * 10;
        let window_ms = window_bits * 1000 / u64::from(baud.max(1));
        let timeout_ms = u32::try_from(2 * window_ms).unwrap_or(u32::MAX).saturating_add(answer_ms);
        Self { window: WINDOW, timeout_ms }
    }
}

/// The sender's side of an upload: a window of unanswered chunks with selective retransmission.
///
/// The line keeps order: the answer to a chunk means that those sent before it and still unanswered
/// are lost, and they go again at once. The timeout is for the rest. The station's word counts: the
/// upload is done when the station holds all bytes without a gap, and goes back when it holds fewer
/// than before, as after its restart.
///
/// Times are milliseconds of any steady clock.
#[derive(Debug, Clone)]
pub struct Upload {
    options: UploadOptions,
    length: u32,
    /// Bytes that the station holds without a gap.
    received: u32,
    /// Chunks that it holds beyond these.
    held: BTreeSet<u32>,
    /// The first chunk not yet sent.
    next: u32,
    /// Unanswered chunks, in the order in which they went.
    unanswered: VecDeque<Sent>,
    /// Chunks found lost, lowest last.
    lost: Vec<u32>,
    resent: u32,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    offset: u32,
    due_ms: u64,
}

impl Upload {
    /// An upload of `length` bytes to a station that holds the first `received`.
    pub fn new(length: u32, received: u32, options: UploadOptions) -> Self {
        let mut upload = Self {
            options,
            length,
            received: 0,
            held: BTreeSet::new(),
            next: 0,
            unanswered: VecDeque::new(),
            lost: Vec::new(),
            resent: 0,
        };
        upload.on_received(received);
        upload
    }

    /// The offset of the chunk to send now; the caller sends it. `None` when an answer or
    /// [`wake_ms`](Self::wake_ms) must be awaited, and when all is done.
    pub fn next_to_send(&mut self, now_ms: u64) -> Option<u32> {
        while let Some(sent) = self.unanswered.front().filter(|sent| sent.due_ms <= now_ms) {
            self.lost.push(sent.offset);
            self.unanswered.pop_front();
            self.sort_lost();
        }
        if self.unanswered.len() >= usize::from(self.options.window.max(1)) {
            return None;
        }
        let offset = match self.lost.pop() {
            Some(offset) => {
                self.resent = self.resent.saturating_add(1);
                offset
            }
            None => self.take_new()?,
        };
        let due_ms = now_ms.saturating_add(u64::from(self.options.timeout_ms));
        self.unanswered.push_back(Sent { offset, due_ms });
        Some(offset)
    }

    /// The bytes of the chunk at `offset`.
    pub fn range(&self, offset: u32) -> Range<usize> {
        offset as usize..offset.saturating_add(CHUNK).min(self.length) as usize
    }

    /// The station answered the chunk at `offset`, and holds `received` bytes without a gap.
    pub fn on_ack(&mut self, offset: u32, received: u32) {
        if let Some(at) = self.unanswered.iter().position(|sent| sent.offset == offset) {
            self.lost.extend(self.unanswered.drain(..=at).map(|sent| sent.offset));
        }
        self.held.insert(offset);
        self.on_received(received);
    }

    /// The station holds `received` bytes without a gap.
    pub fn on_received(&mut self, received: u32) {
        let received = if received < self.length { received - received % CHUNK } else { self.length };
        if received < self.received {
            self.go_back(received);
        }
        self.received = received;
        self.next = self.next.max(received);
        self.held = self.held.split_off(&received);
        let held = &self.held;
        let is_missing = |offset: u32| offset >= received && !held.contains(&offset);
        self.unanswered.retain(|sent| is_missing(sent.offset));
        self.lost.retain(|&offset| is_missing(offset));
        self.sort_lost();
    }

    /// When an unanswered chunk becomes due again; `None` when none is unanswered.
    pub fn wake_ms(&self) -> Option<u64> {
        self.unanswered.front().map(|sent| sent.due_ms)
    }

    /// Bytes that the station holds, for a progress bar.
    pub fn stored(&self) -> u32 {
        let beyond: u32 = self.held.iter().map(|&offset| self.range(offset).len() as u32).sum();
        self.received + beyond
    }

    /// Chunks that were sent again.
    pub const fn resent(&self) -> u32 {
        self.resent
    }

    /// Whether the station holds everything.
    pub const fn is_done(&self) -> bool {
        self.received == self.length
    }

    fn take_new(&mut self) -> Option<u32> {
        // All was answered, and yet the station lacks something: it forgot, as a restart makes it.
        if self.next >= self.length && self.unanswered.is_empty() && !self.is_done() {
            self.go_back(self.received);
        }
        while self.held.contains(&self.next) {
            self.next = self.next.saturating_add(CHUNK);
        }
        let offset = self.next;
        (offset < self.length).then(|| {
            self.next = offset.saturating_add(CHUNK);
            offset
        })
    }

    fn sort_lost(&mut self) {
        self.lost.sort_unstable_by(|a, b| b.cmp(a));
    }

    /// Starts over at what the station holds.
    fn go_back(&mut self, received: u32) {
        self.held.clear();
        self.unanswered.clear();
        self.lost.clear();
        self.next = received;
    }
}

#[cfg(test)]
mod tests;
