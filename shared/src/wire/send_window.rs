//! Which chunk of a model the host sends next.

use alloc::{
    collections::{BTreeSet, VecDeque},
    vec::Vec,
};
use core::ops::Range;

use super::baud_rates::BITS_PER_BYTE;
use super::packet::{CHUNK, MAX_PACKET};

/// How eagerly chunks are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowConfig {
    /// Most chunks in flight; at least 1 is used.
    pub window: u16,
    /// A chunk that is not acknowledged within this time is sent again.
    pub timeout_ms: u32,
}

impl WindowConfig {
    /// Eight chunks in flight, and twice the time that these take at `baud` bits per second plus `response_ms` for the
    /// station to respond.
    pub fn for_baud(baud: u32, response_ms: u32) -> Self {
        const WINDOW: u16 = 8;
        let window_bits = u64::from(WINDOW) * MAX_PACKET as u64 * u64::from(BITS_PER_BYTE);
        let window_ms = window_bits * 1000 / u64::from(baud.max(1));
        let timeout_ms = u32::try_from(2 * window_ms).unwrap_or(u32::MAX).saturating_add(response_ms);
        Self { window: WINDOW, timeout_ms }
    }
}

/// The sender's side of an upload: a window of chunks in flight with selective acknowledgement.
///
/// The line keeps order: when the station acknowledges a chunk, those sent before it and still in flight are lost, and
/// are sent again at once. The timeout covers the rest. What the station reports is authoritative: the upload is done
/// when the station holds all bytes without a gap, and goes back when it holds fewer than before, as after a restart.
///
/// Times are milliseconds of any steady clock.
#[derive(Debug, Clone)]
pub struct SendWindow {
    config: WindowConfig,
    length: u32,
    /// Bytes that the station holds without a gap.
    acked_prefix: u32,
    /// Chunks that it holds beyond these.
    acked_ahead: BTreeSet<u32>,
    /// The first chunk not yet sent.
    next: u32,
    /// Chunks that are not acknowledged, in the order in which they were sent.
    in_flight: VecDeque<SentChunk>,
    /// Lost chunks, lowest last.
    to_resend: Vec<u32>,
    resent: u32,
}

#[derive(Debug, Clone, Copy)]
struct SentChunk {
    offset: u32,
    due_ms: u64,
}

impl SendWindow {
    /// An upload of `length` bytes to a station that holds the first `acked_prefix`.
    pub fn new(length: u32, acked_prefix: u32, config: WindowConfig) -> Self {
        let mut window = Self {
            config,
            length,
            acked_prefix: 0,
            acked_ahead: BTreeSet::new(),
            next: 0,
            in_flight: VecDeque::new(),
            to_resend: Vec::new(),
            resent: 0,
        };
        window.on_acked_prefix(acked_prefix);
        window
    }

    /// The offset of the chunk to send now; the caller sends it. `None` when the caller must wait for an
    /// acknowledgement or for [`next_timeout_ms`](Self::next_timeout_ms), and when all is done.
    pub fn next_to_send(&mut self, now_ms: u64) -> Option<u32> {
        while let Some(sent) = self.in_flight.front().filter(|sent| sent.due_ms <= now_ms) {
            self.to_resend.push(sent.offset);
            self.in_flight.pop_front();
            self.sort_to_resend();
        }
        if self.in_flight.len() >= usize::from(self.config.window.max(1)) {
            return None;
        }
        let offset = match self.to_resend.pop() {
            Some(offset) => {
                self.resent = self.resent.saturating_add(1);
                offset
            }
            None => self.take_new()?,
        };
        let due_ms = now_ms.saturating_add(u64::from(self.config.timeout_ms));
        self.in_flight.push_back(SentChunk { offset, due_ms });
        Some(offset)
    }

    /// The bytes of the chunk at `offset`.
    pub fn range(&self, offset: u32) -> Range<usize> {
        offset as usize..offset.saturating_add(CHUNK).min(self.length) as usize
    }

    /// The station acknowledged the chunk at `offset`, and holds `acked_prefix` bytes without a gap.
    pub fn on_ack(&mut self, offset: u32, acked_prefix: u32) {
        if let Some(at) = self.in_flight.iter().position(|sent| sent.offset == offset) {
            self.to_resend.extend(self.in_flight.drain(..=at).map(|sent| sent.offset));
        }
        self.acked_ahead.insert(offset);
        self.on_acked_prefix(acked_prefix);
    }

    /// The station holds `acked_prefix` bytes without a gap.
    pub fn on_acked_prefix(&mut self, acked_prefix: u32) {
        let acked_prefix =
            if acked_prefix < self.length { acked_prefix - acked_prefix % CHUNK } else { self.length };
        if acked_prefix < self.acked_prefix {
            self.go_back(acked_prefix);
        }
        self.acked_prefix = acked_prefix;
        self.next = self.next.max(acked_prefix);
        self.acked_ahead = self.acked_ahead.split_off(&acked_prefix);
        let acked_ahead = &self.acked_ahead;
        let is_missing = |offset: u32| offset >= acked_prefix && !acked_ahead.contains(&offset);
        self.in_flight.retain(|sent| is_missing(sent.offset));
        self.to_resend.retain(|&offset| is_missing(offset));
        self.sort_to_resend();
    }

    /// When a chunk in flight is due to be sent again; `None` when none is in flight.
    pub fn next_timeout_ms(&self) -> Option<u64> {
        self.in_flight.front().map(|sent| sent.due_ms)
    }

    /// Bytes that the station holds, for a progress bar.
    pub fn acked_bytes(&self) -> u32 {
        let ahead: u32 = self.acked_ahead.iter().map(|&offset| self.range(offset).len() as u32).sum();
        self.acked_prefix + ahead
    }

    /// Chunks that were sent again.
    pub const fn resent(&self) -> u32 {
        self.resent
    }

    /// Whether the station holds everything.
    pub const fn is_done(&self) -> bool {
        self.acked_prefix == self.length
    }

    fn take_new(&mut self) -> Option<u32> {
        // Everything was acknowledged, and yet the station misses something: it lost it, as a restart may.
        if self.next >= self.length && self.in_flight.is_empty() && !self.is_done() {
            self.go_back(self.acked_prefix);
        }
        while self.acked_ahead.contains(&self.next) {
            self.next = self.next.saturating_add(CHUNK);
        }
        let offset = self.next;
        (offset < self.length).then(|| {
            self.next = offset.saturating_add(CHUNK);
            offset
        })
    }

    fn sort_to_resend(&mut self) {
        self.to_resend.sort_unstable_by(|a, b| b.cmp(a));
    }

    /// Starts over at what the station holds.
    fn go_back(&mut self, acked_prefix: u32) {
        self.acked_ahead.clear();
        self.in_flight.clear();
        self.to_resend.clear();
        self.next = acked_prefix;
    }
}

#[cfg(test)]
mod tests;
