//! `nuclei-host export`: writes the model file of a training run.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use host_console::{Exit, Failure, threads_or_all};
use host_training::{RunFolder, RunWeights, network_of, package_model};

use super::train::{Weights, reopen, write_model};

const EXAMPLES: &str = "Examples:
  nuclei-host export --run nuclei-run --out nuclei.onnx
  nuclei-host export --run nuclei-run --nucleus-px 28 --out finer.onnx
  nuclei-host export --run nuclei-run --weights float --out nuclei-float.onnx";

/// Write the model file of a training run: of its best epoch so far, or of its last checkpoint.
///
/// Thresholds are tuned and scores measured on the run's own validation split.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// Run folder
    #[arg(long, default_value = "nuclei-run")]
    run: PathBuf,
    /// The run's data set, if it has moved
    #[arg(long)]
    data: Option<PathBuf>,
    /// Which of the run's weights
    #[arg(long, value_enum, default_value = "best")]
    of: RunWeights,
    /// Model file to write
    #[arg(long, default_value = "nuclei.onnx")]
    out: PathBuf,
    /// Diameter to which the median nucleus of an image is scaled, px [default: that of the run]
    #[arg(long, value_parser = nucleus_px)]
    nucleus_px: Option<f32>,
    /// Storage of weights in the model file
    #[arg(long, value_enum, default_value = "int8")]
    weights: Weights,
    /// Threads for reading and validation [default: one per core]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

fn nucleus_px(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(value) if (8.0..=128.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 8 to 128".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &ExportArgs) -> Result<Exit, Failure> {
    let folder = RunFolder::new(&args.run);
    let (mut config, dataset) = reopen(&folder, args.data.as_deref())?;
    config.nucleus_px = args.nucleus_px.unwrap_or(config.nucleus_px);
    let graph = network_of(&config, &folder, args.of)?;
    let threads = threads_or_all(args.threads);
    let training_data = config.training_data(&dataset, threads)?;
    let model = package_model(&graph, &config, args.weights.into(), &training_data.validation, threads)?;
    write_model(&model, &args.out)
}
