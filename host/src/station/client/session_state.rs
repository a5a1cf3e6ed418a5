//! What of a conversation outlives the connection: sequence numbers, and the buffer of reliable events.

use std::time::{SystemTime, UNIX_EPOCH};

use shared::wire::ReorderBuffer;

/// A fragment this far or less behind the last one is late or a duplicate. Further behind, the station began to count again
/// from zero.
const DUPLICATE_SPAN: u16 = 64;

/// The session with a station. It outlives the connection: a response or an event of an earlier connection is not mistaken
/// for a new one, and results that the station produced meanwhile are requested.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionState {
    request: u16,
    fragment: Option<u16>,
    pub(super) reorder_buffer: ReorderBuffer,
}

impl Default for SessionState {
    /// A new session. Its requests begin at a number that depends on the time: a response to whoever used the line before
    /// must not match one of ours.
    fn default() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            request: (now.as_millis() % 65_536) as u16,
            fragment: None,
            reorder_buffer: ReorderBuffer::default(),
        }
    }
}

impl SessionState {
    /// The number of the next request.
    pub(super) const fn next_request(&mut self) -> u16 {
        self.request = self.request.wrapping_add(1);
        self.request
    }

    /// Records a fragment of masks or a preview; whether it arrived before, or behind later ones.
    pub(super) fn is_duplicate(&mut self, fragment: u16) -> bool {
        let is_duplicate = self.fragment.is_some_and(|last| last.wrapping_sub(fragment) < DUPLICATE_SPAN);
        if !is_duplicate {
            self.fragment = Some(fragment);
        }
        is_duplicate
    }
}
