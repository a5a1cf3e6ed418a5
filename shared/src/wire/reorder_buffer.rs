//! The receiver's side of reliable events: delivered in order and once each, and requested again where they are
//! missing.

use alloc::collections::BTreeMap;

use super::message::{BootId, EventRange, Nack, RETRANSMIT_CAPACITY, ReliableEvent, SequencedEvent};

/// How often a host asks how far the station is: when the last event is lost, no gap shows it.
const RANGE_INTERVAL_MS: u64 = 2000;

/// What happened to reliable events since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiveStats {
    /// Events that will never arrive: the station had evicted them when they were requested.
    pub lost: u32,
    /// Events that arrived again, or belong to another boot. They are ignored.
    pub duplicates: u32,
    /// Events that arrived behind later ones: they had been lost, and were resent.
    pub recovered: u32,
}

/// Delivers reliable events in the order of their numbers, each once, and requests those that are missing.
///
/// This is selective-repeat ARQ (RFC 3366), driven by the receiver (as in RFC 5740). It requests a gap at once, again
/// when a newer event shows that the station has sent everything requested, and again when no response arrives in time.
/// Events ahead of a gap are held until the gap is filled, or until the station can no longer resend what is missing.
/// Delivery begins with the first event that arrives and continues over connections that are lost and opened again.
/// After a restart of the station it continues with the first event since that restart.
///
/// Times are milliseconds of any steady clock.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReorderBuffer {
    boot_id: Option<BootId>,
    /// The next event to deliver. Every earlier one was delivered or skipped.
    next: u64,
    /// The station has sent every event before this one.
    next_unsent: u64,
    /// Events that arrived ahead of a gap.
    out_of_order: BTreeMap<u64, ReliableEvent>,
    pending_nack: Option<PendingNack>,
    /// When the last NACK was sent.
    last_nack_ms: Option<u64>,
    /// An event may be missing that no gap shows.
    may_have_missed: bool,
    stats: ReceiveStats,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct PendingNack {
    sent_ms: u64,
    /// How far the station was, once it responded.
    next_unsent: Option<u64>,
}

impl ReorderBuffer {
    /// Receives an event, and delivers whatever is in order now.
    pub fn on_event(&mut self, event: SequencedEvent, deliver: impl FnMut(ReliableEvent)) {
        let SequencedEvent { boot_id, sequence, event } = event;
        match self.boot_id {
            None => self.begin(boot_id, sequence, sequence),
            // From before the line was lost or the station restarted: the response to a NACK decides which.
            Some(known) if known != boot_id => {
                self.may_have_missed = true;
                self.stats.duplicates += 1;
                return;
            }
            Some(_) => {}
        }
        if sequence < self.next || self.out_of_order.contains_key(&sequence) {
            self.stats.duplicates += 1;
            return;
        }
        self.stats.recovered += u32::from(sequence < self.next_unsent);
        self.out_of_order.insert(sequence, event);
        self.advance_next_unsent(sequence.saturating_add(1), deliver);
    }

    /// Receives the response to [`poll_nack`](Self::poll_nack), and delivers whatever is in order now. The caller keeps
    /// away responses to earlier NACKs.
    pub fn on_range(&mut self, range: EventRange, mut deliver: impl FnMut(ReliableEvent)) {
        let EventRange { boot_id, first_available, next_unsent } = range;
        let Some(known) = self.boot_id else { return };
        if known != boot_id {
            self.skip_to(u64::MAX, deliver);
            self.begin(boot_id, first_available, next_unsent.max(first_available));
            return;
        }
        if next_unsent > self.next_unsent {
            // The last events sent did not arrive, and the NACK did not request them either.
            self.pending_nack = None;
            self.advance_next_unsent(next_unsent, &mut deliver);
        } else if let Some(pending) = &mut self.pending_nack {
            pending.next_unsent = Some(next_unsent);
        }
        self.skip_to(first_available, deliver);
    }

    /// A packet arrived damaged: an event may be missing without a gap.
    pub const fn on_damaged_packet(&mut self) {
        self.may_have_missed = true;
    }

    /// The connection is new, or runs at another speed: nothing will answer an earlier NACK. The clock may have been
    /// reset, too.
    pub const fn on_reconnect(&mut self) {
        self.may_have_missed = true;
        (self.pending_nack, self.last_nack_ms) = (None, None);
    }

    /// The NACK to send now, if any. The station's response takes no longer than `timeout_ms`.
    pub fn poll_nack(&mut self, now_ms: u64, timeout_ms: u64) -> Option<Nack> {
        let boot_id = self.boot_id?;
        let last = *self.last_nack_ms.get_or_insert(now_ms);
        let has_gap = self.next < self.next_unsent;
        let timed_out =
            self.pending_nack.is_none_or(|pending| now_ms.saturating_sub(pending.sent_ms) >= timeout_ms);
        // A newer event arrived after the response, so that every resent event is in or lost again.
        let was_served =
            self.pending_nack.and_then(|pending| pending.next_unsent).is_some_and(|at| self.next_unsent > at);
        let interval_over = now_ms.saturating_sub(last) >= RANGE_INTERVAL_MS;
        let is_due = timed_out && (has_gap || self.may_have_missed || interval_over) || was_served && has_gap;
        if !is_due {
            return None;
        }
        self.pending_nack = Some(PendingNack { sent_ms: now_ms, next_unsent: None });
        self.last_nack_ms = Some(now_ms);
        self.may_have_missed = false;
        let is_missing = |sequence: &u64| !self.out_of_order.contains_key(sequence);
        Some(Nack::new(boot_id, self.next, (self.next..self.next_unsent).filter(is_missing)))
    }

    /// What happened since this was called last.
    pub fn take_stats(&mut self) -> ReceiveStats {
        core::mem::take(&mut self.stats)
    }

    fn begin(&mut self, boot_id: BootId, next: u64, next_unsent: u64) {
        (self.boot_id, self.next, self.next_unsent) = (Some(boot_id), next, next_unsent);
        self.out_of_order.clear();
        self.on_reconnect();
        self.may_have_missed = false;
    }

    fn advance_next_unsent(&mut self, next_unsent: u64, mut deliver: impl FnMut(ReliableEvent)) {
        self.next_unsent = self.next_unsent.max(next_unsent);
        // No station buffers more.
        self.skip_to(self.next_unsent.saturating_sub(RETRANSMIT_CAPACITY as u64), &mut deliver);
        self.release_in_order(deliver);
    }

    /// Stops waiting for events before `limit`; delivers those of them that arrived.
    fn skip_to(&mut self, limit: u64, mut deliver: impl FnMut(ReliableEvent)) {
        while self.next < limit {
            let arrived =
                self.out_of_order.first_key_value().map(|(&sequence, _)| sequence).filter(|&at| at < limit);
            // With nothing held back, what the station sent is lost, and no more than that.
            let until = arrived.unwrap_or(limit.min(self.next_unsent).max(self.next));
            let lost = u32::try_from(until - self.next).unwrap_or(u32::MAX);
            self.stats.lost = self.stats.lost.saturating_add(lost);
            self.next = if arrived.is_some() { until } else { limit };
            self.release_in_order(&mut deliver);
        }
    }

    fn release_in_order(&mut self, mut deliver: impl FnMut(ReliableEvent)) {
        while let Some(event) = self.out_of_order.remove(&self.next) {
            deliver(event);
            self.next = self.next.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests;
