//! `nuclei-host train`: trains a model on a data set.

mod pareto_plot;
mod series;

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, FromArgMatches as _, ValueEnum};
use host_console::{Exit, Failure, interrupt, output, read_input_text, threads_or_all, warning, write_whole};
use host_modelling::{BadTruth, Dataset, Encoding};
use host_training::{
    Augmentation, BackendChoice, ColourAugmentation, DataSource, Encoder, FinishedModel, Focus, Limits,
    Outcome, Precision, PrecisionChoice, Recipe, RunFolder, RunLock, SampleBy, Schedule, Session, SplitBy,
    Switch, TrainConfig, WeightsFile, package_model,
};
use shared::SetScore;

use super::network_args::NetworkArgs;
use series::Series;

const EXAMPLES: &str = "Examples:
  nuclei-host train --data stage1_train.zip
  nuclei-host train --data pictures/ --epochs 60 --width 24 --backend cuda --out nuclei.onnx
  nuclei-host train --data stage1_train.zip --encoder resnet50 --encoder-weights resnet50.pth
  nuclei-host train --data stage1_train.zip --from factory.onnx --held-rate --max-hours 8
  nuclei-host train --data stage1_train.zip --preset tutorial --run baseline --out baseline.onnx
  nuclei-host train --resume --run nuclei-run      (after Ctrl-C or a power cut)";

/// Train a U-Net on images with masks and write the model file for a station.
///
/// DATA is a folder or zip in the layout of the Data Science Bowl 2018, or images with label images. The run folder
/// holds the settings, one line per epoch, curves, overlays and checkpoints. Ctrl-C saves the run, and --resume
/// continues it with the same result as an uninterrupted run.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TrainArgs {
    /// Folder or zip of images with masks
    #[arg(long, required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// Another folder or zip with pictures and masks, used beside the first; may be given several times
    #[arg(long, value_name = "DATA")]
    more_data: Vec<PathBuf>,
    /// Model file with float activations whose weights the network begins with
    #[arg(long, value_name = "MODEL")]
    from: Option<PathBuf>,
    /// Model file to write
    #[arg(long, default_value = "nuclei.onnx")]
    out: PathBuf,
    /// Run folder
    #[arg(long, default_value = "nuclei-run")]
    run: PathBuf,
    /// Continue the run in this folder with its own settings
    #[arg(long, conflicts_with_all = [
        "epochs", "encoder", "encoder_weights", "width", "depth", "stem", "skips", "decoder_convolutions", "batch", "crop", "learning_rate",
        "ema_decay", "preset", "seed", "validation", "validate_every", "epoch_crops", "augment", "skip_bad", "more_data",
        "from", "held_rate", "split_by", "hold_back", "precision",
    ])]
    resume: bool,
    /// Stop after this time, as ctrl-C does: --resume goes on
    #[arg(long, value_name = "HOURS", value_parser = hours)]
    max_hours: Option<f64>,
    /// Let the rate of --resume fall from now on, over this number of crops, and end the run
    #[arg(long, value_name = "CROPS", requires = "resume")]
    cool_down: Option<u64>,
    /// Compute backend
    #[arg(long, value_enum, default_value = "auto")]
    backend: BackendChoice,
    /// Precision of the CPU's products; a run keeps it on every machine that resumes it
    #[arg(long, value_enum, default_value = "auto")]
    precision: PrecisionChoice,
    /// Storage of weights in the model file
    #[arg(long, value_enum, default_value = "int8")]
    weights: Weights,
    /// Number of epochs
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Crops per epoch [default: one per training image]
    #[arg(long)]
    epoch_crops: Option<u64>,
    /// Train a baseline instead of the station's network
    #[arg(long, value_enum, conflicts_with_all = [
        "encoder", "encoder_weights", "width", "depth", "stem", "skips", "decoder_convolutions", "crop", "augment",
    ])]
    preset: Option<Preset>,
    #[command(flatten)]
    network: NetworkArgs,
    /// Initial weights of the encoder: torchvision's resnet50, a .pth or .safetensors file
    #[arg(long, value_name = "FILE")]
    encoder_weights: Option<PathBuf>,
    /// Peak learning rate of Adam
    #[arg(long, default_value_t = 2e-3)]
    learning_rate: f64,
    /// Hold the learning rate until --cool-down, instead of a cosine over all epochs
    #[arg(long)]
    held_rate: bool,
    /// Decay of the exponential moving average of the weights (the averaged weights are exported)
    #[arg(long, alias = "averaging", default_value_t = 0.999)]
    ema_decay: f64,
    /// Random seed of weights, split and crops
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Fraction of each image type held back for validation, 0 to below 1
    #[arg(long, default_value_t = 0.1)]
    validation: f64,
    /// What stays together in the split
    #[arg(long, value_enum, default_value = "photograph")]
    split_by: SplitBy,
    /// Hold back the pictures named in this file, one per line, in place of a share; others of their photographs are
    /// not used
    #[arg(long, value_name = "FILE")]
    hold_back: Option<PathBuf>,
    /// Epochs between validations
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    validate_every: u32,
    /// Train once without each augmentation and report what each is worth on validation; writes no model file
    #[arg(long, conflicts_with = "preset")]
    ablate: bool,
    /// Train networks of several sizes and the tutorial, and plot score against cost; writes no model file
    #[arg(long, alias = "front", conflicts_with_all = [
        "preset", "ablate", "encoder", "encoder_weights", "width", "depth", "stem", "skips", "decoder_convolutions",
    ])]
    pareto: bool,
    /// Skip images without usable ground truth, and list them
    #[arg(long)]
    skip_bad: bool,
    /// Augmentation of the crops
    #[arg(long, value_enum, default_value = "all")]
    augment: Augment,
    /// Threads for reading and validation [default: one per core]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

