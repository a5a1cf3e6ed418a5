//! From the network's maps to nuclei: the post-processing, which can run for one image while the network runs on the
//! next.

use alloc::vec::Vec;

use crate::confidence::soft_dice_confidence;
use crate::extraction::SeedMap;
use crate::image::{Image, SizeError};
use crate::label_image::LabelImage;
use crate::manifest::{Manifest, OutputChannel};
use crate::objects::area_weighted_median_diameter;
use crate::preprocess::Planes;
use crate::scale::{ScaleFit, ScaleRule};
use crate::tile::TileBlender;
use crate::units::Scale;
use crate::watershed::Watershed;

/// The network's maps of an image, `[channels, scaled height, scaled width]`.
#[derive(Debug)]
pub struct ProbabilityMaps {
    canvas: TileBlender,
    scale: Scale,
}

impl ProbabilityMaps {
    pub(crate) const fn new(canvas: TileBlender, scale: Scale) -> Self {
        Self { canvas, scale }
    }

    /// The maps themselves.
    pub const fn planes(&self) -> &Planes {
        self.canvas.planes()
    }

    /// The scale of the network's input.
    pub const fn scale(&self) -> Scale {
        self.scale
    }

    pub(crate) fn into_canvas(self) -> TileBlender {
        self.canvas
    }

    /// The maps themselves, without what blends tiles into them.
    pub fn into_planes(self) -> Planes {
        self.canvas.into_planes()
    }
}

/// The segmentation of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmentation {
    /// The nuclei: consecutive labels, at the image's own size.
    pub labels: LabelImage,
    /// How many there are.
    pub count: u32,
    /// The scale at which they were found.
    pub scale: Scale,
    /// The scale that suits them best, if the model's rule gives one.
    pub suggested_scale: Option<Scale>,
    /// Whether the model's limits cut that scale.
    pub scale_fit: ScaleFit,
    /// Area-weighted median equivalent diameter, px.
    pub median_diameter_px: Option<f32>,
    /// The network's confidence, 0 to 1, if it found anything: see [`soft_dice_confidence`].
    pub confidence: Option<f32>,
}

/// Extracts nuclei from maps. It reuses its memory from image to image.
#[derive(Debug)]
pub struct Extractor {
    manifest: Manifest,
    watershed: Watershed,
}

impl Extractor {
    /// An extractor with the settings of a model.
    pub fn new(manifest: Manifest) -> Self {
        Self { manifest, watershed: Watershed::default() }
    }

    /// The settings.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The settings, to tune.
    pub const fn manifest_mut(&mut self) -> &mut Manifest {
        &mut self.manifest
    }

    /// Extracts the nuclei of an image from its maps.
    ///
    /// # Errors
    /// [`SizeError`] when the picture is over the limits.
    pub fn segmentation(&mut self, image: &Image, maps: &ProbabilityMaps) -> Result<Segmentation, SizeError> {
        let confidence = soft_dice_confidence(maps.planes().plane(self.nucleus_channel()));
        let (labels, areas) = self.labels_and_areas(image, maps.scale(), maps.planes())?;
        let median_diameter_px = area_weighted_median_diameter(&areas[1..]);
        let suggestion = self.manifest.input.scale.suggest(median_diameter_px);
        Ok(Segmentation {
            labels,
            count: areas.len() as u32 - 1,
            scale: maps.scale(),
            suggested_scale: suggestion.map(|(scale, _)| scale),
            scale_fit: suggestion.map_or(ScaleFit::WithinLimits, |(_, scale_fit)| scale_fit),
            median_diameter_px,
            // A model with a lower threshold may find objects with no pixel above one half.
            confidence: confidence.or((areas.len() > 1).then_some(0.0)),
        })
    }

    /// The labels of an image from its maps at `scale`, consecutive, and their areas. Maps smaller than the image
    /// are enlarged first; labels from larger maps are sampled at the image's pixels.
    ///
    /// # Errors
    /// [`SizeError`] when the image is over the limits.
    pub(crate) fn labels_and_areas(
        &mut self,
        image: &Image,
        scale: Scale,
        maps: &Planes,
    ) -> Result<(LabelImage, Vec<u32>), SizeError> {
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
        let watershed = &mut self.watershed;
        let (found_hw, areas) =
            extraction.labels(at.plane(nucleus), seed_map, at.width(), area_factor, watershed);
        let found = (at.width(), at.height());
        if found == (width, height) {
            return Ok((LabelImage::new(image.width(), image.height(), found_hw)?, areas));
        }
        let sampled_hw = sample_nearest(&found_hw, found, (width, height));
        let mut labels = LabelImage::new(image.width(), image.height(), sampled_hw)?;
        labels.make_consecutive();
        let areas = labels.areas();
        Ok((labels, areas))
    }

    fn nucleus_channel(&self) -> usize {
        self.manifest.channel(OutputChannel::Nucleus).unwrap_or(0)
    }
}

/// Labels at the centers of the target's pixels.
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
