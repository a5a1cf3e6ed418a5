//! A frame's result as one line of JSON, with units in its names and reasons in words.

use serde::{Serialize, Serializer};
use shared::wire::{FrameReport, QcFlags, StageTimes};
use shared::{Microseconds, PixelSize};

use crate::records::provenance::Provenance;
use crate::support::brightness::percent;

/// A frame's result for programs that read it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FrameRecord {
    /// The frame's number since the station's start.
    pub frame: u32,
    /// When it was taken: ms since 1970 by the station's clock.
    pub time_unix_ms: u64,
    /// The image's own name, if the source is a folder.
    pub source: Option<String>,
    /// SHA-256 of the model that counted, hexadecimal.
    pub model: String,
    /// Pixel size in the specimen, µm, if known.
    pub pixel_size_um: Option<f32>,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Nuclei found.
    pub count: u32,
    /// True number of nuclei in a simulated scene.
    pub true_count: Option<u32>,
    /// Area-weighted median equivalent diameter, px; absent without nuclei.
    pub median_diameter_px: Option<f32>,
    /// The same in µm, if the pixel size is known.
    pub median_diameter_um: Option<f32>,
    /// Fraction of the image covered by nuclei, 0 to 1.
    pub confluence: f32,
    /// Factor by which the image was resized for the network.
    pub scale: f32,
    /// Exposure time, if the camera reports it.
    pub exposure_ms: Option<f64>,
    /// Brightness of the illumination, percent.
    pub illumination_percent: f32,
    /// Focus score, 0 to 1.
    pub focus: f32,
    /// Share of saturated pixels, 0 to 1.
    pub saturated: f32,
    /// Whether the count can be trusted.
    pub trusted: bool,
    /// The reasons if it cannot, as a list of texts.
    #[serde(rename = "doubts", serialize_with = "in_words")]
    pub qc_flags: QcFlags,
    /// Time per stage.
    pub stages_ms: StageMs,
    /// Camera frames skipped before this one.
    pub skipped: u32,
    /// What the count depends on besides the image.
    #[serde(flatten)]
    pub provenance: Provenance,
}

/// A frame's time per stage, ms.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct StageMs {
    /// Decoding or converting the camera's frame.
    pub convert: f64,
    /// Stretching, resizing and tiling.
    pub preprocess: f64,
    /// The network.
    pub network: f64,
    /// Watershed and labels.
    pub extraction: f64,
    /// Focus, saturation and object measures.
    pub evidence: f64,
    /// Encoding masks and preview.
    pub encode: f64,
}

impl FrameRecord {
    /// The warning for an unreliable count.
    pub fn warning(&self) -> Option<String> {
        let reasons: Vec<&str> = self.qc_flags.reasons().collect();
        (!self.trusted).then(|| format!("DO NOT TRUST: {}", reasons.join(", ")))
    }

    /// The record of a report.
    pub fn new(report: &FrameReport, provenance: &Provenance) -> Self {
        let pixel_size = provenance.pixel_size;
        let diameter = Some(report.median_diameter_px).filter(|&px| px > 0.0);
        Self {
            frame: report.frame,
            time_unix_ms: report.time_unix_ms,
            source: Some(report.source.as_str()).filter(|name| !name.is_empty()).map(str::to_owned),
            model: format!("{:#}", report.model),
            pixel_size_um: pixel_size.map(PixelSize::get),
            width: report.width,
            height: report.height,
            count: report.count,
            true_count: report.true_count,
            median_diameter_px: diameter,
            median_diameter_um: diameter.zip(pixel_size).map(|(px, size)| px * size.get()),
            confluence: report.confluence,
            scale: report.scale,
            exposure_ms: report.exposure.map(milliseconds),
            illumination_percent: percent(report.illumination),
            focus: report.focus,
            saturated: report.saturated,
            trusted: report.qc_flags.is_empty(),
            qc_flags: report.qc_flags,
            stages_ms: StageMs::from(report.times),
            skipped: report.skipped,
            provenance: provenance.clone(),
        }
    }
}

fn in_words<S: Serializer>(qc_flags: &QcFlags, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(qc_flags.reasons())
}

fn milliseconds(time: Microseconds) -> f64 {
    f64::from(time.0) / 1000.0
}

impl From<StageTimes> for StageMs {
    fn from(times: StageTimes) -> Self {
        Self {
            convert: milliseconds(times.convert),
            preprocess: milliseconds(times.preprocess),
            network: milliseconds(times.network),
            extraction: milliseconds(times.extraction),
            evidence: milliseconds(times.evidence),
            encode: milliseconds(times.encode),
        }
    }
}

impl StageMs {
    /// The stages by name, in the order in which a frame passes them.
    pub const fn by_name(self) -> [(&'static str, f64); 6] {
        [
            ("convert", self.convert),
            ("preprocess", self.preprocess),
            ("network", self.network),
            ("extraction", self.extraction),
            ("evidence", self.evidence),
            ("encode", self.encode),
        ]
    }

    /// The sum of each stage.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            convert: self.convert + other.convert,
            preprocess: self.preprocess + other.preprocess,
            network: self.network + other.network,
            extraction: self.extraction + other.extraction,
            evidence: self.evidence + other.evidence,
            encode: self.encode + other.encode,
        }
    }

    /// Each stage times `factor`.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self {
            convert: self.convert * factor,
            preprocess: self.preprocess * factor,
            network: self.network * factor,
            extraction: self.extraction * factor,
            evidence: self.evidence * factor,
            encode: self.encode * factor,
        }
    }
}