/// Augmentation of the crops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Augment {
    /// Position, rotation, mirroring, scale, brightness, color, blur and noise.
    All,
    /// Position, rotation, mirroring and scale.
    Geometry,
    /// Position only.
    None,
}

/// Baselines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// The classic tutorial: its own network, whole images at 256 px, one mask, no augmentation.
    Tutorial,
}

/// How a model file stores weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Weights {
    /// One byte per weight, one scale per channel.
    Int8,
    /// Four bytes per weight.
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

/// Diameter of nuclei in training, px.
const NUCLEUS_PX: f32 = 24.0;

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &TrainArgs) -> Result<Exit, Failure> {
    let folder = RunFolder::new(&args.run);
    let mut lock = args.resume.then(|| lock_begun(&folder)).transpose()?;
    let (mut config, dataset) =
        if args.resume { reopen(&folder, args.data.as_deref())? } else { begun(args, &folder)? };
    if let Some(crops) = args.cool_down {
        folder.cool_down(&mut config, crops)?;
    }
    let backend = args.backend.resolve()?;
    if !args.resume {
        config.precision = args.precision.resolve(backend, &config.unet)?;
    }
    if let Some(caution) = backend.caution(config.precision) {
        warning!("caution: {caution}");
    }
    let threads = threads_or_all(args.threads);
    let training_data = config.training_data(&dataset, threads)?;
    if !args.resume {
        lock = Some(folder.lock()?);
    }
    // Only now, so that a rejected data set does not start a run; of one that is resumed, for what earlier versions left
    // out of its settings.
    folder.save_config(&config)?;
    output::line(&format!(
        "{}, {:.2} GMAC per tile, on {} in {}: {} training images, {} validation images",
        config.unet.describe(),
        config.gmac()?,
        backend.name(),
        config.precision.name(),
        training_data.training_count,
        training_data.validation.len()
    ))?;
    if args.ablate || args.pareto {
        let (config, folder, dataset, training_data) = (&config, &folder, &dataset, &training_data);
        let series = Series { config, folder, dataset, training_data, backend, threads };
        return if args.pareto { series.pareto() } else { series.ablate() };
    }
    let session = Session {
        config: &config,
        folder: &folder,
        sampler: &training_data.sampler,
        validation: &training_data.validation,
        threads,
        stop: interrupt::flag()?,
        limits: Limits {
            most: args.max_hours.map(|hours| Duration::from_secs_f64(3600.0 * hours)),
            ..Limits::default()
        },
    };
    let outcome = session.run_on(backend)?;
    drop(lock);
    match outcome {
        Outcome::Interrupted { steps } => {
            let problem = format!("stopped after {steps} of {} steps; progress is saved", config.steps());
            let next = format!("nuclei-host train --resume --run {}", args.run.display());
            Err(Failure::failed(problem, next))
        }
        Outcome::Finished(graph) => {
            let model =
                package_model(&graph, &config, args.weights.into(), &training_data.validation, threads)?;
            folder.save_report(&model, &training_data.validation)?;
            write_model(&model, &args.out)
        }
    }
}

/// Locks the folder of a run; a folder without one stays as it is.
fn lock_begun(folder: &RunFolder) -> Result<RunLock, Failure> {
    folder.load_config()?;
    folder.lock()
}

