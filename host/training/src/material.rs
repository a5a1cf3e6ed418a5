//! A data set prepared for a run: read once, classified by type, and split.

use std::num::NonZeroUsize;

use host_console::Failure;
use host_modelling::{BadTruth, Dataset, ImageType, LabelledSample};

use super::config::TrainConfig;
use super::crops::TrainingPicture;
use super::recipe::Recipe;
use super::sampler::Sampler;
use super::split::stratified_split;
use super::validation::ValidationPicture;

/// The images of a run.
#[derive(Debug)]
pub struct Material {
    /// To train on.
    pub sampler: Sampler,
    /// To validate on.
    pub validation: Vec<ValidationPicture>,
    /// Number of training images.
    pub training_count: usize,
}

impl TrainConfig {
    /// The images of the run, split as it splits them.
    ///
    /// # Errors
    /// As [`Material::load`].
    pub fn material(&self, dataset: &Dataset, threads: NonZeroUsize) -> Result<Material, Failure> {
        Material::load(dataset, self.recipe, self.bad_truth, self.validation_share, self.seed, threads)
    }
}

impl Material {
    /// Reads every image with its ground truth and holds back `share` of each image type.
    ///
    /// # Errors
    /// [`Failure`] that names the images that cannot be used, unless `bad` says to leave them out.
    pub fn load(
        dataset: &Dataset,
        recipe: Recipe,
        bad: BadTruth,
        share: f64,
        seed: u64,
        threads: NonZeroUsize,
    ) -> Result<Self, Failure> {
        let samples = dataset.load_all(bad, threads)?;
        let types: Vec<ImageType> = samples.iter().map(|sample| ImageType::of(&sample.image)).collect();
        let split = stratified_split(&types, share, seed);
        let mut samples: Vec<Option<LabelledSample>> = samples.into_iter().map(Some).collect();
        let mut take = |index: usize| {
            let LabelledSample { name, image, labels, .. } = samples[index].take()?;
            Some((types[index], name, image, labels))
        };
        let training: Vec<(ImageType, TrainingPicture)> = split
            .training
            .iter()
            .filter_map(|&index| {
                let (image_type, _, image, labels) = take(index)?;
                Some((image_type, TrainingPicture::new(&image, labels, recipe.scaling())))
            })
            .collect();
        let validation = split
            .validation
            .iter()
            .filter_map(|&index| {
                let (image_type, name, image, labels) = take(index)?;
                Some(ValidationPicture { name, image_type, image, labels })
            })
            .collect();
        if training.is_empty() {
            return Err(Failure::failed(
                "the data set contains no image to train on",
                "add images with masks",
            ));
        }
        Ok(Self { training_count: training.len(), sampler: Sampler::new(training), validation })
    }
}
