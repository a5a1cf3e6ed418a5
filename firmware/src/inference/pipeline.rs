//! From a frame to its nuclei, their masks, and the evidence for their count.

use std::time::{Duration, Instant};

use shared::wire::{Acquisition, FrameReport, ModelDigest, StageTimes};
use shared::{
    Channels, DutyCycle, Evidence, Extractor, Image, LabelImage, Model, NetworkError, ProbabilityMaps, Scale,
    ScaleChoice, ScaleEstimator, ScaleRule, SegmentError, Segmentation, Segmenter, Stage, TractNetwork,
    encode_jpeg, encode_labels,
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
    #[error("the model failed on the frame; revert to the previous model (nuclei-host station revert)")]
    Segment(#[from] SegmentError<NetworkError>),
}

/// The result of a frame.
#[derive(Debug)]
pub struct FrameResult {
    /// The count with its evidence.
    pub report: FrameReport,
    /// The encoded label image.
    pub masks: Vec<u8>,
    /// The frame.
    pub frame: Frame,
}

/// A running model. Over a stream of frames it learns the scale, so that each frame costs one pass.
///
/// Its two stages can work at once: the [`InferenceStage`] on a frame, the [`PostprocessStage`] on the one before.
#[derive(Debug)]
pub struct Pipeline {
    pub(crate) inference: InferenceStage,
    pub(crate) postprocess: Box<PostprocessStage>,
}

impl Pipeline {
    /// A pipeline that has not learned a scale yet.
    pub fn new(model: Model) -> Self {
        let digest = model.digest();
        let segmenter = model.into_segmenter();
        let postprocess = Box::new(PostprocessStage {
            extractor: Extractor::new(segmenter.manifest().clone()),
            digest,
            scale: ScaleEstimator::default(),
        });
        Self { inference: InferenceStage { segmenter, digest }, postprocess }
    }

    /// The model's digest.
    pub const fn digest(&self) -> ModelDigest {
        self.inference.digest()
    }

    /// Segments the model's golden frame, which must give the golden labels.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn check_golden(&mut self) -> Result<(), SegmentError<NetworkError>> {
        self.inference.segmenter.check_golden()
    }

    /// Segments a frame sequentially. A triggered frame is segmented as the host segments an image, independent of
    /// earlier frames.
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
        let choice = self.inference.choice(acquisition, self.postprocess.learned_scale());
        let output = self.inference.infer(&frame.image, choice)?;
        let inferred = InferredFrame { number, frame, illumination, acquisition, output };
        let (result, maps) = self.postprocess.postprocess(inferred)?;
        self.inference.recycle(maps);
        Ok(result)
    }
}

/// The stage that runs the network.
#[derive(Debug)]
pub(crate) struct InferenceStage {
    segmenter: Segmenter<TractNetwork>,
    digest: ModelDigest,
}

/// The network's output for an image.
#[derive(Debug)]
pub(crate) struct InferenceOutput {
    stages: StageClock,
    found: InferenceResult,
}

#[derive(Debug)]
enum InferenceResult {
    /// Maps of a single pass.
    Maps(ProbabilityMaps),
    /// The segmentation, if it determined the number of passes.
    Segmentation(Segmentation),
}

/// A frame with the network's output.
#[derive(Debug)]
pub(crate) struct InferredFrame {
    pub(crate) number: u32,
    pub(crate) frame: Frame,
    pub(crate) illumination: DutyCycle,
    pub(crate) acquisition: Acquisition,
    pub(crate) output: InferenceOutput,
}

impl InferenceStage {
    pub(crate) const fn digest(&self) -> ModelDigest {
        self.digest
    }

    /// At which scale a frame is segmented, with the scale learned from earlier frames.
    pub(crate) fn choice(&self, acquisition: Acquisition, learned_scale: Option<Scale>) -> ScaleChoice {
        match (self.segmenter.manifest().input.scale, acquisition) {
            (ScaleRule::Native | ScaleRule::Fit, _) => ScaleChoice::Fixed(Scale::ONE),
            (ScaleRule::Nucleus { .. }, Acquisition::Triggered) => ScaleChoice::PerPicture,
            (ScaleRule::Nucleus { .. }, Acquisition::Continuous) => {
                learned_scale.map_or(ScaleChoice::PerPicture, ScaleChoice::Fixed)
            }
        }
    }

    /// Runs the network on an image.
    ///
    /// # Errors
    /// [`PipelineError`].
    pub(crate) fn infer(
        &mut self,
        image: &Image,
        choice: ScaleChoice,
    ) -> Result<InferenceOutput, PipelineError> {
        let mut stages = StageClock::start();
        let mut observe = |stage| stages.enter(stage);
        let found = match choice {
            ScaleChoice::Fixed(scale) => {
                InferenceResult::Maps(self.segmenter.maps(image, scale, &mut observe)?)
            }
            ScaleChoice::PerPicture => {
                InferenceResult::Segmentation(self.segmenter.segment_observed(image, choice, &mut observe)?)
            }
        };
        stages.enter(Stage::Done);
        Ok(InferenceOutput { stages, found })
    }

    /// Recycles the buffers of used maps.
    pub(crate) fn recycle(&mut self, maps: Option<ProbabilityMaps>) {
        if let Some(maps) = maps {
            self.segmenter.recycle(maps);
        }
    }
}

