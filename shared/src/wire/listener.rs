//! The host's side of results and notices: in order and once each, and asked for where they are lacking.

use alloc::collections::{BTreeMap, VecDeque};

use super::message::{Kept, KeptSpan, Lacking, MAX_KEPT, News, Run};

/// So often a host asks how far the station is: the last thing told shows no gap when it is lost.
const LOOK_EVERY_MS: u64 = 2000;

/// What a listener noticed since it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Noticed {
    /// Results and notices that will not come: the station let them go before it was heard.
    pub lost: u32,
    /// Those that came again, or were of another run; they are passed over.
    pub stale: u32,
    /// Those that came behind later ones: they had been lost, and were told again.
    pub regained: u32,
}

/// Hands results and notices over in the order of their numbers, each once, and says which are lacking.
///
/// This is selective-repeat ARQ (RFC 3366) that the receiver drives (as in RFC 5740): a gap in the numbers is asked for
/// at once, again when something newer shows that the station has told all it was asked for, and
/// again when no answer comes in time. What came ahead of a gap is held until the gap is filled, or until the station
/// no longer keeps what is lacking. It begins at the first one that it hears, and goes on over lines that are lost
/// and opened again; at a station that was started anew, with the first one of that run.
///
/// Times are milliseconds of any steady clock.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Listener {
    run: Option<Run>,
    /// The next to hand over; all before were, or are given up.
    next: u64,
    /// The station told all before this.
    told: u64,
    /// Those that came ahead of a gap.
    held: BTreeMap<u64, News>,
    ready: VecDeque<News>,
    asked: Option<Asked>,
    /// When it was last looked whether anything is lacking.
    looked_ms: Option<u64>,
    /// Something may be lacking that no gap shows.
    doubts: bool,
    noticed: Noticed,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Asked {
    at_ms: u64,
    /// How far the station was, once it answered.
    told: Option<u64>,
}

impl Listener {
    /// Takes in what was told.
    pub fn hear(&mut self, kept: Kept) {
        let Kept { run, number, news } = kept;
        match self.run {
            None => self.begin(run, number, number),
            // Of a line before, or of a station that was started anew: its answer will tell.
            Some(known) if known != run => {
                self.doubts = true;
                self.noticed.stale += 1;
                return;
            }
            Some(_) => {}
        }
        if number < self.next || self.held.contains_key(&number) {
            self.noticed.stale += 1;
            return;
        }
        self.noticed.regained += u32::from(number < self.told);
        self.held.insert(number, news);
        self.station_told(number.saturating_add(1));
    }

    /// Takes in the answer to [`next_to_ask`](Self::next_to_ask). Answers to other questions must be kept away.
    pub fn hear_span(&mut self, span: KeptSpan) {
        let KeptSpan { run, oldest, told } = span;
        let Some(known) = self.run else { return };
        if known != run {
            self.give_up_before(u64::MAX);
            self.begin(run, oldest, told.max(oldest));
            return;
        }
        if told > self.told {
            // What was told last was not heard, and not asked for either.
            self.asked = None;
            self.station_told(told);
        } else if let Some(asked) = &mut self.asked {
            asked.told = Some(told);
        }
        self.give_up_before(oldest);
    }

    /// Something may have been missed without a gap: a packet came damaged.
    pub const fn doubt(&mut self) {
        self.doubts = true;
    }

    /// The line is another one, or of another speed: what was asked before is not answered any more. The clock may be
    /// another one, too.
    pub const fn resume(&mut self) {
        self.doubts = true;
        (self.asked, self.looked_ms) = (None, None);
    }

    /// What to ask the station now, if anything. An answer takes no longer than `patience_ms`.
    pub fn next_to_ask(&mut self, now_ms: u64, patience_ms: u64) -> Option<Lacking> {
        let run = self.run?;
        let looked = *self.looked_ms.get_or_insert(now_ms);
        let is_lacking = self.next < self.told;
        let waited = self.asked.is_none_or(|asked| now_ms.saturating_sub(asked.at_ms) >= patience_ms);
        let is_served = self.asked.and_then(|asked| asked.told).is_some_and(|told| self.told > told);
        let is_long_ago = now_ms.saturating_sub(looked) >= LOOK_EVERY_MS;
        let is_due = waited && (is_lacking || self.doubts || is_long_ago) || is_served && is_lacking;
        if !is_due {
            return None;
        }
        self.asked = Some(Asked { at_ms: now_ms, told: None });
        self.looked_ms = Some(now_ms);
        self.doubts = false;
        let is_missing = |number: &u64| !self.held.contains_key(number);
        Some(Lacking::new(run, self.next, (self.next..self.told).filter(is_missing)))
    }

    /// The next one in order, where it is there.
    pub fn take(&mut self) -> Option<News> {
        self.ready.pop_front()
    }

    /// What was noticed since this was called last.
    pub fn take_noticed(&mut self) -> Noticed {
        core::mem::take(&mut self.noticed)
    }

    fn begin(&mut self, run: Run, next: u64, told: u64) {
        (self.run, self.next, self.told) = (Some(run), next, told);
        self.held.clear();
        self.resume();
        self.doubts = false;
    }

    fn station_told(&mut self, told: u64) {
        self.told = self.told.max(told);
        // No station keeps more.
        self.give_up_before(self.told.saturating_sub(MAX_KEPT as u64));
        self.hand_over();
    }

    /// Those before `limit` that did not come will not; those that did are handed over.
    fn give_up_before(&mut self, limit: u64) {
        while self.next < limit {
            let came =
                self.held.first_key_value().map(|(&number, _)| number).filter(|&number| number < limit);
            // Where nothing more was held, all that the station told is given up, and no more than that.
            let until = came.unwrap_or(limit.min(self.told).max(self.next));
            let lost = u32::try_from(until - self.next).unwrap_or(u32::MAX);
            self.noticed.lost = self.noticed.lost.saturating_add(lost);
            self.next = if came.is_some() { until } else { limit };
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        while let Some(news) = self.held.remove(&self.next) {
            self.ready.push_back(news);
            self.next = self.next.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests;
