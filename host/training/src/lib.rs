//! Training: from a data set to a model file, with a run folder that documents the process.
//!
//! Burn's types stay within this crate, which is separate from the rest of the host because they take minutes to
//! compile; its result is a [`Graph`](host_modelling::Graph).

mod ablation;
mod backend;
mod bootstrap;
mod checkpoint;
mod config;
mod convolution;
mod cpu;
mod ema;
mod first_network;
mod golden_scene;
mod loss;
mod normalisation;
mod ops;
mod package_model;
mod pareto;
mod pooling;
mod precision;
mod recipe;
mod reference;
mod run_folder;
mod sampler;
mod schedule;
mod session;
mod split;
#[cfg(test)]
mod stored_run;
mod throughput;
mod training_data;
mod unet;
mod validation;

pub use ablation::variants;
#[cfg(feature = "cuda")]
pub use backend::cuda::{PROBE_COMMAND, compute_on_cuda};
pub use backend::{Backend, BackendChoice};
pub use bootstrap::{Interval, bootstrap};
pub use config::{DataSource, SampleBy, TrainConfig, WeightsFile};
pub use host_crops::{Augmentation, ColourAugmentation, Focus, Switch};
pub use package_model::{FinishedModel, ScoredFile, package_model, tuned_draft};
pub use precision::PrecisionChoice;
pub use recipe::Recipe;
pub use run_folder::{RunFolder, RunLock};
pub use schedule::Schedule;
pub use session::{Limits, Outcome, Session};
pub use split::SplitBy;
pub use throughput::{Throughput, ThroughputConfig};
pub use training_data::{TrainingData, TypedSamples};
pub use training_kernels::Precision;
pub use unet::{AdoptError, Encoder, EncoderWeightsError, Skips, Stem, UnetConfig};
pub use validation::{Tuner, ValidationError, ValidationPicture};

use std::num::NonZeroUsize;

use host_console::Failure;
use host_modelling::Graph;

use burn::backend::{Autodiff, Flex};

impl Session<'_> {
    /// Trains on a backend.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_on(&self, backend: Backend) -> Result<Outcome, Failure> {
        match backend {
            #[cfg(feature = "cuda")]
            // The GPU leaves the cores to the crops, and takes more than one core makes.
            Backend::Cuda => self.run::<backend::cuda::CudaTraining>(&Default::default(), self.threads),
            Backend::Cpu => self.run::<Autodiff<Flex>>(&Default::default(), NonZeroUsize::MIN),
        }
    }
}

/// Which of a run's weights are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RunWeights {
    /// Those of the best epoch so far.
    Best,
    /// Those of the last checkpoint.
    Last,
}

/// The network of a run, with the running average of its weights.
///
/// # Errors
/// [`Failure`] when the run has no such weights yet or they cannot be read.
pub fn network_of(config: &TrainConfig, folder: &RunFolder, which: RunWeights) -> Result<Graph, Failure> {
    let path = match which {
        RunWeights::Best => folder.best(),
        RunWeights::Last => folder.checkpoint(),
    };
    let device = Default::default();
    let network = config.unet.init::<Flex>(config.seed, &device);
    let network = checkpoint::load_weights::<Flex, _>(&path, network, &device)?;
    Ok(network.graph(config.tile())?)
}

impl From<checkpoint::CheckpointError> for Failure {
    fn from(error: checkpoint::CheckpointError) -> Self {
        Self::failed(error, "start a new run in another folder (--run)")
    }
}

impl From<AdoptError> for Failure {
    fn from(error: AdoptError) -> Self {
        Self::usage(error, "give the network's form by --width and the like as the model file has it")
    }
}

impl From<EncoderWeightsError> for Failure {
    fn from(error: EncoderWeightsError) -> Self {
        let next = "give torchvision's resnet50 as .pth or .safetensors, or omit --encoder-weights";
        Self::usage(error, next)
    }
}

impl From<validation::ValidationError> for Failure {
    fn from(error: validation::ValidationError) -> Self {
        Self::failed(error, "remove that image from the data set, or report this")
    }
}
