//! Text about a frame and a station, the same in the browser and on a terminal.

use serde::Serialize;
use shared::wire::{QcFlags, Settings, Status};

use crate::records::frame_record::FrameRecord;
use crate::station::client::{LinkStats, camera_word};
use crate::support::brightness::percent;

/// The next step for each flag.
const ADVICE: [(QcFlags, &str); 6] = [
    (QcFlags::OUT_OF_FOCUS, "focus until the edges are sharp"),
    (QcFlags::SATURATED, "reduce the light or the exposure"),
    (QcFlags::BLANK, "check the lamp and the sample"),
    (QcFlags::TOO_DENSE, "dilute the sample, or move to another field"),
    (QcFlags::OFF_SCALE, "change the magnification"),
    (QcFlags::OUT_OF_DISTRIBUTION, "check the outlines; this kind of image may need its own model"),
];

/// Text about a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FrameText {
    /// Whether the count is reliable, and otherwise what to do.
    pub trust: String,
    /// Focus, with its score.
    pub focus: String,
    /// Brightness, with the fraction of saturated pixels.
    pub brightness: String,
    /// Median diameter, in µm if the pixel size is known.
    pub diameter: String,
    /// Fraction of the image covered by nuclei.
    pub confluence: String,
    /// The frame's number, its name, and the truth of a simulated scene.
    pub frame: String,
    /// Frames per second, and the network's time.
    pub speed: String,
}

impl FrameText {
    /// The text about a frame, at a frame rate.
    pub fn new(record: &FrameRecord, frames_per_second: f64) -> Self {
        let has = |flag| record.qc_flags.contains(flag);
        let diameter = match (record.median_diameter_um, record.median_diameter_px) {
            (Some(um), _) => format!("{um:.1} µm"),
            (None, Some(px)) => format!("{px:.1} px"),
            (None, None) => "–".to_owned(),
        };
        let mut frame = record.frame.to_string();
        if let Some(source) = &record.source {
            frame += &format!(" · {source}");
        }
        if let Some(truth) = record.true_count {
            frame += &format!(" · {truth} in the scene");
        }
        Self {
            trust: trust(record),
            focus: match (has(QcFlags::OUT_OF_FOCUS), record.focus > 0.0) {
                (true, _) => format!("out of focus ({:.2})", record.focus),
                (false, true) => format!("sharp ({:.2})", record.focus),
                (false, false) => "cannot be judged without nuclei".to_owned(),
            },
            brightness: format!(
                "{} ({:.1} % saturated)",
                if has(QcFlags::SATURATED) { "too bright" } else { "within range" },
                100.0 * record.saturated
            ),
            diameter,
            confluence: format!("{:.1} %", 100.0 * record.confluence),
            frame,
            speed: format!("{frames_per_second:.1} frames/s, network {:.0} ms", record.stages_ms.network),
        }
    }
}

fn trust(record: &FrameRecord) -> String {
    if record.trusted {
        return "can be trusted".to_owned();
    }
    let flags = QcFlags::ALL.into_iter().filter(|&(flag, _)| record.qc_flags.contains(flag));
    let mut reasons: Vec<String> = flags.map(|(flag, reason)| advised(flag, reason)).collect();
    if reasons.is_empty() {
        reasons.push("for a reason unknown to this version of nuclei-host".to_owned());
    }
    format!("do not trust this count ({})", reasons.join("; "))
}

/// A reason, and the next step.
fn advised(flag: QcFlags, reason: &str) -> String {
    let advice = ADVICE.iter().find(|&&(known, _)| known == flag);
    advice.map_or_else(|| reason.to_owned(), |(_, advice)| format!("{reason}: {advice}"))
}

/// Text about a station.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StationText {
    /// Its camera.
    pub camera: String,
    /// The line, and the packets damaged and lost on it.
    pub line: String,
    /// What was skipped.
    pub dropped: String,
    /// Time since it was started.
    pub uptime: String,
    /// Brightness of the illumination.
    pub light: String,
}

impl StationText {
    /// The text about a station at a port of that baud rate.
    pub fn new((port, baud): (&str, u32), status: &Status, settings: &Settings, link: LinkStats) -> Self {
        let damaged = status.damaged_packets.saturating_add(link.damaged);
        let camera = match (camera_word(status.camera), status.camera_name.as_str()) {
            (word, "") => word.to_owned(),
            (word, name) => format!("{word}: {name}"),
        };
        Self {
            camera,
            line: format!("{port}, {baud} baud, {damaged} damaged, {} lost", link.events_lost),
            dropped: format!(
                "{} frames at the camera, {} images on the line",
                status.frames_skipped, status.frames_unsent
            ),
            uptime: duration(status.uptime_ms as f64 / 1000.0),
            light: format!("{:.0} %", percent(settings.illumination)),
        }
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        short if short < 90.0 => format!("{short:.0} s"),
        longer if longer < 5400.0 => format!("{:.0} min", longer / 60.0),
        long => format!("{:.1} h", long / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use shared::wire::FrameReport;

    use super::*;
    use crate::records::provenance::Provenance;
    use crate::records::test_report::test_report;

    fn record(qc_flags: QcFlags) -> FrameRecord {
        FrameRecord::new(&FrameReport { qc_flags, ..test_report() }, &Provenance::of_nothing(None))
    }

    #[test]
    fn every_flag_comes_with_advice() {
        for (flag, reason) in QcFlags::ALL {
            let (_, advice) = ADVICE.iter().find(|(known, _)| *known == flag).unwrap();
            let trust = FrameText::new(&record(flag), 1.0).trust;
            assert_eq!(trust, format!("do not trust this count ({reason}: {advice})"));
        }
        let text = FrameText::new(&record(QcFlags::OUT_OF_FOCUS.union(QcFlags::SATURATED)), 1.0);
        assert!(
            text.focus.starts_with("out of focus") && text.brightness.starts_with("too bright"),
            "{text:?}"
        );
        assert_eq!(FrameText::new(&record(QcFlags::NONE), 1.0).trust, "can be trusted");
    }

    #[test]
    fn a_flag_of_a_later_station_still_warns() {
        let text = FrameText::new(&record(QcFlags(1 << 15)), 1.0);
        assert_eq!(
            text.trust,
            "do not trust this count (for a reason unknown to this version of nuclei-host)"
        );
    }

    #[test]
    fn durations_have_a_fitting_unit() {
        for (seconds, words) in [(0.4, "0 s"), (89.0, "89 s"), (600.0, "10 min"), (9000.0, "2.5 h")] {
            assert_eq!(duration(seconds), words);
        }
    }
}
