//! The settings of a run: everything that its result depends on besides the data.

use std::path::{Path, PathBuf};

use burn::backend::Flex;
use host_console::{Failure, read_input};
use host_modelling::{BadTruth, Dataset, GraphError, ModelDraft};
use serde::{Deserialize, Serialize};
use shared::wire::ModelDigest;
use shared::{ColourOrder, InputSpec, Scaling, Scores, UnitError};
use training_kernels::Precision;

use super::recipe::Recipe;
use super::schedule::Schedule;
use super::split::SplitBy;
use super::unet::UnetConfig;
use host_crops::Augmentation;

/// The settings of a run, as `config.json` in its folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The data set.
    pub data: PathBuf,
    /// Its digest.
    pub data_digest: String,
    /// More data sets, used beside the first.
    #[serde(default)]
    pub more_data: Vec<DataSource>,
    /// What to do with images without usable ground truth.
    #[serde(default)]
    pub bad_truth: BadTruth,
    /// What is taught.
    #[serde(default)]
    pub recipe: Recipe,
    /// The network.
    pub unet: UnetConfig,
    /// The initial weights of its encoder, if not random.
    #[serde(default)]
    pub encoder_weights: Option<WeightsFile>,
    /// The model file whose weights all of it begins with.
    #[serde(default)]
    pub from: Option<WeightsFile>,
    /// Epochs.
    pub epochs: u32,
    /// Crops per epoch.
    pub epoch_crops: u64,
    /// Crops per step.
    pub batch: usize,
    /// Side of a crop, px.
    pub crop: usize,
    /// Greatest learning rate.
    pub learning_rate: f64,
    /// How it changes over the run.
    #[serde(default)]
    pub schedule: Schedule,
    /// Decay of the exponential moving average of the weights, 0 to below 1.
    pub averaging: f64,
    /// Random seed of weights, split and crops.
    pub seed: u64,
    /// Fraction of the images held back for validation.
    pub validation_share: f64,
    /// What stays together in the split.
    #[serde(default)]
    pub split_by: SplitBy,
    /// Names of the pictures held back, in place of a share of them; others of their photographs are not used at all.
    #[serde(default)]
    pub held_back: Vec<String>,
    /// How often pictures of different kinds are drawn.
    #[serde(default)]
    pub sample_by: SampleBy,
    /// How samples become network input.
    #[serde(default = "first_scaling")]
    pub scaling: Scaling,
    /// Epochs between validations.
    pub validate_every: u32,
    /// Augmentation of the crops.
    pub augmentation: Augmentation,
    /// Diameter to which the median nucleus of an image is scaled, px.
    pub nucleus_px: f32,
    /// Precision of the CPU's products in training; runs before there was a choice took their machine's fastest.
    #[serde(default = "Precision::fastest")]
    pub precision: Precision,
}

/// How often pictures of different kinds are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleBy {
    /// Types by the square root of their pictures' number, pictures of a type alike.
    #[default]
    Type,
    /// Fluorescence, stain and brightfield by fixed shares; within each of them photographs of one size, which are
    /// those of one microscope as a rule, by the square root of their number, so that rare ones are seen often enough
    /// and yet not learnt by heart; of these a photograph, and of it a picture.
    Photograph,
}

/// What runs were trained with before their settings said so.
const fn first_scaling() -> Scaling {
    Scaling::STRETCH
}

/// A data set by its path and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSource {
    /// The data set.
    pub path: PathBuf,
    /// Its digest.
    pub digest: String,
}

impl DataSource {
    /// The data set at a path.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be read.
    pub fn of(path: &Path) -> Result<Self, Failure> {
        Ok(Self { path: path.to_owned(), digest: Dataset::open(path)?.digest()? })
    }

    fn open(&self) -> Result<Dataset, Failure> {
        let dataset = Dataset::open(&self.path)?;
        if dataset.digest()? == self.digest {
            return Ok(dataset);
        }
        let problem = format!("{} is not the data set that the run began with", self.path.display());
        Err(Failure::usage(problem, "put that data set back, or begin a new run"))
    }
}

