//! `nuclei-host train`: a data set in, one model file out.

mod front_plot;
mod series;

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use clap::{Args, FromArgMatches as _, ValueEnum};
use host_console::{Exit, Failure, interrupt, output, write_whole};
use host_modelling::{BadTruth, Dataset, Encoding};
use host_training::{
    Augmentation, BackendChoice, ColourAugmentation, Encoder, EncoderWeights, FinishedModel, Outcome, Recipe,
    RunFolder, Session, Switch, TrainConfig, finish,
};
use shared::SetScore;

use super::network_args::NetworkArgs;
use series::Series;

const EXAMPLES: &str = "Examples:
  nuclei-host train --data stage1_train.zip
  nuclei-host train --data pictures/ --epochs 60 --width 24 --backend cuda --out nuclei.onnx
  nuclei-host train --data stage1_train.zip --encoder resnet50 --encoder-weights resnet50.pth
  nuclei-host train --data stage1_train.zip --preset tutorial --run baseline --out baseline.onnx
  nuclei-host train --resume --run nuclei-run      (after ctrl-C, or after a power cut)";

/// Train a U-Net on pictures with masks and write the model file that a station runs.
///
/// DATA is a folder or zip in the layout of the Data Science Bowl 2018, or pictures with label images.
/// The run folder holds the settings, a line an epoch, curves, overlays and checkpoints. Ctrl-C saves the
/// run; --resume goes on as if it had never stopped.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TrainArgs {
    /// Folder or zip with pictures and masks
    #[arg(long, required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// Where the model file goes
    #[arg(long, default_value = "nuclei.onnx")]
    out: PathBuf,
    /// Folder of the run
    #[arg(long, default_value = "nuclei-run")]
    run: PathBuf,
    /// Go on with the run in the folder, with its own settings
    #[arg(long, conflicts_with_all = [
        "epochs", "encoder", "encoder_weights", "width", "depth", "stem", "skips", "decoder_convolutions", "batch", "crop", "learning_rate",
        "averaging", "preset", "seed", "validation", "validate_every", "epoch_crops", "augment", "skip_bad",
    ])]
    resume: bool,
    /// Where to compute
    #[arg(long, value_enum, default_value = "auto")]
    backend: BackendChoice,
    /// How the model file stores weights
    #[arg(long, value_enum, default_value = "int8")]
    weights: Weights,
    /// Passes over the data
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Crops of an epoch [default: one a training picture]
    #[arg(long)]
    epoch_crops: Option<u64>,
    /// Train a baseline instead of the network that the station is made for
    #[arg(long, value_enum, conflicts_with_all = [
        "encoder", "encoder_weights", "width", "depth", "stem", "skips", "decoder_convolutions", "crop", "augment",
    ])]
    preset: Option<Preset>,
    #[command(flatten)]
    network: NetworkArgs,
    /// Weights that the encoder begins with: torchvision's resnet50, a .pth or .safetensors file
    #[arg(long, value_name = "FILE")]
    encoder_weights: Option<PathBuf>,
    /// Greatest learning rate of Adam
    #[arg(long, default_value_t = 2e-3)]
    learning_rate: f64,
    /// Share of the old average in the running average of the weights, which is what the run yields
    #[arg(long, default_value_t = 0.999)]
    averaging: f64,
    /// Seed of weights, split and crops
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of the pictures of each type held back for validation, 0 to below 1
    #[arg(long, default_value_t = 0.1)]
    validation: f64,
    /// Epochs from one validation to the next
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    validate_every: u32,
    /// Train once for each augmentation left out, and tell what each is worth on validation; no model file
    #[arg(long, conflicts_with = "preset")]
    ablate: bool,
    /// Train networks of several sizes and the tutorial, and draw score against cost; no model file
    #[arg(long, conflicts_with_all = [
        "preset", "ablate", "encoder", "encoder_weights", "width", "depth", "stem", "skips", "decoder_convolutions",
    ])]
    front: bool,
    /// Leave out pictures whose truth cannot be used, naming them
    #[arg(long)]
    skip_bad: bool,
    /// What varies between crops
    #[arg(long, value_enum, default_value = "all")]
    augment: Augment,
    /// Threads for reading and validation [default: all cores]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

