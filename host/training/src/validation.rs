//! Scoring on the held-back images with the station's own code: exported file, tract, extraction, metric.

use std::num::NonZeroUsize;

use host_console::Progress;
use host_modelling::ImageType;
use shared::{
    ExtractionParams, Image, ImageScore, LabelImage, MetricError, Model, ModelError, NetworkError, Planes,
    Probability, Scale, ScaleChoice, SegmentError, Segmenter, SetScore, Stage, TractNetwork, UnitError,
    evaluate,
};
use thiserror::Error;

/// A held-back image with its ground truth.
#[derive(Debug)]
pub struct ValidationPicture {
    /// Its name in the data set.
    pub name: String,
    /// Its image type.
    pub image_type: ImageType,
    /// The image.
    pub image: Image,
    /// Its true labels.
    pub labels: LabelImage,
}

/// Why validation did not run.
#[derive(Debug, Error)]
pub enum ValidationError {
    /// The exported model does not load.
    #[error("the exported model does not load")]
    Model(#[from] ModelError),
    /// An image was not segmented.
    #[error("{name} was not segmented")]
    Segment {
        /// The image.
        name: String,
        /// Why.
        #[source]
        source: SegmentError<NetworkError>,
    },
    /// An image and its ground truth do not match.
    #[error("{name} cannot be scored")]
    Metric {
        /// The image.
        name: String,
        /// Why.
        #[source]
        source: MetricError,
    },
    /// A threshold of the search is out of range.
    #[error(transparent)]
    Unit(#[from] UnitError),
}

/// Labels and score of every image, in order.
///
/// # Errors
/// [`ValidationError`].
pub fn validate(
    onnx: &[u8],
    pictures: &[ValidationPicture],
    threads: NonZeroUsize,
) -> Result<Vec<(LabelImage, ImageScore)>, ValidationError> {
    let mut segmenter = Model::load(onnx, threads)?.into_segmenter();
    let progress = Progress::new("validating", pictures.len() as u64);
    pictures
        .iter()
        .map(|picture| {
            let found = segmenter
                .segment(&picture.image, ScaleChoice::PerPicture)
                .map_err(|source| ValidationError::Segment { name: picture.name.clone(), source })?;
            progress.advance(1);
            let score = score(picture, &found.labels)?;
            Ok((found.labels, score))
        })
        .collect()
}

fn score(picture: &ValidationPicture, labels: &LabelImage) -> Result<ImageScore, ValidationError> {
    evaluate(&picture.labels, labels)
        .map_err(|source| ValidationError::Metric { name: picture.name.clone(), source })
}

/// Finds the watershed parameters with the best mean AP, varying one at a time until none improves. Each image keeps
/// the scale that `onnx` determines.
///
/// # Errors
/// [`ValidationError`].
pub fn tune_extraction(
    onnx: &[u8],
    pictures: &[ValidationPicture],
    threads: NonZeroUsize,
) -> Result<ExtractionParams, ValidationError> {
    let mut segmenter = Model::load(onnx, threads)?.into_segmenter();
    let maps = maps(&mut segmenter, pictures)?;
    let mut best = Search::START;
    let mut best_score = best.score(&mut segmenter, pictures, &maps)?;
    let progress = Progress::new("tuning thresholds", 2 * Search::CANDIDATES);
    loop {
        let before = best;
        for candidate in best.neighbours() {
            progress.advance(1);
            let score = candidate.score(&mut segmenter, pictures, &maps)?;
            if score > best_score {
                (best, best_score) = (candidate, score);
            }
        }
        if best == before {
            return best.extraction();
        }
    }
}

/// The scale and the maps of every image.
fn maps(
    segmenter: &mut Segmenter<TractNetwork>,
    pictures: &[ValidationPicture],
) -> Result<Vec<(Scale, Planes)>, ValidationError> {
    let progress = Progress::new("probability maps", pictures.len() as u64);
    pictures
        .iter()
        .map(|picture| {
            let failed = |source| ValidationError::Segment { name: picture.name.clone(), source };
            let scale = segmenter.segment(&picture.image, ScaleChoice::PerPicture).map_err(failed)?.scale;
            let maps = segmenter.probabilities(&picture.image, scale, &mut |_: Stage| ()).map_err(failed)?;
            progress.advance(1);
            Ok((scale, maps))
        })
        .collect()
}

/// A point of the search, as indices into the candidate values.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Search([usize; 5]);

impl Search {
    const THRESHOLDS: [f32; 14] =
        [0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.87, 0.92, 0.95];
    const AREAS: [f32; 8] = [2.0, 4.0, 8.0, 14.0, 20.0, 30.0, 45.0, 65.0];
    const SHARES: [f32; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
    const START: Self = Self([5, 5, 2, 2, 4]);
    const CANDIDATES: u64 = 20;

    fn extraction(self) -> Result<ExtractionParams, ValidationError> {
        let Self([nucleus, seed, share, seed_area, area]) = self;
        Ok(ExtractionParams::Watershed {
            nucleus_threshold: Probability::try_from(Self::THRESHOLDS[nucleus])?,
            seed_threshold: Probability::try_from(Self::THRESHOLDS[seed])?,
            distance_share: Probability::try_from(Self::SHARES[share])?,
            min_seed_area: Self::AREAS[seed_area],
            min_area: Self::AREAS[area],
        })
    }

    /// The points one or two steps away along each axis.
    fn neighbours(self) -> impl Iterator<Item = Self> {
        let lengths = [
            Self::THRESHOLDS.len(),
            Self::THRESHOLDS.len(),
            Self::SHARES.len(),
            Self::AREAS.len(),
            Self::AREAS.len(),
        ];
        (0..lengths.len()).flat_map(move |axis| {
            [-2_isize, -1, 1, 2].into_iter().filter_map(move |step| {
                let at = self.0[axis].checked_add_signed(step).filter(|&at| at < lengths[axis])?;
                let mut place = self.0;
                place[axis] = at;
                Some(Self(place))
            })
        })
    }

    fn score(
        self,
        segmenter: &mut Segmenter<TractNetwork>,
        pictures: &[ValidationPicture],
        maps: &[(Scale, Planes)],
    ) -> Result<f64, ValidationError> {
        segmenter.set_extraction(self.extraction()?);
        let mut scores = Vec::new();
        for (picture, (scale, maps)) in pictures.iter().zip(maps) {
            let labels = segmenter
                .extract(&picture.image, *scale, maps)
                .map_err(|source| ValidationError::Segment { name: picture.name.clone(), source })?;
            scores.push(score(picture, &labels)?);
        }
        Ok(SetScore::from_scores(&scores).map_or(0.0, |score| score.mean_ap))
    }
}
