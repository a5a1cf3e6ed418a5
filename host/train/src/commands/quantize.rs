//! `nuclei-host quantize`: quantizes a trained network, and measures the loss.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use host_console::{Exit, Failure, output, read_input, threads_or_all, write_whole};
use host_modelling::{
    AccuracyVerdict, ActivationRanges, Encoding, Graph, IntegerPlan, LayerNoise, ModelDraft, Range,
    RangeMethod, TraceError, TypeLoss, draw_outlines, layer_noise, map_error, read_graph, read_metadata,
};
use host_training::{
    RunFolder, RunWeights, ScoredFile, TrainConfig, TrainingData, ValidationPicture, network_of, tuned_draft,
};
use serde::Serialize;
use shared::{MANIFEST_KEY, Manifest, SetScore, encode_picture_png};

use super::train::{reopen, settings_by_default};

const EXAMPLES: &str = "Examples:
  nuclei-host quantize --run nuclei-run
  nuclei-host quantize --run nuclei-run --mode full-integer --out nuclei-integer.onnx
  nuclei-host quantize --run nuclei-run --mode full-integer --calibration-method percentile --calibration-tiles 200
  nuclei-host quantize --model nuclei.onnx --data stage1_train.zip --mode full-integer --out nuclei-integer.onnx";

/// Quantize a trained network to int8, report the loss in accuracy, and fail if it exceeds the limit.
///
/// The network comes from a training run, or from a model file with float activations (its weights may be int8). The
/// report states the noise of each layer, the loss per image type on the validation split, the change in count, and the
/// image that loses most, with its outlines. The command fails with exit code 3 and writes no model file if the mean AP
/// drops by more than 0.010, any image loses more than 0.10, or the count changes by more than 1 %.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct QuantizeArgs {
    /// Run folder
    #[arg(long, default_value = "nuclei-run")]
    run: PathBuf,
    /// Quantize this model file instead of a run; needs --data, and keeps its thresholds
    #[arg(long, value_name = "FILE", conflicts_with = "run", requires = "data")]
    model: Option<PathBuf>,
    /// The data set of the run (if it has moved) or of the model
    #[arg(long)]
    data: Option<PathBuf>,
    /// Seed of the model's training run
    #[arg(long, default_value_t = 1, requires = "model")]
    seed: u64,
    /// Fraction of each image type that the run held back for validation
    #[arg(long, default_value_t = 0.1, requires = "model")]
    validation: f64,
    /// Model file to write
    #[arg(long, default_value = "nuclei.onnx")]
    out: PathBuf,
    /// What to quantize
    #[arg(long, alias = "form", value_enum, default_value = "weight-only")]
    mode: QuantizationMode,
    /// Which of the run's weights
    #[arg(long, value_enum, default_value = "best", conflicts_with = "model")]
    of: RunWeights,
    /// How to choose activation ranges [default: try all, and take the one with the best maps]
    #[arg(long, alias = "ranges", value_enum)]
    calibration_method: Option<RangeMethod>,
    /// Training tiles to take ranges from; a quarter as many are used to compare methods
    #[arg(long, alias = "calibration", default_value_t = 64, value_parser = clap::value_parser!(u64).range(4..=10_000))]
    calibration_tiles: u64,
    /// Layers that may stay float, noisiest first, if the limit is exceeded otherwise
    #[arg(long, default_value_t = 2)]
    keep_float: usize,
    /// Report folder [default: quantization in the run folder, or next to the model]
    #[arg(long)]
    report: Option<PathBuf>,
    /// Threads for reading and validation [default: one per core]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

/// What to quantize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum QuantizationMode {
    /// Weights only; they are expanded to float when loaded.
    #[value(name = "weight-only", alias = "weights")]
    Weights,
    /// Weights and activations; convolutions run in integers, several times faster on a station.
    #[value(name = "full-integer", alias = "integer")]
    Integer,
}

