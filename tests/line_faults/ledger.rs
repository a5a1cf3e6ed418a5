//! What counts came, and which are known to be missing.

use std::collections::BTreeSet;

use shared::wire::{FrameReport, ModelDigest};

/// Counts of one station.
#[derive(Default)]
pub struct Ledger {
    seen: BTreeSet<u32>,
    /// The last count, where all after it were listened for.
    last: Option<u32>,
    /// Counts that did not come since listening began.
    missing: u32,
    /// The model of the last count.
    pub model: Option<ModelDigest>,
}

impl Ledger {
    /// Listening begins.
    pub fn listen(&mut self) {
        self.last = None;
        self.missing = 0;
    }

    /// A count came.
    pub fn enter(&mut self, report: &FrameReport) {
        let number = report.frame;
        assert!(self.seen.insert(number), "the count of frame {number} came twice");
        if let Some(last) = self.last {
            assert!(number > last, "frame {number} came after {last}");
            self.missing += number - last - 1;
        }
        self.last = Some(number);
        self.model = Some(report.model);
    }

    /// Whatever did not come since listening began is among the events that the host knows to be lost.
    pub fn check(&self, known: u32) {
        assert!(self.missing <= known, "{} counts are missing, and {known} are known to be", self.missing);
    }

    /// Counts that came.
    pub fn counts(&self) -> u32 {
        self.seen.len() as u32
    }
}
