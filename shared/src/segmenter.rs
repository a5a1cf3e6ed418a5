//! A picture in, labels out: the one path that training's validation, scoring and the station take.

use alloc::vec::Vec;
use core::mem::take;
use thiserror::Error;

use crate::confidence::soft_dice_confidence;
use crate::extraction::{Extraction, SeedMap};
use crate::golden::GoldenError;
use crate::image::{Image, SizeError};
use crate::label_image::LabelImage;
use crate::manifest::{Manifest, OutputChannel};
use crate::objects::area_weighted_median_diameter;
use crate::preprocess::{Planes, scaled_side};
use crate::scale::{Limited, ScaleRule, same_scale};
use crate::tile::{Blend, TilePlan};
use crate::units::Scale;
use crate::watershed::Watershed;

/// A network that maps tiles to probabilities, whatever runs it.
pub trait Network {
    /// Why it did not.
    type Error;

    /// Runs `n` tiles: `tiles_nchw` is `[n, 3, tile, tile]` of 0 to 1, the result
    /// `[n, channels, tile, tile]` of 0 to 1, which takes the place of what `maps_nchw` held.
    ///
    /// # Errors
    /// Whatever keeps the network from running.
    fn run(&mut self, tiles_nchw: &[f32], n: usize, maps_nchw: &mut Vec<f32>) -> Result<(), Self::Error>;
}

/// At which scale the network sees a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScaleChoice {
    /// The one that the picture itself suggests: a first pass as it is, a second one where needed.
    PerPicture,
    /// This one.
    Fixed(Scale),
}

/// The part of the work that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Stretching, resizing and cutting tiles.
    Preprocess,
    /// The network.
    Network,
    /// Blending, thresholds, watershed.
    Extraction,
    /// Nothing any more.
    Done,
}

/// What was found in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmentation {
    /// The nuclei, consecutive labels, of the picture's own size.
    pub labels: LabelImage,
    /// How many there are.
    pub count: u32,
    /// The scale that they were found at.
    pub scale: Scale,
    /// The scale that suits them best, where the model's rule tells one.
    pub suggested_scale: Option<Scale>,
    /// Whether the model's limits cut that scale.
    pub limited: Limited,
    /// Area-weighted median equivalent diameter, px.
    pub median_diameter_px: Option<f32>,
    /// How sure the network is, 0 to 1, where it found anything: see [`soft_dice_confidence`].
    pub confidence: Option<f32>,
}

