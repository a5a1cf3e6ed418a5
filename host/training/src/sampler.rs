//! Samples images for crops, and prepares batches of crops ahead of the network.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use host_modelling::ImageType;
use rand::Rng as _;

use super::config::{SampleBy, TrainConfig};
use super::recipe::Recipe;
use host_crops::{Crop, TrainingPicture, crop_rng, cut, whole};

/// A picture to train on.
#[derive(Debug)]
pub struct SampledPicture {
    /// What kind of picture it is.
    pub image_type: ImageType,
    /// The photograph that it is a part of.
    pub photograph: usize,
    /// The picture.
    pub picture: TrainingPicture,
}

/// The pictures trained on.
#[derive(Debug)]
pub struct Sampler {
    pictures: Vec<TrainingPicture>,
    /// Running sum of the shares of pictures alike, each with its photographs, those with their pictures.
    alike: Vec<(f64, Vec<Vec<usize>>)>,
}

/// The share of a type's crops, with those types that are drawn together.
const fn share_of(image_type: ImageType) -> (u8, f64) {
    match image_type {
        ImageType::Fluorescence => (0, 0.60),
        ImageType::PurpleSaturated | ImageType::PurpleOnPale => (1, 0.32),
        ImageType::GreyBrightfield => (2, 0.08),
    }
}

impl Sampler {
    /// A sampler of some pictures, at least one.
    pub fn new(pictures: Vec<SampledPicture>, by: SampleBy) -> Self {
        let mut styles: BTreeMap<_, (f64, BTreeMap<usize, Vec<usize>>)> = BTreeMap::new();
        for (index, SampledPicture { image_type, photograph, picture }) in pictures.iter().enumerate() {
            let (style, share, photograph) = match by {
                SampleBy::Type => ((*image_type as u8, None), 1.0, index),
                SampleBy::Photograph => {
                    let (class, share) = share_of(*image_type);
                    ((class, Some((*image_type, picture.size()))), share, *photograph)
                }
            };
            let (_, photographs) = styles.entry(style).or_insert_with(|| (share, BTreeMap::new()));
            photographs.entry(photograph).or_default().push(index);
        }
        let root = |photographs: &BTreeMap<usize, Vec<usize>>| (photographs.len() as f64).sqrt();
        let mut of_class: BTreeMap<u8, f64> = BTreeMap::new();
        for ((class, _), (_, photographs)) in &styles {
            *of_class.entry(*class).or_default() += root(photographs);
        }
        let mut sum = 0.0;
        let alike = styles
            .into_iter()
            .map(|((class, _), (share, photographs))| {
                sum += match by {
                    SampleBy::Type => root(&photographs),
                    SampleBy::Photograph => share * root(&photographs) / of_class[&class],
                };
                (sum, photographs.into_values().collect())
            })
            .collect();
        Self { pictures: pictures.into_iter().map(|sampled| sampled.picture).collect(), alike }
    }

    /// Crop `index` of the run.
    pub fn crop(&self, config: &TrainConfig, index: u64) -> Crop {
        let mut rng = crop_rng(config.seed, index);
        let total = self.alike.last().map_or(0.0, |&(sum, _)| sum);
        let at = rng.random_range(0.0..total);
        let found = self.alike.partition_point(|&(sum, _)| sum <= at).min(self.alike.len() - 1);
        let photographs = &self.alike[found].1;
        let members = &photographs[rng.random_range(0..photographs.len())];
        let member = if members.len() == 1 { 0 } else { rng.random_range(0..members.len()) };
        let picture = &self.pictures[members[member]];
        match config.recipe {
            Recipe::Nuclei => cut(picture, config.crop, &config.augmentation, &mut rng),
            Recipe::Tutorial => whole(picture, config.crop),
        }
    }
}

/// Several crops, stacked.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[n, 3, side, side]`.
    pub image_nchw: Vec<f32>,
    /// `[n, outputs, side, side]`.
    pub targets_nchw: Vec<f32>,
    /// `[n, outputs, side, side]`.
    pub weight_nchw: Vec<f32>,
}

impl Batch {
    /// That of a step.
    pub(super) fn of_step(sampler: &Sampler, config: &TrainConfig, step: u64) -> Self {
        let mut batch = Self { image_nchw: Vec::new(), targets_nchw: Vec::new(), weight_nchw: Vec::new() };
        let first = step * config.batch as u64;
        for index in first..first + config.batch as u64 {
            let crop = sampler.crop(config, index);
            batch.image_nchw.extend(crop.image_chw);
            batch.targets_nchw.extend(crop.targets_chw);
            batch.weight_nchw.extend(crop.weight_chw);
        }
        batch
    }
}

/// Capacity of the batch queue, or one per thread.
const AHEAD: usize = 3;

/// The batches of `from..to` in order, made in `makers` threads of `scope`, each of which takes its turn. They end
/// when the iterator is dropped.
pub fn batches<'scope>(
    scope: &'scope Scope<'scope, '_>,
    sampler: &'scope Sampler,
    config: &'scope TrainConfig,
    from: u64,
    to: u64,
    makers: NonZeroUsize,
) -> impl Iterator<Item = Batch> + use<> {
    let receivers: Vec<Receiver<Batch>> = (0..makers.get())
        .map(|maker| {
            let (sender, receiver) = sync_channel(AHEAD.div_ceil(makers.get()));
            scope.spawn(move || {
                for step in (from..to).skip(maker).step_by(makers.get()) {
                    if sender.send(Batch::of_step(sampler, config, step)).is_err() {
                        break;
                    }
                }
            });
            receiver
        })
        .collect();
    (from..to).zip((0..makers.get()).cycle()).map_while(move |(_, maker)| receivers[maker].recv().ok())
}

#[cfg(test)]
mod tests {
    use shared::{Channels, Image, LabelImage, Scaling};

    use super::*;

    #[test]
    fn shares_go_by_class_and_photograph() {
        let picture = |image_type, photograph, side: u32| {
            let image = Image::black(side, side, Channels::Grey).unwrap();
            let labels = LabelImage::background(side, side).unwrap();
            SampledPicture {
                image_type,
                photograph,
                picture: TrainingPicture::new(&image, labels, Scaling::STRETCH),
            }
        };
        // Four quarters of a photograph and one of another of their size, four photographs of another size, one stain.
        let fluorescence = ImageType::Fluorescence;
        let small = [0, 0, 0, 0, 1].map(|photograph| picture(fluorescence, photograph, 32));
        let large = [2, 3, 4, 5].map(|photograph| picture(fluorescence, photograph, 48));
        let stained = [picture(ImageType::PurpleSaturated, 6, 32)];
        let sampler =
            Sampler::new(small.into_iter().chain(large).chain(stained).collect(), SampleBy::Photograph);
        let sums: Vec<f64> = sampler.alike.iter().map(|&(sum, _)| sum).collect();
        let small_share = 0.6 * 2.0_f64.sqrt() / (2.0 + 2.0_f64.sqrt());
        for (found, expected) in sums.iter().zip([small_share, 0.6, 0.92]) {
            assert!((found - expected).abs() < 1e-9, "{sums:?}");
        }
        assert_eq!(sampler.alike[0].1, [vec![0, 1, 2, 3], vec![4]]);
    }
}
