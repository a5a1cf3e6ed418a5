//! Counts over a session: a line of text per frame, a trend, a summary.

use std::time::{Duration, Instant};

use shared::wire::FrameReport;

use super::trend::{Trend, TrendDirection};
use crate::records::frame_record::{FrameRecord, StageMs};

/// Frames that the station has buffered arrive at once. Their rate is that of the line.
const MIN_SPAN: Duration = Duration::from_millis(500);

/// Statistics of the frames so far.
#[derive(Debug, Clone, Default)]
pub struct CountStats {
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
    /// Sum over frames of the relative deviation from the true count.
    deviation: f64,
}

/// A session's frames in a few numbers.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct CountSummary {
    /// Frames received.
    pub frames: u32,
    /// Frames per second.
    pub frames_per_second: f64,
    /// Frames whose count is unreliable.
    pub doubted: u32,
    /// Camera frames that the station skipped.
    pub skipped: u32,
    /// Mean time of each stage, ms.
    pub stages_ms: StageMs,
    /// Counts compared with the truth of a simulated scene.
    pub truth: Option<TruthComparison>,
}

/// Counts compared with the truth.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct TruthComparison {
    /// Frames whose truth is known.
    pub frames: u32,
    /// Mean count.
    pub mean_count: f64,
    /// Mean true count.
    pub mean_true_count: f64,
    /// Deviation of the mean count from the mean true count, percent.
    pub mean_deviation_percent: f64,
    /// Mean over frames of the absolute deviation of a count, percent of the truth.
    pub frame_deviation_percent: f64,
}

impl CountSummary {
    /// The summary in one line.
    pub fn to_line(&self) -> String {
        let mut line = format!("{} frames", self.frames);
        if self.frames_per_second > 0.0 {
            line += &format!(", {:.1} per second", self.frames_per_second);
        }
        if self.doubted > 0 {
            line += &format!(", {} unreliable", self.doubted);
        }
        if let Some(truth) = self.truth {
            line += &format!(
                ", mean count {:.1}, true {:.1} ({:+.1} %; {:.1} % off per frame)",
                truth.mean_count,
                truth.mean_true_count,
                truth.mean_deviation_percent,
                truth.frame_deviation_percent
            );
        }
        line
    }
}

impl CountStats {
    /// Frames received.
    pub const fn frames(&self) -> u32 {
        self.totals.frames
    }

    /// The trend of the counts.
    pub fn direction(&self) -> TrendDirection {
        self.trend.direction()
    }

    /// Frames per second, from the first to the last; 0 while they span too short a time for a rate.
    pub fn frames_per_second(&self) -> f64 {
        let span = self.first.zip(self.last).map(|(first, last)| last - first);
        match span {
            Some(span) if span >= MIN_SPAN => f64::from(self.totals.frames - 1) / span.as_secs_f64(),
            _ => 0.0,
        }
    }

    /// Adds a frame.
    pub fn record_frame(&mut self, report: &FrameReport) {
        self.record_frame_at(report, Instant::now());
    }

    fn record_frame_at(&mut self, report: &FrameReport, now: Instant) {
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.add(report);
        if report.qc_flags.is_empty() {
            self.trend.push(report.count);
        }
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

    /// The line of text for the newest frame. `unsent` counts label images and previews that the station dropped
    /// because the line was too slow.
    pub fn text_line(&self, record: &FrameRecord, unsent: u32) -> String {
        let mut parts = vec![clock(record.time_unix_ms), format!("{:>5} nuclei", record.count)];
        if let Some(true_count) = record.true_count {
            parts.push(format!("(true {true_count})"));
        }
        parts.push(format!("{:<7}", self.direction().word()));
        parts.push(match (record.median_diameter_um, record.median_diameter_px) {
            (Some(um), _) => format!("{um:.1} µm"),
            (None, Some(px)) => format!("{px:.1} px"),
            (None, None) => "no diameter".to_owned(),
        });
        parts.push(format!("focus {:.2}", record.focus));
        parts.push(format!("{:.1} fps", self.frames_per_second()));
        parts.push(format!("dropped {}", self.totals.skipped.saturating_add(unsent)));
        parts.extend(record.source.clone());
        parts.extend(record.warning());
        parts.join("  ")
    }

    /// The frames so far in a few numbers.
    pub fn summary(&self) -> CountSummary {
        let totals = &self.totals;
        let compared = f64::from(totals.compared);
        let truth = (totals.compared > 0).then(|| TruthComparison {
            frames: totals.compared,
            mean_count: totals.count / compared,
            mean_true_count: totals.true_count / compared,
            mean_deviation_percent: 100.0 * (totals.count - totals.true_count) / totals.true_count.max(1.0),
            frame_deviation_percent: 100.0 * totals.deviation / compared,
        });
        CountSummary {
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
