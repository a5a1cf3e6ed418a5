//! The segmenter, from an image to labels: the same code for validation, scoring and the station.

use alloc::vec::Vec;
use core::mem::take;
use thiserror::Error;

use crate::extraction::ExtractionParams;
use crate::extractor::{Extractor, ProbabilityMaps, Segmentation};
use crate::golden::GoldenError;
use crate::image::{Image, SizeError};
use crate::label_image::LabelImage;
use crate::manifest::Manifest;
use crate::parallel::ParallelFor;
use crate::preprocess::{Planes, scaled_side};
use crate::scale::{ScaleRule, same_scale};
use crate::tile::{TileBlender, TilePlan};
use crate::units::Scale;

/// A network that maps tiles to probabilities, with the threads for the work around it.
pub trait Network: ParallelFor {
    /// Why it did not.
    type Error;

    /// Runs `n` tiles: `cut` puts the tile of an index under `n`, `[3, tile, tile]` of 0 to 1, where the network
    /// reads it. The result, `[n, channels, tile, tile]` of 0 to 1, takes the place of what `maps_nchw` held.
    ///
    /// # Errors
    /// Whatever keeps the network from running.
    fn run(
        &mut self,
        n: usize,
        cut: impl Fn(usize, &mut [f32]) + Sync,
        maps_nchw: &mut Vec<f32>,
    ) -> Result<(), Self::Error>;
}

/// The scale of the network's input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScaleChoice {
    /// Estimated from the image: a first pass at original scale, and a second one if necessary.
    PerPicture,
    /// This one.
    Fixed(Scale),
}

/// The part of the work that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Stretching and resizing.
    Preprocess,
    /// Cutting tiles where the network reads them, and the network.
    Network,
    /// Blending, thresholds, watershed.
    Extraction,
    /// Nothing any more.
    Done,
}

