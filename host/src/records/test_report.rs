//! A frame's result for tests, which modify the fields under test.

use shared::DutyCycle;
use shared::wire::{FrameReport, ModelDigest, Name, QcFlags, StageTimes};

/// A trusted frame without nuclei, one pixel large.
pub fn test_report() -> FrameReport {
    FrameReport {
        frame: 1,
        time_unix_ms: 0,
        source: Name::new(),
        model: ModelDigest([0; 32]),
        width: 1,
        height: 1,
        count: 0,
        true_count: None,
        median_diameter_px: 0.0,
        confluence: 0.0,
        scale: 1.0,
        exposure: None,
        illumination: DutyCycle::FULL,
        focus: 0.5,
        saturated: 0.0,
        qc_flags: QcFlags::NONE,
        times: StageTimes::default(),
        skipped: 0,
    }
}
