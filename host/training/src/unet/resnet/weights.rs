//! torchvision's weights of a ResNet-50.

use std::path::{Path, PathBuf};

use burn::module::RunningState;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_store::{ApplyResult, ModuleSnapshot as _, PyTorchToBurnAdapter, PytorchStore, SafetensorsStore};
use thiserror::Error;

use super::Resnet50;

/// Why weights could not be loaded.
#[derive(Debug, Error)]
pub enum EncoderWeightsError {
    /// A file of another kind.
    #[error("{path} is not a .safetensors, .pth or .pt file")]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// A file that cannot be read as what its name says.
    #[error("{path} cannot be read: {message}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        message: String,
    },
    /// Weights of another network.
    #[error("{path} does not contain a ResNet-50: {what}")]
    Other {
        /// The file.
        path: PathBuf,
        /// The first tensor that is missing or does not fit, and how many there are.
        what: String,
    },
}

/// Numbers of the channels that torchvision's networks expect, over those of images from 0 to 1.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
/// torchvision's names, as patterns, and ours.
const NAMES: [(&str, &str); 2] =
    [(r"\.downsample\.0\.", ".downsample.conv."), (r"\.downsample\.1\.", ".downsample.norm.")];

impl<B: Backend> Resnet50<B> {
    /// Takes over the weights of torchvision's `resnet50` from its state dictionary, the classifier left out.
    ///
    /// # Errors
    /// [`EncoderWeightsError`]; the network is then in no defined state.
    pub(crate) fn load(&mut self, path: &Path) -> Result<(), EncoderWeightsError> {
        let unreadable = |error: &dyn std::fmt::Display| EncoderWeightsError::Read {
            path: path.to_owned(),
            message: error.to_string(),
        };
        // The stores' message for a missing file is verbose.
        std::fs::metadata(path).map_err(|error| unreadable(&error))?;
        let applied = match path.extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => {
                let mut store = SafetensorsStore::from_file(path)
                    .with_from_adapter(PyTorchToBurnAdapter)
                    .allow_partial(true);
                for (theirs, ours) in NAMES {
                    store = store.with_key_remapping(theirs, ours);
                }
                self.load_from(&mut store).map_err(|error| unreadable(&error))?
            }
            Some("pth" | "pt") => {
                let mut store = PytorchStore::from_file(path).allow_partial(true);
                for (theirs, ours) in NAMES {
                    store = store.with_key_remapping(theirs, ours);
                }
                self.load_from(&mut store).map_err(|error| unreadable(&error))?
            }
            _ => return Err(EncoderWeightsError::Kind { path: path.to_owned() }),
        };
        let ApplyResult { missing, errors, .. } = applied;
        let what = match (errors.first(), missing.first()) {
            (Some(error), _) => format!("{error}"),
            (None, Some((name, _))) => format!("{name} is missing, one of {}", missing.len()),
            (None, None) => {
                self.expect_unit_range();
                return Ok(());
            }
        };
        Err(EncoderWeightsError::Other { path: path.to_owned(), what })
    }

    /// Moves the normalization that torchvision's images get into the first convolution, since ours lie between
    /// 0 and 1. Beyond an image's edge the convolution then sees black instead of the mean.
    fn expect_unit_range(&mut self) {
        let weight = self.conv1.weight.val();
        let device = weight.device();
        let channels =
            |numbers: [f32; 3]| Tensor::<B, 1>::from_floats(numbers, &device).reshape([1, 3, 1, 1]);
        let weight = weight / channels(DEVIATION);
        let output = weight.dims()[0];
        let offset =
            (weight.clone() * channels(MEAN)).reshape([output, 3 * 7 * 7]).sum_dim(1).reshape([output]);
        self.conv1.weight = self.conv1.weight.clone().map(|_| weight.detach().require_grad());
        self.bn1.running_mean = RunningState::new(self.bn1.running_mean.value_sync() + offset);
    }
}

#[cfg(test)]
mod tests;