/// Why an image was not segmented.
#[derive(Debug, Error)]
pub enum SegmentError<E> {
    /// The network did not run.
    #[error("the network did not run")]
    Network(#[source] E),
    /// The network returned another number of values than its manifest specifies.
    #[error("the network returned {actual} values for {tiles} tiles, but its manifest specifies {expected}")]
    OutputLength {
        /// Tiles given.
        tiles: usize,
        /// Values promised.
        expected: usize,
        /// Values that came.
        actual: usize,
    },
    /// The image at the network's scale exceeds the limits.
    #[error("the image is too large at the scale required by its nuclei")]
    Size(#[from] SizeError),
    /// The golden frame produced other labels.
    #[error(transparent)]
    Golden(#[from] GoldenError),
}

/// Maximum passes after the first: nuclei of unusual size are measured inaccurately at first.
const MORE_PASSES: usize = 2;
/// Tiles per batch: bounds memory, and leaves work for several threads.
const BATCH: usize = 8;

/// A network with the settings of its manifest. It reuses its memory from image to image.
#[derive(Debug)]
pub struct Segmenter<N> {
    network: N,
    extractor: Extractor,
    buffers: Buffers,
}

/// Memory reused from image to image.
#[derive(Debug, Default)]
struct Buffers {
    picture_chw: Vec<f32>,
    maps_nchw: Vec<f32>,
    canvas: Option<TileBlender>,
}

impl<N: Network> Segmenter<N> {
    /// A segmenter from a network and what its file says about it.
    pub fn new(network: N, manifest: Manifest) -> Self {
        Self { network, extractor: Extractor::new(manifest), buffers: Buffers::default() }
    }

    /// The settings.
    pub const fn manifest(&self) -> &Manifest {
        self.extractor.manifest()
    }

    /// The settings, to tune.
    pub const fn manifest_mut(&mut self) -> &mut Manifest {
        self.extractor.manifest_mut()
    }

    /// Segments an image.
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

    /// As [`Segmenter::segment`], calling `observe` when a stage begins, so that the caller can time the stages.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn segment_observed(
        &mut self,
        image: &Image,
        choice: ScaleChoice,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Segmentation, SegmentError<N::Error>> {
        let (result, maps) = self.segment_with_maps(image, choice, observe)?;
        self.recycle(maps);
        observe(Stage::Done);
        Ok(result)
    }

    /// As [`Segmenter::segment_observed`], with the maps of the last pass.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn segment_with_maps(
        &mut self,
        image: &Image,
        choice: ScaleChoice,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<(Segmentation, ProbabilityMaps), SegmentError<N::Error>> {
        let first_scale = match choice {
            ScaleChoice::PerPicture => Scale::ONE,
            ScaleChoice::Fixed(scale) => scale,
        };
        let mut pass = self.pass(image, first_scale, observe)?;
        for _ in 0..MORE_PASSES {
            let (result, maps) = pass;
            match result.suggested_scale {
                Some(suggested)
                    if choice == ScaleChoice::PerPicture && !same_scale(suggested, result.scale) =>
                {
                    self.recycle(maps);
                    pass = self.pass(image, suggested, observe)?;
                }
                _ => return Ok((result, maps)),
            }
        }
        Ok(pass)
    }

    /// Changes the extraction parameters, as tuning does.
    pub const fn set_extraction(&mut self, extraction: ExtractionParams) {
        self.manifest_mut().extraction = extraction;
    }

    fn pass(
        &mut self,
        image: &Image,
        scale: Scale,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<(Segmentation, ProbabilityMaps), SegmentError<N::Error>> {
        let maps = self.maps(image, scale, observe)?;
        observe(Stage::Extraction);
        let found = self.extractor.segmentation(image, &maps)?;
        Ok((found, maps))
    }

    /// Recycles the buffers of used maps.
    pub fn recycle(&mut self, maps: ProbabilityMaps) {
        self.buffers.canvas = Some(maps.into_canvas());
    }

    /// The network's maps of an image resized by `scale`, `[channels, scaled height, scaled width]`.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn probabilities(
        &mut self,
        image: &Image,
        scale: Scale,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Planes, SegmentError<N::Error>> {
        Ok(self.maps(image, scale, observe)?.into_planes())
    }

    /// The same, for an [`Extractor`] of this model.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn maps(
        &mut self,
        image: &Image,
        scale: Scale,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<ProbabilityMaps, SegmentError<N::Error>> {
        observe(Stage::Preprocess);
        let Self { network, extractor, buffers } = self;
        let input = extractor.manifest().input;
        let (tile, channels) = (input.tile as usize, extractor.manifest().outputs.len());
        let (width, height) = match input.scale {
            ScaleRule::Fit => (tile, tile),
            ScaleRule::Native | ScaleRule::Nucleus { .. } => {
                (scaled_side(image.width(), scale), scaled_side(image.height(), scale))
            }
        };
        crate::image::checked_pixels(width as u32, height as u32)?;
        let Buffers { picture_chw, maps_nchw, canvas } = buffers;
        let mut picture = Planes::from_image_within(image, input.scaling, take(picture_chw), &*network);
        if (picture.width(), picture.height()) != (width, height) {
            picture = picture.resized(width, height);
        }
        let plan = TilePlan::new(width, height, tile, input.overlap as usize);
        // A canvas of another size goes before there is a new one.
        let kept = canvas.take().filter(|canvas| canvas.fits(&plan, channels, width, height));
        let mut canvas = kept.unwrap_or_else(|| TileBlender::new(plan.clone(), channels, width, height));
        let area = tile * tile;
        for first in (0..plan.len()).step_by(BATCH) {
            observe(Stage::Network);
            let tiles = BATCH.min(plan.len() - first);
            let cut = |index: usize, tile_chw: &mut [f32]| plan.cut(&picture, first + index, tile_chw);
            network.run(tiles, cut, maps_nchw).map_err(SegmentError::Network)?;
            let (expected, actual) = (channels * area * tiles, maps_nchw.len());
            if actual != expected {
                return Err(SegmentError::OutputLength { tiles, expected, actual });
            }
            observe(Stage::Extraction);
            canvas.add(maps_nchw, &*network);
        }
        *picture_chw = picture.into_values();
        Ok(ProbabilityMaps::new(canvas, scale))
    }

    /// The labels of an image from its maps at `scale`. Maps smaller than the image are enlarged
    /// first; labels from larger maps are sampled at the image's pixels.
    ///
    /// # Errors
    /// [`SegmentError::Size`] when the image is over the limits.
    pub fn extract(
        &mut self,
        image: &Image,
        scale: Scale,
        maps: &Planes,
    ) -> Result<LabelImage, SegmentError<N::Error>> {
        let (labels, _) = self.extractor.labels_and_areas(image, scale, maps)?;
        Ok(labels)
    }

    /// Runs the golden frame and compares its labels with the expected ones.
    ///
    /// # Errors
    /// [`SegmentError::Golden`] on a mismatch, the others when it does not run.
    pub fn check_golden(&mut self) -> Result<(), SegmentError<N::Error>> {
        let golden = self.manifest().golden.clone();
        let found = self.segment(golden.picture(), ScaleChoice::Fixed(Scale::ONE))?;
        Ok(golden.check(&found.labels)?)
    }
}

#[cfg(test)]
mod tests;
