//! The received counts: each once, in order, and none missing while the host was connected.

use std::collections::BTreeSet;

use shared::wire::{FrameReport, ModelDigest};

/// Counts of one station.
#[derive(Default)]
pub struct ReceivedCounts {
    seen: BTreeSet<u32>,
    /// The last count.
    last: Option<u32>,
    is_listening: bool,
    /// All after the last count are listened for.
    is_whole: bool,
    /// The model of the last count.
    pub model: Option<ModelDigest>,
}

impl ReceivedCounts {
    /// Listening begins: counts before may have been taken by nobody.
    pub fn listen(&mut self) {
        (self.is_listening, self.is_whole) = (true, false);
    }

    /// Listening is over.
    pub fn leave(&mut self) {
        (self.is_listening, self.is_whole) = (false, false);
    }

    /// A count came.
    pub fn enter(&mut self, report: &FrameReport) {
        let number = report.frame;
        assert!(self.seen.insert(number), "the count of frame {number} came twice");
        if let Some(last) = self.last {
            assert!(number > last, "frame {number} came after {last}");
            assert!(
                !self.is_whole || number == last + 1,
                "frame {number} came after {last}, and none between"
            );
        }
        (self.last, self.is_whole) = (Some(number), self.is_listening);
        self.model = Some(report.model);
    }

    /// Counts that came.
    pub fn counts(&self) -> u32 {
        self.seen.len() as u32
    }
}