/// Writes the model file and prints its scores.
///
/// # Errors
/// [`Failure`] when it cannot be written.
pub fn write_model(model: &FinishedModel, out: &Path) -> Result<Exit, Failure> {
    write_whole(out, &model.onnx)?;
    let all = model.report.file.iter().map(|score| ("all", score));
    for (name, score) in model.report.types.iter().map(|(name, score)| (*name, score)).chain(all) {
        let SetScore { images, mean_ap, ap, count_error, .. } = score;
        output::line(&format!(
            "{name:20} {images:4} images, mean AP {mean_ap:.3}, AP50 {:.3}, count error {:.1} %",
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
        return Err(Failure::usage("no data set given", "give it with --data"));
    };
    if folder.is_begun() {
        let problem = format!("{} already holds a run", folder.path().display());
        return Err(Failure::usage(
            problem,
            "continue it with --resume, or choose another folder with --run",
        ));
    }
    check(args)?;
    settings(args, data)
}

/// The settings of a run from the flags, and its data set.
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
        more_data: args.more_data.iter().map(|path| DataSource::of(path)).collect::<Result<_, _>>()?,
        encoder_weights: args.encoder_weights.as_deref().map(WeightsFile::of).transpose()?,
        from: args.from.as_deref().map(WeightsFile::of).transpose()?,
        epochs: args.epochs,
        epoch_crops: args.epoch_crops.unwrap_or(pictures.ceil() as u64).max(1),
        batch,
        crop,
        learning_rate: args.learning_rate,
        schedule: if args.held_rate { Schedule::Held { cool_down: 0 } } else { Schedule::Cosine },
        averaging: args.ema_decay,
        seed: args.seed,
        validation_share: args.validation,
        split_by: args.split_by,
        held_back: args.hold_back.as_deref().map(names_in).transpose()?.unwrap_or_default(),
        sample_by: SampleBy::Photograph,
        scaling: Recipe::Nuclei.scaling(),
        validate_every: args.validate_every,
        augmentation: args.augment.into(),
        nucleus_px: NUCLEUS_PX,
        precision: Precision::F32,
    };
    let config = match args.preset {
        None => config,
        Some(Preset::Tutorial) => config.tutorial(),
    };
    Ok((config, dataset))
}

fn hours(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(hours) if 0.0 < hours && hours < 10_000.0 => Ok(hours),
        _ => Err("a number of hours above 0 is wanted".to_owned()),
    }
}

/// The names in a file, one per line.
///
/// # Errors
/// [`Failure`] when it cannot be read.
pub fn names_in(path: &Path) -> Result<Vec<String>, Failure> {
    let text = read_input_text(path).map_err(|error| {
        let problem = format!("{} cannot be read: {error}", path.display());
        Failure::usage(problem, "name a text file with one picture's name per line")
    })?;
    Ok(text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

fn check(args: &TrainArgs) -> Result<(), Failure> {
    let problem = if !(args.learning_rate > 0.0 && args.learning_rate < 1.0) {
        "--learning-rate must be between 0 and 1"
    } else if !(0.0..1.0).contains(&args.ema_decay) {
        "--ema-decay must be 0 to below 1"
    } else if !(0.0..1.0).contains(&args.validation) {
        "--validation must be 0 to below 1"
    } else if args.encoder_weights.is_some() && args.network.encoder != Encoder::Resnet50 {
        "--encoder-weights requires --encoder resnet50"
    } else {
        return Ok(());
    };
    Err(Failure::usage(problem, "see nuclei-host train --help"))
}

/// The default settings of a run, overridden by these flags, and its data set.
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

/// The settings of an existing run, and its data set, which may have moved.
///
/// # Errors
/// [`Failure`] when there is no run, or `data` is another data set.
pub fn reopen(folder: &RunFolder, data: Option<&Path>) -> Result<(TrainConfig, Dataset), Failure> {
    let config = folder.load_config()?;
    let path = data.unwrap_or(&config.data);
    let dataset = Dataset::open(path)?;
    if dataset.digest()? != config.data_digest {
        let problem = format!("{} is not the data set this run was started with", path.display());
        return Err(Failure::usage(problem, "give that data set with --data, or start a new run"));
    }
    Ok((config, dataset))
}

impl From<Augment> for Augmentation {
    fn from(augment: Augment) -> Self {
        let all = Self {
            geometry: Switch::On,
            min_nucleus_px: 8.0,
            max_nucleus_px: 90.0,
            focus: Focus { share: 0.5, nucleus_px: NUCLEUS_PX, spread: 0.16 },
            on_nuclei: 0.9,
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
