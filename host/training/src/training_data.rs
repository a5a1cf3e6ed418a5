//! A data set prepared for a run: read once, classified by type, and split.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use host_console::Failure;
use host_modelling::{BadTruth, Dataset, ImageType, LabelledSample, photographs};

use super::config::TrainConfig;
use super::sampler::{SampledPicture, Sampler};
use super::split::{Split, SplitBy, SplitPicture, stratified_split};
use super::validation::ValidationPicture;
use host_crops::TrainingPicture;

/// The images of a run.
#[derive(Debug)]
pub struct TrainingData {
    /// To train on.
    pub sampler: Sampler,
    /// To validate on.
    pub validation: Vec<ValidationPicture>,
    /// Number of training images.
    pub training_count: usize,
}

/// The pictures of a data set, with what a split goes by.
#[derive(Debug)]
pub struct TypedSamples {
    /// The pictures and their truth.
    pub samples: Vec<LabelledSample>,
    /// Of each its type and photograph.
    pub pictures: Vec<SplitPicture<ImageType>>,
}

impl TypedSamples {
    /// Reads every picture with its truth.
    ///
    /// # Errors
    /// [`Failure`] that names the pictures that cannot be used, unless `bad` says to leave them out.
    pub fn load(datasets: &[&Dataset], bad: BadTruth, threads: NonZeroUsize) -> Result<Self, Failure> {
        let mut samples = Vec::new();
        for dataset in datasets {
            samples.extend(dataset.load_all(bad, threads)?);
        }
        let images: Vec<_> = samples.iter().map(|sample| &sample.image).collect();
        let pictures = images
            .iter()
            .zip(photographs(&images))
            .map(|(image, photograph)| SplitPicture { kind: ImageType::of(image), photograph })
            .collect();
        Ok(Self { samples, pictures })
    }

    /// Holds back `share` of the pictures of each type.
    pub fn split(&self, by: SplitBy, share: f64, seed: u64) -> Split {
        let alone = |(photograph, picture): (usize, &SplitPicture<ImageType>)| match by {
            SplitBy::Picture => SplitPicture { photograph, ..*picture },
            SplitBy::Photograph => *picture,
        };
        stratified_split(&self.pictures.iter().enumerate().map(alone).collect::<Vec<_>>(), share, seed)
    }

    /// The pictures named, each with its photograph.
    ///
    /// # Errors
    /// [`Failure`] when there is no picture of a name.
    pub fn named(self, names: &[String]) -> Result<(Vec<ValidationPicture>, Vec<usize>), Failure> {
        let split = self.without(names)?;
        let photographs = split.validation.iter().map(|&at| self.pictures[at].photograph).collect();
        Ok((self.into_validation(&split.validation), photographs))
    }

    /// All pictures, each with its photograph.
    pub fn all(self) -> (Vec<ValidationPicture>, Vec<usize>) {
        let all: Vec<usize> = (0..self.samples.len()).collect();
        let photographs = self.pictures.iter().map(|picture| picture.photograph).collect();
        (self.into_validation(&all), photographs)
    }

    fn into_validation(self, indices: &[usize]) -> Vec<ValidationPicture> {
        let wanted: HashSet<usize> = indices.iter().copied().collect();
        self.samples
            .into_iter()
            .zip(self.pictures)
            .enumerate()
            .filter(|(at, _)| wanted.contains(at))
            .map(|(_, (LabelledSample { name, image, labels, .. }, SplitPicture { kind, .. }))| {
                ValidationPicture { name, image_type: kind, image, labels }
            })
            .collect()
    }

    /// Holds back the pictures named, and uses no other one of their photographs.
    fn without(&self, names: &[String]) -> Result<Split, Failure> {
        let names: HashSet<&str> = names.iter().map(String::as_str).collect();
        let held = |index: &usize| names.contains(self.samples[*index].name.as_str());
        let (validation, others): (Vec<usize>, Vec<usize>) = (0..self.samples.len()).partition(held);
        if validation.len() < names.len() {
            let found: HashSet<&str> = validation.iter().map(|&at| self.samples[at].name.as_str()).collect();
            let missing = names.iter().find(|name| !found.contains(*name)).copied().unwrap_or_default();
            let problem =
                format!("the data has no picture of the name {missing:?}, which shall be held back");
            return Err(Failure::usage(problem, "mend the list of names"));
        }
        let photographs: HashSet<usize> = validation.iter().map(|&at| self.pictures[at].photograph).collect();
        let apart = |index: &usize| !photographs.contains(&self.pictures[*index].photograph);
        Ok(Split { training: others.into_iter().filter(apart).collect(), validation })
    }
}

impl TrainConfig {
    /// The images of the run, split as it splits them.
    ///
    /// # Errors
    /// [`Failure`] that names the pictures that cannot be used, unless the run leaves them out.
    pub fn training_data(&self, dataset: &Dataset, threads: NonZeroUsize) -> Result<TrainingData, Failure> {
        let more = self.open_more_data()?;
        let datasets: Vec<&Dataset> = [dataset].into_iter().chain(&more).collect();
        let typed = TypedSamples::load(&datasets, self.bad_truth, threads)?;
        let split = if self.held_back.is_empty() {
            typed.split(self.split_by, self.validation_share, self.seed)
        } else {
            typed.without(&self.held_back)?
        };
        TrainingData::new(typed, &split, self)
    }
}

impl TrainingData {
    fn new(typed: TypedSamples, split: &Split, config: &TrainConfig) -> Result<Self, Failure> {
        let TypedSamples { samples, pictures } = typed;
        let mut samples: Vec<Option<LabelledSample>> = samples.into_iter().map(Some).collect();
        let mut take = |index: usize| {
            let SplitPicture { kind, photograph } = pictures[index];
            Some((kind, photograph, samples[index].take()?))
        };
        let training: Vec<SampledPicture> = split
            .training
            .iter()
            .filter_map(|&index| {
                let (image_type, photograph, LabelledSample { image, labels, .. }) = take(index)?;
                let picture = TrainingPicture::new(&image, labels, config.scaling);
                Some(SampledPicture { image_type, photograph, picture })
            })
            .collect();
        let validation = split
            .validation
            .iter()
            .filter_map(|&index| {
                let (image_type, _, LabelledSample { name, image, labels, .. }) = take(index)?;
                Some(ValidationPicture { name, image_type, image, labels })
            })
            .collect();
        if training.is_empty() {
            return Err(Failure::failed(
                "the data set contains no image to train on",
                "add images with masks",
            ));
        }
        Ok(Self {
            training_count: training.len(),
            sampler: Sampler::new(training, config.sample_by),
            validation,
        })
    }
}