/// `quantization.json`.
#[derive(Debug, Serialize)]
struct QuantizationReport {
    form: QuantizationMode,
    /// Root-mean-square error of the probability maps for each method tried.
    map_rms: Vec<(RangeMethod, f64)>,
    layers: Vec<LayerNoise>,
    float_bytes: usize,
    bytes: usize,
    float: Option<SetScore>,
    rounded: Option<SetScore>,
    verdict: AccuracyVerdict,
}

/// A quantized form of the network.
enum Rounding {
    Weights,
    Integer(IntegerPlan),
}

impl Rounding {
    const fn encoding(&self) -> Encoding<'_> {
        match self {
            Self::Weights => Encoding::Int8Weights,
            Self::Integer(plan) => Encoding::Integer(plan),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &QuantizeArgs) -> Result<Exit, Failure> {
    let threads = threads_or_all(args.threads);
    let QuantizationJob { config, graph, training_data, mut draft, report_folder } = match &args.model {
        Some(model) => QuantizationJob::of_model(model, args, threads)?,
        None => QuantizationJob::of_run(args, threads)?,
    };
    let validation = &training_data.validation;
    let float = ScoredFile::of(&graph, &draft, Encoding::F32, validation, threads)?;
    draft.scores.float = float.mean();

    let tiles = tiles(&config, &training_data, args.calibration_tiles);
    let (compared, calibrated) = tiles.split_at(tiles.len() / 5);
    let ChosenRanges { ranges, map_rms } = match args.mode {
        QuantizationMode::Weights => ChosenRanges::default(),
        QuantizationMode::Integer => choose_ranges(&graph, args.calibration_method, calibrated, compared)?,
    };
    let mut kept = BTreeSet::new();
    let (rounding, file, layers, verdict) = loop {
        let rounding = match args.mode {
            QuantizationMode::Weights => Rounding::Weights,
            QuantizationMode::Integer => Rounding::Integer(IntegerPlan::new(&graph, &ranges, kept.clone())),
        };
        let file = ScoredFile::of(&graph, &draft, rounding.encoding(), validation, threads)?;
        let verdict = judge(validation, &float, &file)?;
        let layers = layer_noise(&graph, rounding.encoding(), compared)?;
        let noisiest = layers
            .iter()
            .filter(|layer| layer.integer)
            .min_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db))
            .filter(|_| !verdict.passed() && kept.len() < args.keep_float);
        let Some(LayerNoise { node, name, .. }) = noisiest else {
            break (rounding, file, layers, verdict);
        };
        output::line(&format!("{}: {name} stays float", verdict.misses.join("; ")))?;
        kept.insert(*node);
    };
    draft.scores.int8 = file.mean();
    let finished = ScoredFile::of(&graph, &draft, rounding.encoding(), &[], threads)?.onnx;
    let report = QuantizationReport {
        form: args.mode,
        map_rms,
        layers,
        float_bytes: float.onnx.len(),
        bytes: finished.len(),
        float: draft.scores.float.clone(),
        rounded: draft.scores.int8.clone(),
        verdict,
    };
    let out = args.report.clone().unwrap_or(report_folder);
    save(&report, &out, validation, &float, &file)?;
    report.to_lines().iter().try_for_each(|line| output::line(line))?;
    if !report.verdict.passed() {
        let problem = format!("accuracy check failed: {}", report.verdict.misses.join("; "));
        let next = format!("train longer, or see {}", out.display());
        return Err(Failure::new(Exit::CheckFailed, problem, next));
    }
    write_whole(&args.out, &finished)?;
    let path = args.out.display();
    output::line(&format!("wrote {path} ({} bytes); next: nuclei-host flash {path}", finished.len()))?;
    Ok(Exit::Done)
}

/// What to quantize, and the data that measures the loss.
struct QuantizationJob {
    config: TrainConfig,
    /// Without batch normalization.
    graph: Graph,
    training_data: TrainingData,
    draft: ModelDraft,
    report_folder: PathBuf,
}

