use burn::backend::{Autodiff, Flex};
use host_modelling::{BadTruth, ImageType};
use shared::{Channels, Image, LabelImage, Scaling};
use training_kernels::Precision;

use super::*;
use crate::sampler::SampledPicture;
use crate::{
    Augmentation, ColourAugmentation, Encoder, Focus, Recipe, SampleBy, Schedule, Skips, SplitBy, Stem,
    Switch, UnetConfig,
};
use host_crops::TrainingPicture;

fn config() -> TrainConfig {
    TrainConfig {
        data: "squares".into(),
        data_digest: "none".into(),
        more_data: Vec::new(),
        bad_truth: BadTruth::Refuse,
        recipe: Recipe::Nuclei,
        encoder_weights: None,
        from: None,
        unet: UnetConfig {
            encoder: Encoder::Plain,
            width: 4,
            depth: 2,
            stem: Stem::Half,
            skips: Skips::Add,
            decoder_convolutions: 1,
            outputs: 3,
        },
        epochs: 3,
        epoch_crops: 8,
        batch: 2,
        crop: 32,
        learning_rate: 1e-2,
        schedule: Schedule::Cosine,
        averaging: 0.9,
        seed: 9,
        validation_share: 0.0,
        split_by: SplitBy::Photograph,
        held_back: Vec::new(),
        sample_by: SampleBy::Photograph,
        scaling: Scaling::STRETCH,
        validate_every: 1,
        augmentation: Augmentation {
            geometry: Switch::On,
            min_nucleus_px: 10.0,
            max_nucleus_px: 14.0,
            focus: Focus { share: 0.5, nucleus_px: 12.0, spread: 0.1 },
            on_nuclei: 0.9,
            elastic: 0.5,
            touching: 0.5,
            colour: ColourAugmentation::DEFAULT,
        },
        nucleus_px: 12.0,
        precision: Precision::F32,
    }
}

/// Bright squares of 12 pixels, one in each square of 20.
fn squares() -> Sampler {
    let label = |i: u32| {
        let (x, y) = (i % 80, i / 80);
        if x % 20 < 12 && y % 20 < 12 { 1 + x / 20 + y / 20 * 4 } else { 0 }
    };
    let labels = LabelImage::new(80, 80, (0..6400).map(label).collect()).unwrap();
    let samples = labels.labels_hw().iter().map(|&label| if label == 0 { 20 } else { 180 }).collect();
    let image = Image::new(80, 80, Channels::Grey, samples).unwrap();
    let picture = TrainingPicture::new(&image, labels, Scaling::STRETCH);
    let sampled = SampledPicture { image_type: ImageType::Fluorescence, photograph: 0, picture };
    Sampler::new(vec![sampled], SampleBy::Photograph)
}

fn run(folder: &RunFolder, sampler: &Sampler, stop: &AtomicBool) -> Outcome {
    let config = config();
    let session = Session {
        config: &config,
        folder,
        sampler,
        validation: &[],
        threads: NonZeroUsize::MIN,
        stop,
        limits: Limits::default(),
    };
    session.run::<Autodiff<Flex>>(&Default::default(), NonZeroUsize::MIN).unwrap()
}

fn finished(outcome: Outcome) -> Graph {
    match outcome {
        Outcome::Finished(graph) => graph,
        Outcome::Interrupted { steps } => panic!("interrupted after {steps} steps"),
    }
}

#[test]
fn a_resumed_run_ends_with_the_weights_of_the_uninterrupted_one() {
    let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (whole, broken) = (RunFolder::new(whole.path()), RunFolder::new(broken.path()));
    let sampler = squares();
    let (go, stop) = (AtomicBool::new(false), AtomicBool::new(true));
    let expected = finished(run(&whole, &sampler, &go));
    // Five stops: each within or at the end of an epoch of four steps.
    for steps in 1..=5 {
        match run(&broken, &sampler, &stop) {
            Outcome::Interrupted { steps: done } => assert_eq!(done, steps),
            Outcome::Finished(_) => panic!("not interrupted"),
        }
    }
    assert_eq!(finished(run(&broken, &sampler, &go)), expected);
    let losses = |folder: &RunFolder| -> Vec<f64> {
        folder.load_epochs().unwrap().iter().map(|epoch| epoch.loss).collect()
    };
    assert_eq!(losses(&whole), losses(&broken));
    assert_eq!(losses(&whole).len(), 3);
}

#[test]
fn the_loss_falls() {
    let folder = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(folder.path());
    run(&folder, &squares(), &AtomicBool::new(false));
    let epochs = folder.load_epochs().unwrap();
    assert!(epochs[2].loss < epochs[0].loss, "{epochs:?}");
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(place.path());
    let sampler = squares();
    run(&folder, &sampler, &AtomicBool::new(true));
    let mut bytes = std::fs::read(folder.checkpoint()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(folder.checkpoint(), bytes).unwrap();
    let config = config();
    let stop = AtomicBool::new(false);
    let session = Session {
        config: &config,
        folder: &folder,
        sampler: &sampler,
        validation: &[],
        threads: NonZeroUsize::MIN,
        stop: &stop,
        limits: Limits::default(),
    };
    let failure = session.run::<Autodiff<Flex>>(&Default::default(), NonZeroUsize::MIN).unwrap_err();
    assert!(failure.to_string().contains("last.checkpoint is damaged"), "{failure}");
}