/// A file of weights that a network begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsFile {
    /// The file.
    pub path: PathBuf,
    /// Its SHA-256, hexadecimal.
    pub digest: String,
}

impl WeightsFile {
    /// Those of a file.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be read.
    pub fn of(path: &Path) -> Result<Self, Failure> {
        let bytes = read(path)?;
        Ok(Self { path: path.to_owned(), digest: ModelDigest::of(&bytes).to_string() })
    }

    /// The file's bytes, which must be those that the run began with.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let bytes = read(&self.path)?;
        if ModelDigest::of(&bytes).to_string() == self.digest {
            return Ok(bytes);
        }
        let problem = format!("{} is not the file this run was started with", self.path.display());
        Err(Failure::usage(problem, "restore that file, or start a new run"))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_input(path).map_err(|error| {
        let problem = format!("{} cannot be read: {error}", path.display());
        Failure::usage(problem, "give another file of weights")
    })
}

/// Side of a tile of the exported network, px.
const TILE: u32 = 256;
/// Minimum overlap of tiles: more than a nucleus at the network's scale, px.
const OVERLAP: u32 = 32;

/// What a step is about.
#[derive(Debug, Clone, Copy)]
pub struct StepShape {
    /// Side of a crop, px.
    pub side: usize,
    /// Number of output channels in the Dice loss, from the first.
    pub masks: usize,
}

impl TrainConfig {
    /// Steps per epoch.
    pub fn epoch_steps(&self) -> u64 {
        self.epoch_crops.div_ceil(self.batch as u64).max(1)
    }

    /// Steps of the run.
    pub fn steps(&self) -> u64 {
        self.epoch_steps() * u64::from(self.epochs)
    }

    /// What a step of the run is about.
    pub const fn step_shape(&self) -> StepShape {
        StepShape { side: self.crop, masks: self.recipe.masks() }
    }

    /// Side of the exported network's input, px.
    pub const fn tile(&self) -> usize {
        TILE as usize
    }

    /// Digest of all data of the run, hexadecimal.
    pub fn all_data_digest(&self) -> String {
        if self.more_data.is_empty() {
            return self.data_digest.clone();
        }
        let digests = [&self.data_digest].into_iter().chain(self.more_data.iter().map(|data| &data.digest));
        ModelDigest::of(digests.map(String::as_str).collect::<Vec<_>>().concat().as_bytes()).to_string()
    }

    /// The run's further data sets.
    ///
    /// # Errors
    /// [`Failure`] when one cannot be read or is not the one that the run began with.
    pub fn open_more_data(&self) -> Result<Vec<Dataset>, Failure> {
        self.more_data.iter().map(DataSource::open).collect()
    }

    /// Multiply-accumulates of a tile, in billions.
    ///
    /// # Errors
    /// [`GraphError`] when the network does not fit the tile.
    pub fn gmac(&self) -> Result<f64, GraphError> {
        let network = self.unet.init::<Flex>(self.seed, &Default::default());
        Ok(network.graph(self.tile())?.macs() as f64 / 1e9)
    }

    /// The run with crops as a station's tiles: of the network's size and scale, nothing varied.
    pub fn as_deployed(&self) -> Self {
        Self { crop: self.tile(), augmentation: Augmentation::none(self.nucleus_px), ..self.clone() }
    }

    /// The manifest's part of a model of this run, with thresholds that are not tuned yet.
    ///
    /// # Errors
    /// [`UnitError`] when a scale is out of range.
    pub fn draft(&self) -> Result<ModelDraft, UnitError> {
        Ok(ModelDraft {
            architecture: self.unet.describe(),
            input: InputSpec {
                tile: TILE,
                overlap: OVERLAP,
                colour: ColourOrder::Rgb,
                scaling: self.scaling,
                scale: self.recipe.scale_rule(self.nucleus_px)?,
            },
            outputs: self.recipe.outputs().to_vec(),
            extraction: self.recipe.extraction()?,
            native_nucleus_px: self.nucleus_px,
            data_digest: self.all_data_digest(),
            scores: Scores { float: None, int8: None },
        })
    }
}
