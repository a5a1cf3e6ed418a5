//! The numbers of requests and events: what is new, what is lost, and what comes for a second time.

use std::time::{SystemTime, UNIX_EPOCH};

use shared::wire::Event;

/// So far behind the last event, one is late or came before; further, the station began to count anew.
const LATE: u16 = 64;

/// The numbers that a conversation has come to. They outlast the line, so that an answer or an event of the line
/// before is not taken for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbering {
    request: u16,
    event: Option<u16>,
    /// Number and time, ms since 1970, of the last frame told.
    frame: Option<(u32, u64)>,
}

/// Where an event stands among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Ahead of all others.
    New {
        /// Those between it and the last, which did not come.
        lost: u16,
    },
    /// It came before, or was counted as lost.
    Stale,
}

impl Default for Numbering {
    /// The numbers of a new conversation: an answer to whoever used the line before must not fit a request of ours.
    fn default() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { request: (now.as_millis() % 65_536) as u16, event: None, frame: None }
    }
}

impl Numbering {
    /// The number of the next request.
    pub(super) const fn next_request(&mut self) -> u16 {
        self.request = self.request.wrapping_add(1);
        self.request
    }

    /// Notes that an event came.
    pub(super) fn place(&mut self, number: u16, event: &Event) -> Place {
        if self.is_stale(number, event) {
            return Place::Stale;
        }
        let gap = self.event.map_or(0, |last| number.wrapping_sub(last).wrapping_sub(1));
        self.event = Some(number);
        if let Event::Frame(report) = event {
            self.frame = Some((report.frame, report.time_unix_ms));
        }
        // A long way forward is a step back: the station began to count anew.
        Place::New { lost: if gap < 1 << 15 { gap } else { 0 } }
    }

    /// A station that was started anew has the same numbers again, and a later time.
    fn is_stale(&self, number: u16, event: &Event) -> bool {
        let Some(last) = self.event else { return false };
        last.wrapping_sub(number) < LATE
            && match (event, self.frame) {
                (Event::Frame(report), Some((frame, time))) => {
                    report.frame <= frame && report.time_unix_ms <= time
                }
                (Event::Frame(_), None) => false,
                _ => true,
            }
    }
}
