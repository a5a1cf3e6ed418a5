//! Medians of what was measured, as JSON or a table.

use std::fmt::Write as _;
use std::num::NonZeroUsize;

use serde::Serialize;
use shared::Microseconds;
use shared::wire::{
    BootId, CHUNK, EncodeError, Event, Fragment, FrameReport, ModelDigest, Packet, ReliableEvent,
    SequencedEvent,
};

use super::flow::Flow;
use super::layers::Layers;

/// One frame's measures.
#[derive(Debug, Clone)]
pub(super) struct FrameMeasures {
    report: FrameReport,
    frame_us: u32,
    tiles: usize,
    gmac: f64,
    report_bytes: usize,
    masks_bytes: usize,
    preview_bytes: usize,
}

impl FrameMeasures {
    /// A frame's measurements, with the bytes of its packets.
    pub(super) fn new(
        report: FrameReport,
        masks: &[u8],
        preview: &[u8],
        frame_us: u32,
        tiles: usize,
        gmac: f64,
    ) -> Result<Self, EncodeError> {
        let mut packets = Vec::new();
        let event = SequencedEvent {
            boot_id: BootId(u32::MAX),
            sequence: u64::from(report.frame),
            event: ReliableEvent::Frame(report.clone()),
        };
        Packet::new(0, Event::Sequenced(event)).encode(&mut packets)?;
        Ok(Self {
            frame_us,
            tiles,
            gmac,
            report_bytes: packets.len(),
            masks_bytes: bulk_bytes(report.frame, masks, Event::Masks)?,
            preview_bytes: bulk_bytes(report.frame, preview, Event::Preview)?,
            report,
        })
    }
}

/// Bytes of the packets that carry `bytes` in pieces.
fn bulk_bytes(frame: u32, bytes: &[u8], event: fn(Fragment) -> Event) -> Result<usize, EncodeError> {
    let mut packets = Vec::new();
    for (index, chunk) in bytes.chunks(CHUNK as usize).enumerate() {
        let fragment = Fragment { frame, offset: index as u32 * CHUNK, total: bytes.len() as u32 };
        Packet { bulk: chunk.to_vec(), ..Packet::new(0, event(fragment)) }.encode(&mut packets)?;
    }
    Ok(packets.len())
}

/// Medians over the frames.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Summary {
    model: String,
    frames: usize,
    threads: usize,
    width: u32,
    height: u32,
    count: u32,
    /// The network only, all tiles and passes of a frame.
    network_ms: f64,
    /// Everything the station does for a frame.
    frame_ms: f64,
    /// Fraction of the time outside the network, 0 to 1.
    rest_share: f64,
    stages_ms: Stages,
    /// Tiles of a frame, over all passes.
    tiles: usize,
    /// Multiply-accumulates of a frame, in billions.
    gmac: f64,
    peak_rss_mb: f64,
    wire_bytes: WireBytes,
    stream: Flow,
    #[serde(flatten)]
    layers: Layers,
}

#[derive(Debug, Clone, Serialize)]
struct Stages {
    convert: f64,
    preprocess: f64,
    network: f64,
    extraction: f64,
    evidence: f64,
    encode: f64,
}

/// Bytes of a frame's packets on the line.
#[derive(Debug, Clone, Serialize)]
struct WireBytes {
    report: usize,
    masks: usize,
    preview: usize,
}

impl Summary {
    /// The medians of samples, of which there is at least one.
    pub(super) fn of(
        model: ModelDigest,
        threads: NonZeroUsize,
        samples: &[FrameMeasures],
        layers: Layers,
        stream: Flow,
        peak_rss_mb: f64,
    ) -> Self {
        let stage = |time: fn(&FrameReport) -> Microseconds| {
            milliseconds(median(samples, |sample| time(&sample.report).0))
        };
        let network_ms = stage(|report| report.times.network);
        let frame_ms = milliseconds(median(samples, |sample| sample.frame_us));
        Self {
            model: model.to_string(),
            frames: samples.len(),
            threads: threads.get(),
            width: median(samples, |sample| sample.report.width),
            height: median(samples, |sample| sample.report.height),
            count: median(samples, |sample| sample.report.count),
            network_ms,
            frame_ms,
            rest_share: 1.0 - network_ms / frame_ms.max(1e-3),
            stages_ms: Stages {
                convert: stage(|report| report.times.convert),
                preprocess: stage(|report| report.times.preprocess),
                network: network_ms,
                extraction: stage(|report| report.times.extraction),
                evidence: stage(|report| report.times.evidence),
                encode: stage(|report| report.times.encode),
            },
            tiles: median(samples, |sample| sample.tiles),
            gmac: f64::from(median(samples, |sample| (sample.gmac * 1000.0).round() as u32)) / 1000.0,
            peak_rss_mb: (peak_rss_mb * 10.0).round() / 10.0,
            wire_bytes: WireBytes {
                report: median(samples, |sample| sample.report_bytes),
                masks: median(samples, |sample| sample.masks_bytes),
                preview: median(samples, |sample| sample.preview_bytes),
            },
            stream,
            layers,
        }
    }

    /// One JSON object on one line.
    pub(super) fn json(&self) -> String {
        // Numbers and a string: this always works.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The same as text.
    pub(super) fn table(&self) -> String {
        let Self { stages_ms: stages, wire_bytes: wire, .. } = self;
        let mut table = format!(
            "model {}, {} frames of {}x{}, {} nuclei, {} threads\n\nmedian per frame, ms\n",
            self.model, self.frames, self.width, self.height, self.count, self.threads
        );
        let mut row = |name: &str, value: String| {
            // Writing to a string always works.
            let _ = writeln!(table, "  {name:<12}{value:>10}");
        };
        for (name, ms) in [
            ("convert", stages.convert),
            ("preprocess", stages.preprocess),
            ("network", stages.network),
            ("extraction", stages.extraction),
            ("evidence", stages.evidence),
            ("encode", stages.encode),
            ("in all", self.frame_ms),
        ] {
            row(name, format!("{ms:.2}"));
        }
        let _ = write!(
            table,
            "  {:<12}{:>9.1}% of it\n\n{} tiles, {:.2} GMAC, {:.1} GMAC/s in the network\n\
             peak memory {} MB\n\
             on the wire {} bytes of report, {} of masks, {} of preview\n\n{}\n\n{}",
            "not network",
            100.0 * self.rest_share,
            self.tiles,
            self.gmac,
            self.gmac / (self.network_ms / 1000.0).max(1e-9),
            self.peak_rss_mb,
            wire.report,
            wire.masks,
            wire.preview,
            self.stream,
            self.layers
        );
        table
    }
}

/// The median; of two middle values, the higher.
fn median<T: Ord + Copy + Default>(samples: &[FrameMeasures], value: impl Fn(&FrameMeasures) -> T) -> T {
    let mut values: Vec<T> = samples.iter().map(value).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn milliseconds(microseconds: u32) -> f64 {
    f64::from(microseconds) / 1000.0
}
