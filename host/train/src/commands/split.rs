//! `nuclei-host split`: writes the held-back images as a data set.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use host_console::{Exit, Failure, output, threads_or_all, write_whole};
use host_modelling::{BadTruth, Dataset};
use host_training::{RunFolder, SplitBy, TrainConfig, TypedSamples};
use serde::Serialize;

use super::train::reopen;

const EXAMPLES: &str = "Examples:
  nuclei-host split --data stage1_train.zip --out validation.zip
  nuclei-host split --run nuclei-run --out validation.zip
  nuclei-host score --truth validation.zip --model nuclei.onnx";

/// Write the images that training holds back for validation, with their masks, to a zip.
///
/// The split depends only on the data set, the seed and the fraction, so the same data set always gives the same
/// images. Score a model on them, or let a station play them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SplitArgs {
    /// Folder or zip of images with masks; with --run, the run's data set if it has moved
    #[arg(long, required_unless_present = "run")]
    data: Option<PathBuf>,
    /// Take data set, seed and fraction from the run in this folder
    #[arg(long, conflicts_with_all = ["seed", "validation"])]
    run: Option<PathBuf>,
    /// Zip file to write
    #[arg(long, value_name = "ZIP")]
    out: PathBuf,
    /// Random seed of the split, as for train
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Fraction of each image type held back, above 0 and below 1, as for train
    #[arg(long, default_value_t = 0.1, value_parser = share)]
    validation: f64,
    /// What stays together in the split, as for train; runs before there was a choice split by picture
    #[arg(long, value_enum, default_value = "photograph", conflicts_with = "run")]
    split_by: SplitBy,
    /// Skip images without usable ground truth, as train does
    #[arg(long, conflicts_with = "run")]
    skip_bad: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Threads for reading [default: one per core]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if 0.0 < value && value < 1.0 => Ok(value),
        _ => Err("expected a number above 0 and below 1".to_owned()),
    }
}

/// How pictures are held back.
#[derive(Debug, Clone, Copy)]
struct Rule {
    bad: BadTruth,
    by: SplitBy,
    share: f64,
    seed: u64,
}

/// The result as JSON.
#[derive(Debug, PartialEq, Serialize)]
struct HeldBack {
    /// Usable images of the data set.
    of: usize,
    seed: u64,
    share: f64,
    /// Held-back images per image type.
    types: BTreeMap<&'static str, usize>,
    /// Their names.
    pictures: Vec<String>,
    /// The photograph of every picture of the data set, by name: those of one number were cut from one.
    photographs: BTreeMap<String, usize>,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &SplitArgs) -> Result<Exit, Failure> {
    let asked = if args.skip_bad { BadTruth::Skip } else { BadTruth::Refuse };
    let (dataset, rule) = match (&args.run, &args.data) {
        (Some(run), data) => {
            let (config, dataset) = reopen(&RunFolder::new(run), data.as_deref())?;
            let TrainConfig { bad_truth, split_by, validation_share, seed, .. } = config;
            if !(config.held_back.is_empty() && config.more_data.is_empty()) {
                let problem = "the run held back pictures by name, or has several data sets";
                return Err(Failure::usage(problem, "score with --names, from each data set"));
            }
            (dataset, Rule { bad: bad_truth, by: split_by, share: validation_share, seed })
        }
        (None, Some(data)) => {
            let SplitArgs { split_by: by, validation: share, seed, .. } = *args;
            (Dataset::open(data)?, Rule { bad: asked, by, share, seed })
        }
        (None, None) => return Err(Failure::usage("no data set given", "give it with --data")),
    };
    refuse_own_file(&dataset, &args.out)?;
    let (held, indices) = held_back(&dataset, rule, threads_or_all(args.threads))?;
    if indices.is_empty() {
        return Err(Failure::failed(
            "no image is held back",
            "splitting needs at least two images of one type; see also --validation",
        ));
    }
    write_whole(&args.out, &dataset.pack(&indices)?)?;
    if args.json {
        output::json(&held)?;
    } else {
        for (name, count) in &held.types {
            output::line(&format!("{name:20} {count:4} images"))?;
        }
        let (count, out) = (held.pictures.len(), args.out.display());
        output::line(&format!("wrote {count} of {} images to {out}", held.of))?;
    }
    Ok(Exit::Done)
}

/// The validation images of a run with this fraction and seed, and their indices in the data set.
fn held_back(
    dataset: &Dataset,
    Rule { bad, by, share, seed }: Rule,
    threads: NonZeroUsize,
) -> Result<(HeldBack, Vec<usize>), Failure> {
    let typed = TypedSamples::load(&[dataset], bad, threads)?;
    let split = typed.split(by, share, seed);
    let TypedSamples { samples, pictures } = typed;
    let mut types = BTreeMap::new();
    for &at in &split.validation {
        *types.entry(pictures[at].kind.name()).or_default() += 1;
    }
    let names: Vec<String> = split.validation.iter().map(|&at| samples[at].name.clone()).collect();
    let indices = split.validation.iter().map(|&at| samples[at].index).collect();
    let of = samples.len();
    let photographs = samples
        .into_iter()
        .zip(pictures)
        .map(|(sample, picture)| (sample.name, picture.photograph))
        .collect();
    Ok((HeldBack { of, seed, share, types, pictures: names, photographs }, indices))
}

/// Refuses to write over the data set.
fn refuse_own_file(dataset: &Dataset, out: &Path) -> Result<(), Failure> {
    if !dataset.is_at(out) {
        return Ok(());
    }
    let problem = format!("{} is the data set itself", out.display());
    Err(Failure::usage(problem, "choose another file with --out"))
}

#[cfg(test)]
mod tests {
    use shared::{Channels, Image, LabelImage, encode_label_png, encode_picture_png};

    use super::*;
    use crate::commands::train::settings_by_default;

    #[test]
    fn the_pictures_are_those_that_training_validates_on() {
        let folder = tempfile::tempdir().unwrap();
        for at in 0..20_u8 {
            let ground = if at % 4 == 0 { 230 } else { 10 };
            // Equal images count as one photograph.
            let mut samples = vec![ground; 32 * 32];
            samples[16 * 32 + usize::from(at)] ^= 1;
            let picture = Image::new(32, 32, Channels::Grey, samples).unwrap();
            let labels = [[1; 256], [0; 256], [2; 256], [0; 256]].concat();
            let labels = LabelImage::new(32, 32, labels).unwrap();
            let write =
                |name: String, bytes: Vec<u8>| std::fs::write(folder.path().join(name), bytes).unwrap();
            write(format!("{at}.png"), encode_picture_png(&picture).unwrap());
            write(format!("{at}_masks.png"), encode_label_png(&labels).unwrap());
        }
        let dataset = Dataset::open(folder.path()).unwrap();
        let threads = NonZeroUsize::MIN;
        let (run, _) = settings_by_default(folder.path(), 1, 0.2).unwrap();
        for (seed, by) in [(1, SplitBy::Photograph), (5, SplitBy::Picture)] {
            let rule = Rule { bad: BadTruth::Refuse, by, share: 0.2, seed };
            let (held, indices) = held_back(&dataset, rule, threads).unwrap();
            let run = TrainConfig { seed, split_by: by, ..run.clone() };
            let training_data = run.training_data(&dataset, threads).unwrap();
            let validated: Vec<String> =
                training_data.validation.into_iter().map(|picture| picture.name).collect();
            assert_eq!(held.pictures, validated);
            assert_eq!((held.of, held.types.values().sum::<usize>()), (20, 4));
            assert!(indices.iter().zip(&held.pictures).all(|(&at, name)| dataset.name(at) == name));
        }
    }
}