impl InferenceOutput {
    /// Maps that are no longer needed.
    pub(crate) fn into_buffers(self) -> Option<ProbabilityMaps> {
        match self.found {
            InferenceResult::Maps(maps) => Some(maps),
            InferenceResult::Segmentation(_) => None,
        }
    }
}

/// The stage after it: from maps to nuclei, their evidence and their masks. Learns the scale from frame to frame.
#[derive(Debug)]
pub(crate) struct PostprocessStage {
    extractor: Extractor,
    digest: ModelDigest,
    scale: ScaleEstimator,
}

impl PostprocessStage {
    pub(crate) const fn digest(&self) -> ModelDigest {
        self.digest
    }

    /// The scale learned so far.
    pub(crate) const fn learned_scale(&self) -> Option<Scale> {
        self.scale.scale()
    }

    /// The result of a frame, and its maps for recycling.
    ///
    /// # Errors
    /// [`PipelineError`].
    pub(crate) fn postprocess(
        &mut self,
        inferred: InferredFrame,
    ) -> Result<(FrameResult, Option<ProbabilityMaps>), PipelineError> {
        let InferredFrame { number, frame, illumination, acquisition, output } = inferred;
        let InferenceOutput { mut stages, found } = output;
        stages.enter(Stage::Extraction);
        let (found, maps) = match found {
            InferenceResult::Maps(maps) => {
                let found = self.extractor.segmentation(&frame.image, &maps).map_err(SegmentError::Size)?;
                (found, Some(maps))
            }
            InferenceResult::Segmentation(found) => (found, None),
        };
        stages.enter(Stage::Done);
        if acquisition == Acquisition::Continuous {
            self.scale.learn(found.suggested_scale);
        }

        let start = Instant::now();
        let evidence = Evidence::of(&frame.image, &found.labels, found.scale_fit, found.confidence);
        let evidence_time = start.elapsed();
        let start = Instant::now();
        let masks = encode_labels(&found.labels);
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
            qc_flags: evidence.qc_flags,
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
        Ok((FrameResult { report, masks, frame }, maps))
    }
}

/// Time spent in each stage so far.
#[derive(Debug)]
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

/// A small JPEG of an image, at most 320 pixels per side; empty if JPEG cannot represent it.
pub fn preview_jpeg(image: &Image) -> Vec<u8> {
    let shrunk = shrunk(image, image.width().max(image.height()).div_ceil(PREVIEW_SIDE) as usize);
    encode_jpeg(shrunk.as_ref().unwrap_or(image), PREVIEW_QUALITY).unwrap_or_default()
}

/// The image downscaled by averaging blocks of `factor` by `factor` pixels; `None` if it would be unchanged.
fn shrunk(image: &Image, factor: usize) -> Option<Image> {
    if factor <= 1 {
        return None;
    }
    let (width, rows) = (image.width() as usize, image.samples_hwc());
    let samples_hwc = match image.channels() {
        Channels::Grey => block_means(rows.as_chunks::<1>().0, width, factor),
        Channels::Rgb => block_means(rows.as_chunks::<3>().0, width, factor),
    };
    let width = width.div_ceil(factor);
    let height = samples_hwc.len() / (width * image.channels().count());
    Image::new(width as u32, height as u32, image.channels(), samples_hwc).ok()
}

/// The means of blocks of pixels, rounded; `factor` is at most 257, so that a column's sum has 16 bits.
fn block_means<const CHANNELS: usize>(pixels: &[[u8; CHANNELS]], width: usize, factor: usize) -> Vec<u8> {
    let mut means = Vec::new();
    let mut columns = vec![[0_u16; CHANNELS]; width];
    for rows in pixels.chunks(factor * width) {
        columns.fill([0; CHANNELS]);
        for row in rows.chunks_exact(width) {
            let samples = columns.as_flattened_mut().iter_mut().zip(row.as_flattened());
            samples.for_each(|(sum, &sample)| *sum = sum.wrapping_add(u16::from(sample)));
        }
        let lines = rows.len() / width;
        let (whole, rest) = columns.split_at(width - width % factor);
        let whole_mean = Mean::of(lines * factor);
        for block in whole.chunks_exact(factor) {
            means.extend(whole_mean.each(block));
        }
        if !rest.is_empty() {
            means.extend(Mean::of(lines * rest.len()).each(rest));
        }
    }
    means
}

/// Division by a number of samples as a multiplication by 2^40 divided by it, rounded up. This is exact if a sum times
/// the number is below 2^40.
struct Mean {
    half: u64,
    reciprocal: u64,
}

impl Mean {
    const BITS: u32 = 40;

    fn of(count: usize) -> Self {
        Self { half: count as u64 / 2, reciprocal: (1 << Self::BITS) / count as u64 + 1 }
    }

    fn each<const CHANNELS: usize>(&self, columns: &[[u16; CHANNELS]]) -> [u8; CHANNELS] {
        let mut sums = [self.half; CHANNELS];
        for column in columns {
            sums.iter_mut().zip(column).for_each(|(sum, &column)| *sum = sum.wrapping_add(u64::from(column)));
        }
        sums.map(|sum| (sum.wrapping_mul(self.reciprocal) >> Self::BITS) as u8)
    }
}

#[cfg(test)]
mod tests;
