//! A data set made ready for a run: read once, typed, split.

use std::num::NonZeroUsize;

use shared::Scaling;

use super::crops::TrainingPicture;
use super::sampler::Sampler;
use super::split::stratified_split;
use super::validation::ValidationPicture;
use crate::dataset::{Dataset, LabelledSample};
use crate::failure::Failure;
use crate::image_type::ImageType;
use crate::progress::Progress;

/// The pictures of a run.
#[derive(Debug)]
pub struct Material {
    /// To train on.
    pub sampler: Sampler,
    /// To validate on.
    pub validation: Vec<ValidationPicture>,
    /// Number of pictures trained on.
    pub training_count: usize,
}

impl Material {
    /// Reads every picture with its truth and holds back `share` of each image type.
    ///
    /// # Errors
    /// [`Failure`] that names the first picture that cannot be trained on.
    pub fn load(dataset: &Dataset, share: f64, seed: u64, threads: NonZeroUsize) -> Result<Self, Failure> {
        let samples = load_all(dataset, threads)?;
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
                Some((image_type, TrainingPicture::new(&image, labels, Scaling::STRETCH)))
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
                "the data set leaves no picture to train on",
                "add pictures with masks",
            ));
        }
        Ok(Self { training_count: training.len(), sampler: Sampler::new(training), validation })
    }
}

fn load_all(dataset: &Dataset, threads: NonZeroUsize) -> Result<Vec<LabelledSample>, Failure> {
    let progress = Progress::new("reading pictures", dataset.len() as u64);
    let share = dataset.len().div_ceil(threads.get()).max(1);
    let load = |first: usize| {
        let last = (first + share).min(dataset.len());
        let load = |index| {
            let sample = dataset.load_with_truth(index)?;
            progress.advance(1);
            Ok(sample)
        };
        (first..last).map(load).collect::<Result<Vec<_>, Failure>>()
    };
    let parts: Vec<Result<Vec<LabelledSample>, Failure>> = std::thread::scope(|scope| {
        let load = &load;
        let workers: Vec<_> =
            (0..dataset.len()).step_by(share).map(|first| scope.spawn(move || load(first))).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut samples = Vec::new();
    for part in parts {
        samples.extend(part?);
    }
    Ok(samples)
}