impl QuantizationJob {
    fn of_run(args: &QuantizeArgs, threads: NonZeroUsize) -> Result<Self, Failure> {
        let folder = RunFolder::new(&args.run);
        let (config, dataset) = reopen(&folder, args.data.as_deref())?;
        let graph = network_of(&config, &folder, args.of)?.fold_batch_norm();
        let training_data = config.training_data(&dataset, threads)?;
        let draft = tuned_draft(&graph, &config, &training_data.validation, threads)?;
        Ok(Self { config, graph, training_data, draft, report_folder: folder.path().join("quantization") })
    }

    fn of_model(path: &Path, args: &QuantizeArgs, threads: NonZeroUsize) -> Result<Self, Failure> {
        let other = "give a model file written by nuclei-host train or export";
        let failed = |error: &dyn Display| Failure::usage(format!("{}: {error}", path.display()), other);
        let onnx = read_input(path).map_err(|error| failed(&error))?;
        let metadata = read_metadata(&onnx).map_err(|error| failed(&error))?;
        let manifest = metadata.get(MANIFEST_KEY).ok_or_else(|| failed(&"the file has no manifest"))?;
        let draft = ModelDraft::from(Manifest::parse(manifest).map_err(|error| failed(&error))?);
        let graph = read_graph(&onnx).map_err(|error| failed(&error))?.fold_batch_norm();
        let data = args.data.as_deref().unwrap_or(Path::new(""));
        let (config, dataset) = settings_by_default(data, args.seed, args.validation)?;
        let config = TrainConfig { scaling: draft.input.scaling, ..config };
        if config.data_digest != draft.data_digest {
            let problem = format!("{} is not the data set this model was trained on", data.display());
            return Err(Failure::usage(problem, "give that data set with --data"));
        }
        if draft.outputs != config.recipe.outputs() {
            let problem =
                format!("the input scaling of {} differs from that of nuclei-host train", path.display());
            return Err(Failure::usage(problem, "quantize it from its run (--run)"));
        }
        let training_data = config.training_data(&dataset, threads)?;
        Ok(Self { config, graph, training_data, draft, report_folder: path.with_extension("quantization") })
    }
}

/// Tiles of training images as a station would cut them: `count` for ranges and, before them, a quarter as many to
/// compare maps on.
fn tiles(config: &TrainConfig, training_data: &TrainingData, count: u64) -> Vec<Vec<f32>> {
    let deployed = config.as_deployed();
    (0..count + count / 4).map(|index| training_data.sampler.crop(&deployed, index).image_chw).collect()
}

/// The ranges of activations.
#[derive(Default)]
struct ChosenRanges {
    /// By [`ValueId`](host_modelling::ValueId); none where activations stay float.
    ranges: Vec<Range>,
    /// As [`QuantizationReport::map_rms`].
    map_rms: Vec<(RangeMethod, f64)>,
}

/// Ranges by the requested method, or by the one whose maps on `compared` are closest to the float ones.
fn choose_ranges(
    graph: &Graph,
    asked: Option<RangeMethod>,
    calibrated: &[Vec<f32>],
    compared: &[Vec<f32>],
) -> Result<ChosenRanges, Failure> {
    let calibration = ActivationRanges::observe(graph, calibrated)?;
    let methods = RangeMethod::ALL.into_iter().filter(|&method| asked.is_none_or(|asked| asked == method));
    let mut map_rms = methods
        .map(|method| {
            let plan = IntegerPlan::new(graph, &calibration.ranges(method), BTreeSet::new());
            Ok((method, map_error(graph, Encoding::Integer(&plan), compared)?))
        })
        .collect::<Result<Vec<_>, TraceError>>()?;
    map_rms.sort_by(|a, b| a.1.total_cmp(&b.1));
    let best = map_rms.first().map_or(RangeMethod::MinMax, |&(method, _)| method);
    Ok(ChosenRanges { ranges: calibration.ranges(best), map_rms })
}

