//! Scoring on the held-back images with the station's own code: exported file, tract, extraction, metric.

use std::collections::HashMap;
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
    let all: Vec<usize> = (0..pictures.len()).collect();
    Tuner::new(onnx, pictures, threads)?.best(&all)?.extraction()
}

/// The maps of some images, and the scores of every extraction that was tried on them.
#[derive(Debug)]
pub struct Tuner<'a> {
    segmenter: Segmenter<TractNetwork>,
    pictures: &'a [ValidationPicture],
    maps: Vec<(Scale, Planes)>,
    /// With the extraction of the file itself.
    own: Vec<ImageScore>,
    tried: HashMap<Search, Vec<ImageScore>>,
}

impl<'a> Tuner<'a> {
    /// Segments every image as a station does, and keeps the maps.
    ///
    /// # Errors
    /// [`ValidationError`].
    pub fn new(
        onnx: &[u8],
        pictures: &'a [ValidationPicture],
        threads: NonZeroUsize,
    ) -> Result<Self, ValidationError> {
        let mut segmenter = Model::load(onnx, threads)?.into_segmenter();
        let progress = Progress::new("probability maps", pictures.len() as u64);
        let (mut maps, mut own) = (Vec::new(), Vec::new());
        for picture in pictures {
            let (found, of_picture) = segmenter
                .segment_with_maps(&picture.image, ScaleChoice::PerPicture, &mut |_: Stage| ())
                .map_err(|source| ValidationError::Segment { name: picture.name.clone(), source })?;
            own.push(score(picture, &found.labels)?);
            maps.push((found.scale, of_picture.into_planes()));
            progress.advance(1);
        }
        Ok(Self { segmenter, pictures, maps, own, tried: HashMap::new() })
    }

    /// The scores of the images with the file's own extraction, in order.
    pub fn own_scores(&self) -> &[ImageScore] {
        &self.own
    }

    /// The scores of the images, each with the extraction that is best for the images of other folds; `folds` has the
    /// fold of each.
    ///
    /// # Errors
    /// [`ValidationError`].
    pub fn cross_fitted(&mut self, folds: &[usize]) -> Result<Vec<ImageScore>, ValidationError> {
        let mut scores = self.own.clone();
        let most = folds.iter().max().map_or(0, |&fold| fold + 1);
        for fold in 0..most {
            let (own, others): (Vec<usize>, Vec<usize>) = (0..folds.len()).partition(|&at| folds[at] == fold);
            let best = self.best(&others)?;
            let found = self.scores(best)?;
            own.into_iter().for_each(|at| scores[at] = found[at].clone());
        }
        Ok(scores)
    }

    /// The best extraction for some of the images, by their indices.
    fn best(&mut self, members: &[usize]) -> Result<Search, ValidationError> {
        let mut best = Search::START;
        let mut best_score = self.mean_ap(best, members)?;
        loop {
            let before = best;
            for candidate in best.neighbours() {
                let score = self.mean_ap(candidate, members)?;
                if score > best_score {
                    (best, best_score) = (candidate, score);
                }
            }
            if best == before {
                return Ok(best);
            }
        }
    }

    fn mean_ap(&mut self, candidate: Search, members: &[usize]) -> Result<f64, ValidationError> {
        let scores = self.scores(candidate)?;
        let members = members.iter().map(|&at| &scores[at]);
        Ok(SetScore::from_scores(members).map_or(0.0, |score| score.mean_ap))
    }

    fn scores(&mut self, candidate: Search) -> Result<&[ImageScore], ValidationError> {
        if !self.tried.contains_key(&candidate) {
            self.segmenter.set_extraction(candidate.extraction()?);
            let mut scores = Vec::new();
            for (picture, (scale, maps)) in self.pictures.iter().zip(&self.maps) {
                let labels = self
                    .segmenter
                    .extract(&picture.image, *scale, maps)
                    .map_err(|source| ValidationError::Segment { name: picture.name.clone(), source })?;
                scores.push(score(picture, &labels)?);
            }
            self.tried.insert(candidate, scores);
        }
        Ok(&self.tried[&candidate])
    }
}

/// A point of the search, as indices into the candidate values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Search([usize; 6]);

impl Search {
    const THRESHOLDS: [f32; 14] =
        [0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.87, 0.92, 0.95];
    const AREAS: [f32; 8] = [2.0, 4.0, 8.0, 14.0, 20.0, 30.0, 45.0, 65.0];
    const SHARES: [f32; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
    const LEVELS: [u8; 4] = [1, 2, 3, 5];
    const START: Self = Self([5, 5, 2, 2, 4, 0]);

    fn extraction(self) -> Result<ExtractionParams, ValidationError> {
        let Self([nucleus, seed, share, seed_area, area, levels]) = self;
        Ok(ExtractionParams::Watershed {
            nucleus_threshold: Probability::try_from(Self::THRESHOLDS[nucleus])?,
            seed_threshold: Probability::try_from(Self::THRESHOLDS[seed])?,
            distance_share: Probability::try_from(Self::SHARES[share])?,
            min_seed_area: Self::AREAS[seed_area],
            min_area: Self::AREAS[area],
            seed_levels: Self::LEVELS[levels],
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
            Self::LEVELS.len(),
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
}
