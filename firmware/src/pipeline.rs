//! From a frame to its nuclei, their masks, and the evidence for their count.

use std::time::{Duration, Instant};

use shared::wire::{Acquisition, FrameReport, ModelDigest, StageTimes};
use shared::{
    DutyCycle, Evidence, Image, LabelImage, Model, NetworkError, ScaleChoice, ScaleEstimator, SegmentError,
    Segmenter, Stage, TractNetwork, encode_jpeg, encode_masks,
};
use thiserror::Error;

use crate::camera::{Frame, microseconds};

/// Longest side of a preview, px.
const PREVIEW_SIDE: u32 = 320;
/// JPEG quality of a preview: a few kilobytes each.
const PREVIEW_QUALITY: u8 = 70;

/// Why a frame has no result.
#[derive(Debug, Error)]
pub enum PipelineError {
    /// The model failed on it.
    #[error("the model failed on the frame: go back to the model before it (nuclei-host station revert)")]
    Segment(#[from] SegmentError<NetworkError>),
}

/// What was found in a frame.
#[derive(Debug)]
pub struct FrameResult {
    /// The count with its evidence.
    pub report: FrameReport,
    /// The nuclei, by the mask codec.
    pub masks: Vec<u8>,
    /// The frame.
    pub frame: Frame,
}

/// A model at work. Over a stream of frames it learns the scale, so that each costs one pass.
#[derive(Debug)]
pub struct Pipeline {
    segmenter: Segmenter<TractNetwork>,
    digest: ModelDigest,
    scale: ScaleEstimator,
}

impl Pipeline {
    /// A pipeline that has learnt no scale yet.
    pub fn new(model: Model) -> Self {
        let digest = model.digest();
        Self { segmenter: model.into_segmenter(), digest, scale: ScaleEstimator::default() }
    }

    /// The model's digest.
    pub const fn digest(&self) -> ModelDigest {
        self.digest
    }

    /// Finds the nuclei of a frame. A triggered one is segmented as the host segments a picture, whatever came
    /// before it.
    ///
    /// # Errors
    /// [`PipelineError`].
    pub fn process(
        &mut self,
        number: u32,
        frame: Frame,
        illumination: DutyCycle,
        acquisition: Acquisition,
    ) -> Result<FrameResult, PipelineError> {
        let learnt = match acquisition {
            Acquisition::Continuous => self.scale.scale(),
            Acquisition::Triggered => None,
        };
        let choice = learnt.map_or(ScaleChoice::PerPicture, ScaleChoice::Fixed);
        let mut stages = StageClock::start();
        let found =
            self.segmenter.segment_observed(&frame.image, choice, &mut |stage| stages.enter(stage))?;
        if acquisition == Acquisition::Continuous {
            self.scale.learn(found.suggested_scale);
        }

        let start = Instant::now();
        let evidence = Evidence::of(&frame.image, &found.labels, found.limited, found.confidence);
        let evidence_time = start.elapsed();
        let start = Instant::now();
        let masks = encode_masks(&found.labels);
        let encode_time = start.elapsed();

        let report = FrameReport {
            frame: number,
            time_unix_ms: frame.time_unix_ms,
            source: frame.source.clone(),
            model: self.digest,
            width: frame.image.width(),
            height: frame.image.height(),
            count: found.count,
            true_count: frame.truth.as_ref().map(LabelImage::count),
            median_diameter_px: found.median_diameter_px.unwrap_or(0.0),
            confluence: evidence.confluence,
            scale: found.scale.get(),
            exposure: frame.exposure,
            illumination,
            focus: evidence.focus,
            saturated: evidence.saturated,
            doubts: evidence.doubts,
            times: StageTimes {
                convert: frame.convert,
                preprocess: microseconds(stages.preprocess),
                network: microseconds(stages.network),
                extraction: microseconds(stages.extraction),
                evidence: microseconds(evidence_time),
                encode: microseconds(encode_time),
            },
            skipped: frame.skipped,
        };
        Ok(FrameResult { report, masks, frame })
    }
}

/// Time spent in each stage so far.
struct StageClock {
    stage: Stage,
    since: Instant,
    preprocess: Duration,
    network: Duration,
    extraction: Duration,
}

impl StageClock {
    fn start() -> Self {
        Self {
            stage: Stage::Preprocess,
            since: Instant::now(),
            preprocess: Duration::ZERO,
            network: Duration::ZERO,
            extraction: Duration::ZERO,
        }
    }

    fn enter(&mut self, stage: Stage) {
        let now = Instant::now();
        let spent = now - self.since;
        match self.stage {
            Stage::Preprocess => self.preprocess += spent,
            Stage::Network => self.network += spent,
            Stage::Extraction => self.extraction += spent,
            Stage::Done => {}
        }
        (self.stage, self.since) = (stage, now);
    }
}

/// A small JPEG of a picture, at most 320 pixels a side; empty where JPEG cannot hold it.
pub fn preview_jpeg(image: &Image) -> Vec<u8> {
    let shrunk = shrunk(image, image.width().max(image.height()).div_ceil(PREVIEW_SIDE) as usize);
    encode_jpeg(shrunk.as_ref().unwrap_or(image), PREVIEW_QUALITY).unwrap_or_default()
}

/// A picture of the means of blocks of `factor` by `factor` pixels; `None` where it would be the same.
fn shrunk(image: &Image, factor: usize) -> Option<Image> {
    if factor <= 1 {
        return None;
    }
    let channels = image.channels().count();
    let row_length = image.width() as usize * channels;
    let width = (image.width() as usize).div_ceil(factor);
    let mut samples_hwc = Vec::new();
    for rows in image.samples_hwc().chunks(factor * row_length) {
        let mut sums = vec![0u32; width * channels];
        let mut counts = vec![0u32; width];
        for row in rows.chunks_exact(row_length) {
            let blocks = row.chunks(factor * channels).zip(sums.chunks_exact_mut(channels));
            for ((block, sums), count) in blocks.zip(&mut counts) {
                for pixel in block.chunks_exact(channels) {
                    *count += 1;
                    for (sum, &sample) in sums.iter_mut().zip(pixel) {
                        *sum += u32::from(sample);
                    }
                }
            }
        }
        for (sums, count) in sums.chunks_exact(channels).zip(counts) {
            samples_hwc.extend(sums.iter().map(|sum| ((sum + count / 2) / count) as u8));
        }
    }
    let height = samples_hwc.len() / (width * channels);
    Image::new(width as u32, height as u32, image.channels(), samples_hwc).ok()
}

#[cfg(test)]
mod tests;