fn judge(
    validation: &[ValidationPicture],
    float: &ScoredFile,
    rounded: &ScoredFile,
) -> Result<AccuracyVerdict, Failure> {
    let pairs: Vec<_> = validation
        .iter()
        .zip(float.pictures.iter().zip(&rounded.pictures))
        .map(|(picture, ((_, float), (_, rounded)))| {
            (picture.name.as_str(), picture.image_type, float, rounded)
        })
        .collect();
    AccuracyVerdict::of(&pairs).ok_or_else(|| {
        let problem = "the run held no images back, so the loss in accuracy cannot be measured";
        Failure::usage(problem, "start a run with --validation above 0")
    })
}

/// Writes the report, and the image that lost most: float outlines in green, quantized ones in magenta.
fn save(
    report: &QuantizationReport,
    folder: &Path,
    validation: &[ValidationPicture],
    float: &ScoredFile,
    rounded: &ScoredFile,
) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(report).map_err(|error| Failure::failed(error, ""))?;
    write_whole(&folder.join("quantization.json"), json.as_bytes())?;
    let worst = &report.verdict.worst.name;
    let pictures = validation.iter().zip(float.pictures.iter().zip(&rounded.pictures));
    for (picture, ((float, _), (rounded, _))) in pictures.filter(|(picture, _)| picture.name == *worst) {
        let overlay = draw_outlines(&picture.image, float, FLOAT_COLOUR)?;
        let overlay = draw_outlines(&overlay, rounded, ROUNDED_COLOUR)?;
        let png = encode_picture_png(&overlay).map_err(|error| Failure::failed(error, ""))?;
        write_whole(&folder.join(format!("worst-{worst}.png")), &png)?;
    }
    Ok(())
}

const FLOAT_COLOUR: [u8; 3] = [0, 200, 80];
const ROUNDED_COLOUR: [u8; 3] = [230, 40, 200];

impl QuantizationReport {
    /// For a person.
    fn to_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.map_rms.is_empty() {
            let tried = self.map_rms.iter().map(|(method, rms)| format!("{} {rms:.5}", method.name()));
            lines.push(format!(
                "activation ranges, by the error of the maps: {}",
                tried.collect::<Vec<_>>().join(", ")
            ));
            lines.push(String::new());
        }
        lines.push(format!("{:<20}{:>10}{:>12}{:>12}", "layer", "computes", "weight dB", "output dB"));
        lines.extend(self.layers.iter().map(|layer| {
            let LayerNoise { name, integer, weight_sqnr_db, sqnr_db, .. } = layer;
            let computes = if *integer { "integer" } else { "float" };
            format!("{name:<20}{computes:>10}{weight_sqnr_db:>12.1}{sqnr_db:>12.1}")
        }));
        lines.push(String::new());
        lines
            .push(format!("{:<20}{:>10}{:>12}{:>12}{:>10}", "mean AP", "pictures", "float", "bytes", "lost"));
        let row = |name: &str, pictures: usize, float: f64, rounded: f64| {
            format!("{name:<20}{pictures:>10}{float:>12.4}{rounded:>12.4}{:>10.4}", float - rounded)
        };
        let AccuracyVerdict { worst, count_bias, types, .. } = &self.verdict;
        for (name, TypeLoss { pictures, float, rounded }) in types {
            lines.push(row(name, *pictures, *float, *rounded));
        }
        if let (Some(float), Some(rounded)) = (&self.float, &self.rounded) {
            lines.push(row("all", float.images as usize, float.mean_ap, rounded.mean_ap));
        }
        lines.push(format!(
            "worst image: {} from {:.4} to {:.4}; nuclei found: {:+.2} %; {} bytes from {}",
            worst.name,
            worst.float,
            worst.rounded,
            100.0 * count_bias,
            self.bytes,
            self.float_bytes
        ));
        lines
    }
}