/// Why a picture was not segmented.
#[derive(Debug, Error)]
pub enum SegmentError<E> {
    /// The network did not run.
    #[error("the network did not run")]
    Network(#[source] E),
    /// The network gave another number of values than its manifest says.
    #[error("the network gave {actual} values for {tiles} tiles, its manifest promises {expected}")]
    OutputLength {
        /// Tiles given.
        tiles: usize,
        /// Values promised.
        expected: usize,
        /// Values that came.
        actual: usize,
    },
    /// The picture at the network's scale is over the limits.
    #[error("the picture is too large at the scale that its nuclei ask for")]
    Size(#[from] SizeError),
    /// The golden frame gave other labels.
    #[error(transparent)]
    Golden(#[from] GoldenError),
}

/// Passes after the first at most: nuclei far from the size that the network knows are sized wrongly at first.
const MORE_PASSES: usize = 2;
/// Tiles given to the network at once: bounds memory, and leaves work for several threads.
const BATCH: usize = 8;

/// A network with the settings of its manifest. What it takes of memory for a picture it keeps for the next one.
#[derive(Debug)]
pub struct Segmenter<N> {
    network: N,
    manifest: Manifest,
    buffers: Buffers,
}

/// Memory kept from picture to picture.
#[derive(Debug, Default)]
struct Buffers {
    picture_chw: Vec<f32>,
    tiles_nchw: Vec<f32>,
    maps_nchw: Vec<f32>,
    blend: Option<Blend>,
    watershed: Watershed,
}

impl<N: Network> Segmenter<N> {
    /// A segmenter from a network and what its file says about it.
    pub fn new(network: N, manifest: Manifest) -> Self {
        Self { network, manifest, buffers: Buffers::default() }
    }

    /// The settings.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The settings, to tune.
    pub const fn manifest_mut(&mut self) -> &mut Manifest {
        &mut self.manifest
    }

    /// Finds the nuclei of a picture.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn segment(
        &mut self,
        image: &Image,
        choice: ScaleChoice,
    ) -> Result<Segmentation, SegmentError<N::Error>> {
        self.segment_observed(image, choice, &mut |_| ())
    }

    /// As [`Segmenter::segment`], telling `observe` which stage begins, so that a caller with a clock
    /// can time them.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn segment_observed(
        &mut self,
        image: &Image,
        choice: ScaleChoice,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Segmentation, SegmentError<N::Error>> {
        let first_scale = match choice {
            ScaleChoice::PerPicture => Scale::ONE,
            ScaleChoice::Fixed(scale) => scale,
        };
        let mut result = self.pass(image, first_scale, observe)?;
        for _ in 0..MORE_PASSES {
            match result.suggested_scale {
                Some(suggested)
                    if choice == ScaleChoice::PerPicture && !same_scale(suggested, result.scale) =>
                {
                    result = self.pass(image, suggested, observe)?;
                }
                _ => break,
            }
        }
        observe(Stage::Done);
        Ok(result)
    }

    /// Extracts in another way from now on, as the search for the best one does.
    pub const fn set_extraction(&mut self, extraction: Extraction) {
        self.manifest.extraction = extraction;
    }

    fn pass(
        &mut self,
        image: &Image,
        scale: Scale,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Segmentation, SegmentError<N::Error>> {
        let mut blend = self.blended(image, scale, observe)?;
        observe(Stage::Extraction);
        let maps = blend.finish();
        let confidence = soft_dice_confidence(maps.plane(self.nucleus_channel()));
        let labels = self.extract(image, scale, maps)?;
        self.buffers.blend = Some(blend);
        let areas = labels.areas();
        let median_diameter_px = area_weighted_median_diameter(&areas[1..]);
        let suggestion = self.manifest.input.scale.suggest(median_diameter_px);
        Ok(Segmentation {
            labels,
            count: areas.len() as u32 - 1,
            scale,
            suggested_scale: suggestion.map(|(scale, _)| scale),
            limited: suggestion.map_or(Limited::No, |(_, limited)| limited),
            median_diameter_px,
            // A model whose own threshold is lower may find what is no more than half likely anywhere.
            confidence: confidence.or((areas.len() > 1).then_some(0.0)),
        })
    }

    /// The network's maps of a picture resized by `scale`, `[channels, scaled height, scaled width]`.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn probabilities(
        &mut self,
        image: &Image,
        scale: Scale,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Planes, SegmentError<N::Error>> {
        let mut blend = self.blended(image, scale, observe)?;
        blend.finish();
        Ok(blend.into_planes())
    }

    /// The same, before it is finished.
    fn blended(
        &mut self,
        image: &Image,
        scale: Scale,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Blend, SegmentError<N::Error>> {
        observe(Stage::Preprocess);
        let input = self.manifest.input;
        let (tile, channels) = (input.tile as usize, self.manifest.outputs.len());
        let (width, height) = match input.scale {
            ScaleRule::Fit => (tile, tile),
            ScaleRule::Native | ScaleRule::Nucleus { .. } => {
                (scaled_side(image.width(), scale), scaled_side(image.height(), scale))
            }
        };
        crate::image::checked_pixels(width as u32, height as u32)?;
        let Buffers { picture_chw, tiles_nchw, maps_nchw, blend, .. } = &mut self.buffers;
        let mut picture = Planes::from_image_within(image, input.scaling, take(picture_chw));
        if (picture.width(), picture.height()) != (width, height) {
            picture = picture.resized(width, height);
        }
        let plan = TilePlan::new(width, height, tile, input.overlap as usize);
        // A canvas of another size goes before there is a new one.
        let kept = blend.take().filter(|blend| blend.fits(&plan, channels, width, height));
        let mut blend = kept.unwrap_or_else(|| Blend::new(plan.clone(), channels, width, height));
        let area = tile * tile;
        for first in (0..plan.len()).step_by(BATCH) {
            observe(Stage::Preprocess);
            let tiles = BATCH.min(plan.len() - first);
            tiles_nchw.resize(3 * area * tiles, 0.0);
            for (index, tile_chw) in (first..).zip(tiles_nchw.chunks_exact_mut(3 * area)) {
                plan.cut(&picture, index, tile_chw);
            }
            observe(Stage::Network);
            self.network.run(tiles_nchw, tiles, maps_nchw).map_err(SegmentError::Network)?;
            let (expected, actual) = (channels * area * tiles, maps_nchw.len());
            if actual != expected {
                return Err(SegmentError::OutputLength { tiles, expected, actual });
            }
            observe(Stage::Extraction);
            maps_nchw.chunks_exact(channels * area).for_each(|maps_chw| blend.add(maps_chw));
        }
        *picture_chw = picture.into_values();
        Ok(blend)
    }

    /// The labels of a picture from its maps at `scale`. Maps smaller than the picture are enlarged
    /// first; labels from larger maps are sampled at the picture's pixels.
    ///
    /// # Errors
    /// [`SegmentError::Size`] when the picture is over the limits.
    pub fn extract(
        &mut self,
        image: &Image,
        scale: Scale,
        maps: &Planes,
    ) -> Result<LabelImage, SegmentError<N::Error>> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let smaller = maps.width() * maps.height() < width * height;
        let enlarged = if smaller { Some(maps.resized(width, height)) } else { None };
        let at = enlarged.as_ref().unwrap_or(maps);
        let nucleus = self.nucleus_channel();
        let plane = |channel| self.manifest.channel(channel).map(|index| at.plane(index));
        let extraction = self.manifest.extraction;
        let seed_map = extraction.seed_map(plane(OutputChannel::Interior), plane(OutputChannel::Distance));
        let seed_map = seed_map.unwrap_or_else(|| SeedMap::One(at.plane(nucleus)));
        let area_factor = match (self.manifest.input.scale, smaller) {
            (ScaleRule::Fit, true) => (width * height) as f32 / (maps.width() * maps.height()) as f32,
            (ScaleRule::Native | ScaleRule::Nucleus { .. }, true) => 1.0 / (scale.get() * scale.get()),
            (_, false) => 1.0,
        };
        let watershed = &mut self.buffers.watershed;
        let found_hw = extraction.labels(at.plane(nucleus), seed_map, at.width(), area_factor, watershed);
        let found = (at.width(), at.height());
        if found == (width, height) {
            return Ok(LabelImage::new(image.width(), image.height(), found_hw)?);
        }
        let sampled_hw = sample_nearest(&found_hw, found, (width, height));
        let mut labels = LabelImage::new(image.width(), image.height(), sampled_hw)?;
        labels.make_consecutive();
        Ok(labels)
    }

    fn nucleus_channel(&self) -> usize {
        self.manifest.channel(OutputChannel::Nucleus).unwrap_or(0)
    }

    /// Runs the golden frame and compares its labels with those expected.
    ///
    /// # Errors
    /// [`SegmentError::Golden`] on a mismatch, the others when it does not run.
    pub fn check_golden(&mut self) -> Result<(), SegmentError<N::Error>> {
        let golden = self.manifest.golden.clone();
        let found = self.segment(golden.picture(), ScaleChoice::Fixed(Scale::ONE))?;
        Ok(golden.check(&found.labels)?)
    }
}

/// Labels at the centres of the target's pixels.
fn sample_nearest(labels_hw: &[u32], from: (usize, usize), to: (usize, usize)) -> Vec<u32> {
    let nearest = |index: usize, from: usize, to: usize| (2 * index + 1) * from / (2 * to);
    let columns: Vec<usize> = (0..to.0).map(|x| nearest(x, from.0, to.0)).collect();
    let mut sampled = Vec::with_capacity(to.0 * to.1);
    for y in 0..to.1 {
        let row = &labels_hw[nearest(y, from.1, to.1) * from.0..];
        sampled.extend(columns.iter().map(|&x| row[x]));
    }
    sampled
}

#[cfg(test)]
mod tests;
