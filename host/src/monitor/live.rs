//! What a person watching a station sees of its counts: a line a frame, a trend, a summary.

mod buttons;
mod show;
mod trend;
mod viewer;
mod waiting;

use std::time::Instant;

use shared::PixelSize;
use shared::wire::FrameReport;

use crate::records::frame_record::StageMs;
use trend::{Direction, Trend};

pub use show::Show;
pub use viewer::Viewer;
pub use waiting::{Awaited, End, Ended, wait_for};

/// What came of the frames so far.
#[derive(Debug, Clone)]
pub struct Watch {
    pixel_size: Option<PixelSize>,
    trend: Trend,
    first: Option<Instant>,
    last: Option<Instant>,
    totals: Totals,
}

/// Sums over frames.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    frames: u32,
    doubted: u32,
    skipped: u32,
    stages: StageMs,
    compared: u32,
    count: f64,
    true_count: f64,
    /// Sum over frames of the deviation as a share of the true count.
    deviation: f64,
}

/// The frames in a few numbers.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Frames that came.
    pub frames: u32,
    /// Frames a second.
    pub frames_per_second: f64,
    /// Frames whose count cannot be trusted.
    pub doubted: u32,
    /// Camera frames passed over at the station.
    pub skipped: u32,
    /// Mean time of each stage, ms.
    pub stages_ms: StageMs,
    /// Counts against the truth of a simulated scene.
    pub truth: Option<AgainstTruth>,
}

/// Counts against the truth.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct AgainstTruth {
    /// Frames whose truth is known.
    pub frames: u32,
    /// Mean count.
    pub mean_count: f64,
    /// Mean true count.
    pub mean_true_count: f64,
    /// Deviation of the mean count from the mean true count, per cent of it.
    pub mean_deviation_percent: f64,
    /// Mean over frames of the deviation of a count, whatever its sign, per cent of the truth.
    pub frame_deviation_percent: f64,
}

impl Watch {
    /// Nothing seen yet; `pixel_size` is the camera's, where it is known.
    pub fn new(pixel_size: Option<PixelSize>) -> Self {
        Self { pixel_size, trend: Trend::default(), first: None, last: None, totals: Totals::default() }
    }

    /// From now on diameters are in µm as well, or no more.
    pub const fn set_pixel_size(&mut self, pixel_size: Option<PixelSize>) {
        self.pixel_size = pixel_size;
    }

    /// Frames seen.
    pub const fn frames(&self) -> u32 {
        self.totals.frames
    }

    /// Which way the counts go.
    pub fn direction(&self) -> Direction {
        self.trend.direction()
    }

    /// Frames a second, from the first to the last.
    pub fn frames_per_second(&self) -> f64 {
        match (self.first, self.last) {
            (Some(first), Some(last)) if last > first => {
                f64::from(self.totals.frames - 1) / (last - first).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    /// Takes a frame in and gives its line. `unsent` are masks and previews that the line had no room for.
    pub fn see(&mut self, report: &FrameReport, unsent: u32) -> String {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.add(report);
        let trusted = report.qc_flags.is_empty();
        if trusted {
            self.trend.push(report.count);
        }
        self.line(report, unsent)
    }

    fn add(&mut self, report: &FrameReport) {
        let totals = &mut self.totals;
        totals.frames += 1;
        totals.doubted += u32::from(!report.qc_flags.is_empty());
        totals.skipped = totals.skipped.saturating_add(report.skipped);
        totals.stages = totals.stages.plus(StageMs::from(report.times));
        if let Some(true_count) = report.true_count {
            let (count, truth) = (f64::from(report.count), f64::from(true_count));
            totals.compared += 1;
            totals.count += count;
            totals.true_count += truth;
            totals.deviation += (count - truth).abs() / truth.max(1.0);
        }
    }

    fn line(&self, report: &FrameReport, unsent: u32) -> String {
        let mut parts = vec![clock(report.time_unix_ms), format!("{:>5} nuclei", report.count)];
        if let Some(true_count) = report.true_count {
            parts.push(format!("(true {true_count})"));
        }
        parts.push(format!("{:<7}", self.direction().word()));
        let px = report.median_diameter_px;
        parts.push(match (px > 0.0, self.pixel_size) {
            (false, _) => "no diameter".to_owned(),
            (true, Some(size)) => format!("{:.1} µm", px * size.get()),
            (true, None) => format!("{px:.1} px"),
        });
        parts.push(format!("focus {:.2}", report.focus));
        parts.push(format!("{:.1} fps", self.frames_per_second()));
        parts.push(format!("dropped {}", self.totals.skipped.saturating_add(unsent)));
        if !report.source.is_empty() {
            parts.push(report.source.to_string());
        }
        if !report.qc_flags.is_empty() {
            let reasons: Vec<&str> = report.qc_flags.reasons().collect();
            parts.push(format!("DO NOT TRUST: {}", reasons.join(", ")));
        }
        parts.join("  ")
    }

    /// The frames in a few numbers.
    pub fn summary(&self) -> Summary {
        let totals = &self.totals;
        let compared = f64::from(totals.compared);
        let truth = (totals.compared > 0).then(|| AgainstTruth {
            frames: totals.compared,
            mean_count: totals.count / compared,
            mean_true_count: totals.true_count / compared,
            mean_deviation_percent: 100.0 * (totals.count - totals.true_count) / totals.true_count.max(1.0),
            frame_deviation_percent: 100.0 * totals.deviation / compared,
        });
        Summary {
            frames: totals.frames,
            frames_per_second: self.frames_per_second(),
            doubted: totals.doubted,
            skipped: totals.skipped,
            stages_ms: totals.stages.times(1.0 / f64::from(totals.frames.max(1))),
            truth,
        }
    }
}

/// Hours, minutes and seconds of the day, UTC.
fn clock(time_unix_ms: u64) -> String {
    let seconds = time_unix_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests;
