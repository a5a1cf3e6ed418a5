//! The numbers of requests and events: what is new, what is lacking, and what comes for a second time.

use std::time::{SystemTime, UNIX_EPOCH};

use shared::wire::ReorderBuffer;

/// So far behind the last piece of masks or previews, one is late or came before; further, the station began to count
/// anew.
const LATE: u16 = 64;

/// The numbers that a conversation has come to. They outlast the line: an answer or an event of the line before is not
/// taken for a new one, and results that were told meanwhile are asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbering {
    request: u16,
    piece: Option<u16>,
    /// Results and notices.
    pub(super) receiver: ReorderBuffer,
}

impl Default for Numbering {
    /// The numbers of a new conversation: an answer to whoever used the line before must not fit a request of ours.
    fn default() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { request: (now.as_millis() % 65_536) as u16, piece: None, receiver: ReorderBuffer::default() }
    }
}

impl Numbering {
    /// The number of the next request.
    pub(super) const fn next_request(&mut self) -> u16 {
        self.request = self.request.wrapping_add(1);
        self.request
    }

    /// Notes that a piece of masks or a preview came; whether it came before, or behind later ones.
    pub(super) fn is_late(&mut self, piece: u16) -> bool {
        let is_late = self.piece.is_some_and(|last| last.wrapping_sub(piece) < LATE);
        if !is_late {
            self.piece = Some(piece);
        }
        is_late
    }
}
