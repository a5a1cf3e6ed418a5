//! Samples images for crops, and prepares batches of crops ahead of the network.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use host_modelling::ImageType;
use rand::Rng as _;

use super::config::TrainConfig;
use super::crops::{Crop, TrainingPicture, crop_rng, cut, whole};
use super::recipe::Recipe;

/// The training images, by type.
#[derive(Debug)]
pub struct Sampler {
    pictures: Vec<TrainingPicture>,
    /// Running sum of the types' shares with the images of each.
    types: Vec<(f64, Vec<usize>)>,
}

impl Sampler {
    /// Types are drawn in proportion to the square root of their number of images, so that rare ones are seen often
    /// enough without being memorized; images within a type are drawn uniformly.
    pub fn new(pictures: Vec<(ImageType, TrainingPicture)>) -> Self {
        let mut by_type: BTreeMap<ImageType, Vec<usize>> = BTreeMap::new();
        for (index, (image_type, _)) in pictures.iter().enumerate() {
            by_type.entry(*image_type).or_default().push(index);
        }
        let mut sum = 0.0;
        let types = by_type
            .into_values()
            .map(|indices| {
                sum += (indices.len() as f64).sqrt();
                (sum, indices)
            })
            .collect();
        Self { pictures: pictures.into_iter().map(|(_, picture)| picture).collect(), types }
    }

    /// Crop `index` of the run.
    pub fn crop(&self, config: &TrainConfig, index: u64) -> Crop {
        let mut rng = crop_rng(config.seed, index);
        let total = self.types.last().map_or(0.0, |&(sum, _)| sum);
        let at = rng.random_range(0.0..total);
        let found = self.types.partition_point(|&(sum, _)| sum <= at).min(self.types.len() - 1);
        let indices = &self.types[found].1;
        let picture = &self.pictures[indices[rng.random_range(0..indices.len())]];
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
    pub truth_nchw: Vec<f32>,
    /// `[n, outputs, side, side]`.
    pub weight_nchw: Vec<f32>,
}

impl Batch {
    fn of_step(sampler: &Sampler, config: &TrainConfig, step: u64) -> Self {
        let mut batch = Self { image_nchw: Vec::new(), truth_nchw: Vec::new(), weight_nchw: Vec::new() };
        let first = step * config.batch as u64;
        for index in first..first + config.batch as u64 {
            let crop = sampler.crop(config, index);
            batch.image_nchw.extend(crop.image_chw);
            batch.truth_nchw.extend(crop.truth_chw);
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
