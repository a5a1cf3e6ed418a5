//! The cost of captured frames: time at the station per stage, and bytes on the line.

use std::time::Duration;

use crate::records::frame_record::StageMs;
use crate::station::client::CapturedFrame;

/// One frame's cost.
#[derive(Debug, Clone, Copy)]
struct FrameCost {
    stages: StageMs,
    picture_bytes: usize,
    labels_bytes: usize,
}

/// The cost of the frames so far.
#[derive(Debug, Clone, Default)]
pub(super) struct CaptureCost(Vec<FrameCost>);

impl CaptureCost {
    pub(super) fn add(&mut self, captured: &CapturedFrame) {
        self.0.push(FrameCost {
            stages: StageMs::from(captured.report.times),
            picture_bytes: captured.picture_png.len(),
            labels_bytes: captured.labels_bytes,
        });
    }

    /// Frames so far.
    pub(super) fn frames(&self) -> u32 {
        self.0.len() as u32
    }

    /// A table as text: `received` bytes arrived over the line in `time`.
    pub(super) fn table(&self, received: u64, time: Duration) -> Vec<String> {
        let Some(first) = self.0.first() else { return Vec::new() };
        let mut lines = vec![format!("{:<22}{:>10}{:>10}{:>10}", "a frame", "mean", "median", "most")];
        let mut row = |name: &str, value: &dyn Fn(&FrameCost) -> f64| {
            let mut values: Vec<f64> = self.0.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let (median, most) = (values[values.len() / 2], values[values.len() - 1]);
            lines.push(format!("{name:<22}{mean:>10.1}{median:>10.1}{most:>10.1}"));
        };
        for (at, (stage, _)) in first.stages.by_name().iter().enumerate() {
            row(&format!("{stage}, ms"), &|frame| frame.stages.by_name()[at].1);
        }
        row("at the station, ms", &|frame| frame.stages.by_name().iter().map(|(_, ms)| ms).sum());
        row("image, kB", &|frame| frame.picture_bytes as f64 / 1000.0);
        row("labels, kB", &|frame| frame.labels_bytes as f64 / 1000.0);
        let frames = f64::from(self.frames());
        lines.push(format!("{:<22}{:>10.1}", "over the line, kB", received as f64 / frames / 1000.0));
        lines.push(format!("{:<22}{:>10.2}", "from first to last, s", time.as_secs_f64() / frames));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_stage_and_the_line() {
        let frame = |network, picture_bytes| FrameCost {
            stages: StageMs { network, encode: 1.0, ..StageMs::default() },
            picture_bytes,
            labels_bytes: 300,
        };
        let cost = CaptureCost(vec![frame(10.0, 1000), frame(40.0, 4000), frame(13.0, 1000)]);
        let table = cost.table(9000, Duration::from_secs(6));
        let row = |name: &str| {
            let line = table.iter().find(|line| line.starts_with(name)).unwrap();
            let numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
            numbers.collect::<Vec<f64>>()
        };
        for (name, numbers) in [
            ("convert, ms", &[0.0, 0.0, 0.0][..]),
            ("network, ms", &[21.0, 13.0, 40.0]),
            ("at the station, ms", &[22.0, 14.0, 41.0]),
            ("image, kB", &[2.0, 1.0, 4.0]),
            ("labels, kB", &[0.3, 0.3, 0.3]),
            ("over the line, kB", &[3.0]),
            ("from first to last, s", &[2.0]),
        ] {
            assert_eq!(row(name), numbers, "{name}");
        }
        assert!(CaptureCost::default().table(5, Duration::ZERO).is_empty());
    }
}
