//! `nuclei-host export`: the model file of a training run.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::train::{Weights, reopen, threads_or_all, write_model};
use crate::failure::{Exit, Failure};
use crate::train::{Material, RunFolder, best_network, finish};

const EXAMPLES: &str = "Examples:
  nuclei-host export --run nuclei-run --out nuclei.onnx
  nuclei-host export --run nuclei-run --weights float --out nuclei-float.onnx";

/// Write the model file of a training run's best epoch so far.
///
/// The extraction is tuned and the scores are taken on the run's own validation split.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// Folder of the run
    #[arg(long, default_value = "nuclei-run")]
    run: PathBuf,
    /// The run's data set, where it has moved
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where the model file goes
    #[arg(long, default_value = "nuclei.onnx")]
    out: PathBuf,
    /// How the model file stores weights
    #[arg(long, value_enum, default_value = "int8")]
    weights: Weights,
    /// Threads for reading and validation [default: all cores]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &ExportArgs) -> Result<Exit, Failure> {
    let folder = RunFolder::new(&args.run);
    let (config, dataset) = reopen(&folder, args.data.as_deref())?;
    let graph = best_network(&config, &folder)?;
    let threads = threads_or_all(args.threads);
    let material = Material::load(&dataset, config.validation_share, config.seed, threads)?;
    let model = finish(&graph, &config, args.weights.into(), &material.validation, threads)?;
    write_model(&model, &args.out)
}