/// What varies between crops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Augment {
    /// Place, turn, mirror, size, brightness, colour, blur and noise.
    All,
    /// Place, turn, mirror and size.
    Geometry,
    /// Place alone.
    None,
}

/// Baselines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// The classic tutorial: its own network, whole pictures at 256 px, one mask, no augmentation.
    Tutorial,
}

/// How a model file stores weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Weights {
    /// A byte each, with a scale a channel.
    Int8,
    /// Four bytes each.
    Float,
}

impl From<Weights> for Encoding<'_> {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::Int8 => Self::Int8Weights,
            Weights::Float => Self::F32,
        }
    }
}

/// Diameter that the network knows nuclei best at, px.
const NUCLEUS_PX: f32 = 24.0;

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &TrainArgs) -> Result<Exit, Failure> {
    let folder = RunFolder::new(&args.run);
    let (config, dataset) =
        if args.resume { reopen(&folder, args.data.as_deref())? } else { begun(args, &folder)? };
    let backend = args.backend.resolve()?;
    let threads = threads_or_all(args.threads);
    let material = config.material(&dataset, threads)?;
    if !args.resume {
        // Only now: a data set that is refused begins no run.
        folder.save_config(&config)?;
    }
    output::line(&format!(
        "{}, {:.2} GMAC a tile, on {}: {} pictures to train on, {} to validate on",
        config.unet.describe(),
        config.gmac()?,
        backend.name(),
        material.training_count,
        material.validation.len()
    ))?;
    if args.ablate || args.front {
        let (config, folder, dataset, material) = (&config, &folder, &dataset, &material);
        let series = Series { config, folder, dataset, material, backend, threads };
        return if args.front { series.front() } else { series.ablate() };
    }
    let session = Session {
        config: &config,
        folder: &folder,
        sampler: &material.sampler,
        validation: &material.validation,
        threads,
        stop: interrupt::flag()?,
    };
    match session.run_on(backend)? {
        Outcome::Interrupted { steps } => {
            let problem = format!("stopped after {steps} of {} steps; nothing is lost", config.steps());
            let next = format!("nuclei-host train --resume --run {}", args.run.display());
            Err(Failure::failed(problem, next))
        }
        Outcome::Finished(graph) => {
            let model = finish(&graph, &config, args.weights.into(), &material.validation, threads)?;
            folder.save_report(&model, &material.validation)?;
            write_model(&model, &args.out)
        }
    }
}

/// Writes the model file and tells its scores.
///
/// # Errors
/// [`Failure`] when it cannot be written.
pub fn write_model(model: &FinishedModel, out: &Path) -> Result<Exit, Failure> {
    write_whole(out, &model.onnx)?;
    let all = model.report.file.iter().map(|score| ("all", score));
    for (name, score) in model.report.types.iter().map(|(name, score)| (*name, score)).chain(all) {
        let SetScore { images, mean_ap, ap, count_error, .. } = score;
        output::line(&format!(
            "{name:20} {images:4} pictures, mean AP {mean_ap:.3}, AP50 {:.3}, count error {:.1} %",
            ap[0],
            100.0 * count_error
        ))?;
    }
    let (out, bytes) = (out.display(), model.onnx.len());
    output::line(&format!("wrote {out} ({bytes} bytes); next: nuclei-host flash {out}"))?;
    Ok(Exit::Done)
}

fn begun(args: &TrainArgs, folder: &RunFolder) -> Result<(TrainConfig, Dataset), Failure> {
    let Some(data) = &args.data else {
        return Err(Failure::usage("no data set is named", "name it with --data"));
    };
    if folder.is_begun() {
        let problem = format!("{} holds a run already", folder.path().display());
        return Err(Failure::usage(problem, "go on with it by --resume, or name another folder with --run"));
    }
    check(args)?;
    settings(args, data)
}

