//! The settings of a run: everything that its result depends on besides the data.

use std::fs;
use std::path::{Path, PathBuf};

use burn::backend::Flex;
use burn::tensor::backend::Backend;
use host_console::Failure;
use host_modelling::{BadTruth, GraphError, ModelDraft};
use serde::{Deserialize, Serialize};
use shared::wire::ModelDigest;
use shared::{ColourOrder, InputSpec, Scores, UnitError};

use super::crops::Augmentation;
use super::recipe::Recipe;
use super::unet::{Unet, UnetConfig};

/// The settings of a run, as `config.json` in its folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The data set.
    pub data: PathBuf,
    /// Its digest.
    pub data_digest: String,
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
    pub encoder_weights: Option<EncoderWeights>,
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
    /// Decay of the exponential moving average of the weights, 0 to below 1.
    pub averaging: f64,
    /// Random seed of weights, split and crops.
    pub seed: u64,
    /// Fraction of the images held back for validation.
    pub validation_share: f64,
    /// Epochs between validations.
    pub validate_every: u32,
    /// Augmentation of the crops.
    pub augmentation: Augmentation,
    /// Diameter to which the median nucleus of an image is scaled, px.
    pub nucleus_px: f32,
}

/// A file with initial weights of an encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderWeights {
    /// The file.
    pub path: PathBuf,
    /// Its SHA-256, hexadecimal.
    pub digest: String,
}

impl EncoderWeights {
    /// Those of a file.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be read.
    pub fn of(path: &Path) -> Result<Self, Failure> {
        let bytes = fs::read(path).map_err(|error| {
            let problem = format!("{} cannot be read: {error}", path.display());
            Failure::usage(problem, "give torchvision's resnet50 with --encoder-weights")
        })?;
        Ok(Self { path: path.to_owned(), digest: ModelDigest::of(&bytes).to_string() })
    }
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

    /// The network that a run begins with.
    ///
    /// # Errors
    /// [`Failure`] when the encoder's weights cannot be taken over.
    pub fn first_network<B: Backend>(&self, device: &B::Device) -> Result<Unet<B>, Failure> {
        let mut network = self.unet.init(self.seed, device);
        if let Some(EncoderWeights { path, digest }) = &self.encoder_weights {
            if EncoderWeights::of(path)?.digest != *digest {
                let problem = format!("{} is not the file this run was started with", path.display());
                return Err(Failure::usage(problem, "restore that file, or start a new run"));
            }
            network.load_encoder(path)?;
        }
        Ok(network)
    }

    /// Multiply-accumulates per tile, in billions.
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
                scaling: self.recipe.scaling(),
                scale: self.recipe.scale_rule(self.nucleus_px)?,
            },
            outputs: self.recipe.outputs().to_vec(),
            extraction: self.recipe.extraction()?,
            native_nucleus_px: self.nucleus_px,
            data_digest: self.data_digest.clone(),
            scores: Scores { float: None, int8: None },
        })
    }
}
