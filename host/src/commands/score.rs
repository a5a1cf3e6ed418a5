//! `nuclei-host score`: scores a model or a folder of label images.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use host_console::{Exit, Failure, output, read_input_text, threads_or_all, warning, write_whole};
use host_modelling::{BadTruth, Dataset};
use serde_json::{Map, Value, json};

use super::plane_args::{PlaneArgs, binary_masks};
use crate::analysis::label_source::LabelSource;
use crate::analysis::model_file::OpenModel;
use crate::analysis::scoring::{MissingPolicy, ScoreOptions, SetResult, Worst, score_set};
use crate::records::label_files::LabelFiles;

const EXAMPLES: &str = "Examples:
  nuclei-host score --truth stage1_train.zip --model nuclei.onnx
  nuclei-host score --truth pictures/ --pred found/ --json --min-ap 0.4
  nuclei-host score --truth stage1_train.zip --pred captured/ --subset --csv scores.csv --html scores.html";

/// Score label images or a model against the ground truth.
///
/// AP at a threshold is TP / (TP + FP + FN), where a match has an IoU above the threshold. Mean AP is the mean over the
/// thresholds 0.50, 0.55 .. 0.95 and over the images, as in the Data Science Bowl 2018. IoU and Dice compare nuclei
/// with background, and the count error is |found - true| / true; all are means over the images. Exit code 3 means the
/// score is below --min-ap.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("predicted").required(true).args(["pred", "model"]))]
pub struct ScoreArgs {
    /// Folder or zip of images with masks or labels
    #[arg(long)]
    truth: PathBuf,
    /// Folder of label images with the names of the images
    #[arg(long, value_name = "DIR")]
    pred: Option<PathBuf>,
    /// Model file to segment the images with
    #[arg(long)]
    model: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Include every image in the JSON object
    #[arg(long, requires = "json")]
    per_image: bool,
    /// Exit with code 3 if the mean AP is below this, 0 to 1
    #[arg(long, value_name = "X", value_parser = share)]
    min_ap: Option<f64>,
    /// Write the scores of every image to this CSV file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write a page with the worst images first, and hits, misses and false positives outlined
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Score only these images, named without folder and extension
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// Score only the images listed in this file, one name per line
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    /// Score only images that have a label image
    #[arg(long, requires = "pred")]
    subset: bool,
    /// Treat images without a label image as empty
    #[arg(long, requires = "pred", conflicts_with = "subset")]
    missing_as_empty: bool,
    #[command(flatten)]
    planes: PlaneArgs,
    /// Treat each part of a 0/255 mask as a nucleus, so that touching nuclei become one
    #[arg(long)]
    split_components: bool,
    /// Skip images without usable ground truth
    #[arg(long)]
    skip_bad: bool,
    /// Threads for the model [default: one per core]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &ScoreArgs) -> Result<Exit, Failure> {
    let dataset = Dataset::open(&args.truth)?
        .with_planes(args.planes.selection())
        .with_binary_masks(binary_masks(args.split_components));
    let prediction = match (&args.model, &args.pred) {
        (Some(model), _) => {
            LabelSource::Model(Box::new(OpenModel::load(model, threads_or_all(args.threads))?))
        }
        (None, Some(folder)) => LabelSource::Files(LabelFiles::open(folder)?),
        (None, None) => return Err(Failure::usage("nothing to score", "give --pred or --model")),
    };
    let mut worst = args.html.as_ref().map(|_| Worst::default());
    let result = score_set(&dataset, prediction, &args.options()?, &mut |sample, found, scored| {
        if let Some(worst) = &mut worst {
            worst.add(sample, found, scored);
        }
    })?;
    if let Some((path, worst)) = args.html.as_ref().zip(worst) {
        let scored = args.model.as_ref().or(args.pred.as_ref()).unwrap_or(&args.truth);
        let title = format!("{} on {}", last_part(scored), last_part(&args.truth));
        write_whole(path, worst.page(&title, &result.report)?.as_bytes())?;
    }
    if let Some(path) = &args.csv {
        write_whole(path, result.report.to_csv().as_bytes())?;
    }
    if args.json {
        output::json(&Value::Object(args.json_object(&result)?))?;
    } else {
        for line in result.report.to_lines() {
            output::line(&line)?;
        }
    }
    match args.min_ap {
        Some(least) if result.report.total.mean_ap < least => {
            warning!("score too low: mean AP {:.4} is below {least}", result.report.total.mean_ap);
            Ok(Exit::CheckFailed)
        }
        _ => Ok(Exit::Done),
    }
}

fn last_part(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

impl ScoreArgs {
    fn options(&self) -> Result<ScoreOptions, Failure> {
        let mut only: BTreeSet<String> = self.only.iter().cloned().collect();
        if let Some(path) = &self.names {
            only.extend(read_names(path)?);
        }
        let missing = match (self.subset, self.missing_as_empty) {
            (true, _) => MissingPolicy::LeaveOut,
            (_, true) => MissingPolicy::CountEmpty,
            _ => MissingPolicy::Refuse,
        };
        Ok(ScoreOptions { only, missing, bad: if self.skip_bad { BadTruth::Skip } else { BadTruth::Refuse } })
    }

    fn json_object(&self, result: &SetResult) -> Result<Map<String, Value>, Failure> {
        let fields = || -> serde_json::Result<Map<String, Value>> {
            let mut fields = result.report.to_json()?;
            fields.insert("skipped".to_owned(), json!(result.skipped));
            let missing = if self.subset { "left_out" } else { "counted_as_empty" };
            fields.insert(missing.to_owned(), json!(result.missing));
            if self.per_image {
                fields.insert("per_image".to_owned(), result.report.pictures_json()?);
            }
            Ok(fields)
        };
        fields().map_err(|error| Failure::failed(error, "omit --json"))
    }
}

fn read_names(path: &Path) -> Result<BTreeSet<String>, Failure> {
    let refused = |problem: String| Failure::usage(problem, "give a text file with one image name per line");
    let text = read_input_text(path)
        .map_err(|error| refused(format!("{} cannot be read: {error}", path.display())))?;
    let names: BTreeSet<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(refused(format!("{} lists no image", path.display())));
    }
    Ok(names)
}