/// The settings of a run as the flags say, and its data set.
fn settings(args: &TrainArgs, data: &Path) -> Result<(TrainConfig, Dataset), Failure> {
    let dataset = Dataset::open(data)?;
    let NetworkArgs { batch, crop, .. } = args.network;
    let pictures = dataset.len() as f64 * (1.0 - args.validation);
    let config = TrainConfig {
        data: data.to_owned(),
        data_digest: dataset.digest()?,
        bad_truth: if args.skip_bad { BadTruth::Skip } else { BadTruth::Refuse },
        recipe: Recipe::Nuclei,
        unet: args.network.unet()?,
        encoder_weights: args.encoder_weights.as_deref().map(EncoderWeights::of).transpose()?,
        epochs: args.epochs,
        epoch_crops: args.epoch_crops.unwrap_or(pictures.ceil() as u64).max(1),
        batch,
        crop,
        learning_rate: args.learning_rate,
        averaging: args.averaging,
        seed: args.seed,
        validation_share: args.validation,
        validate_every: args.validate_every,
        augmentation: args.augment.into(),
        nucleus_px: NUCLEUS_PX,
    };
    let config = match args.preset {
        None => config,
        Some(Preset::Tutorial) => config.tutorial(),
    };
    Ok((config, dataset))
}

fn check(args: &TrainArgs) -> Result<(), Failure> {
    let problem = if !(args.learning_rate > 0.0 && args.learning_rate < 1.0) {
        "--learning-rate must lie between 0 and 1"
    } else if !(0.0..1.0).contains(&args.averaging) {
        "--averaging must be 0 to below 1"
    } else if !(0.0..1.0).contains(&args.validation) {
        "--validation must be 0 to below 1"
    } else if args.encoder_weights.is_some() && args.network.encoder != Encoder::Resnet50 {
        "--encoder-weights are those of --encoder resnet50"
    } else {
        return Ok(());
    };
    Err(Failure::usage(problem, "see nuclei-host train --help"))
}

/// The settings that a run has if no flag says otherwise than these, and its data set.
///
/// # Errors
/// [`Failure`] when a number is out of range, or the data set cannot be read.
pub fn settings_by_default(
    data: &Path,
    seed: u64,
    validation: f64,
) -> Result<(TrainConfig, Dataset), Failure> {
    let defaults = TrainArgs::augment_args(clap::Command::new("train"));
    let flags = [OsStr::new("train"), OsStr::new("--data"), data.as_os_str()];
    let matches = defaults.try_get_matches_from(flags).and_then(|it| TrainArgs::from_arg_matches(&it));
    let args = matches.map_err(|error| Failure::failed(error, "please report this"))?;
    let args = TrainArgs { seed, validation, ..args };
    check(&args)?;
    settings(&args, data)
}

/// The settings of a run that was begun, and its data set, which may have moved.
///
/// # Errors
/// [`Failure`] when there is no run, or `data` is another data set.
pub fn reopen(folder: &RunFolder, data: Option<&Path>) -> Result<(TrainConfig, Dataset), Failure> {
    let config = folder.load_config()?;
    let path = data.unwrap_or(&config.data);
    let dataset = Dataset::open(path)?;
    if dataset.digest()? != config.data_digest {
        let problem = format!("{} is not the data set that the run began with", path.display());
        return Err(Failure::usage(problem, "name that data set with --data, or begin a new run"));
    }
    Ok((config, dataset))
}

/// Threads to use: those asked for, else every core.
pub fn threads_or_all(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    asked.or_else(|| available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

impl From<Augment> for Augmentation {
    fn from(augment: Augment) -> Self {
        let all = Self {
            geometry: Switch::On,
            min_nucleus_px: 12.0,
            max_nucleus_px: 48.0,
            elastic: 0.3,
            touching: 0.3,
            colour: ColourAugmentation::DEFAULT,
        };
        match augment {
            Augment::All => all,
            Augment::Geometry => Self { touching: 0.0, colour: ColourAugmentation::OFF, ..all },
            Augment::None => Self::none(NUCLEUS_PX),
        }
    }
}
