//! The manifest: JSON in a model's ONNX file, and the only place for these settings.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::extraction::ExtractionParams;
use crate::golden::Golden;
use crate::metric::SetScore;
use crate::preprocess::Scaling;
use crate::scale::ScaleRule;

/// The manifest format that this code reads and writes.
pub const MANIFEST_FORMAT: u16 = 1;
/// Key of the manifest in the ONNX file's `metadata_props`.
pub const MANIFEST_KEY: &str = "nuclei_manifest";
/// Name of the network's input, `[1, 3, height, width]`.
pub const INPUT_NAME: &str = "image";
/// Name of the network's output, `[1, channels, height, width]`.
pub const OUTPUT_NAME: &str = "probabilities";

/// What an output channel of the network holds, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputChannel {
    /// Whole nuclei.
    Nucleus,
    /// Nuclei without their inner border of one pixel.
    Interior,
    /// Distance to the nucleus's outline, as a share of the greatest in that nucleus.
    Distance,
}

/// Order of the network's three input planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColourOrder {
    /// Red, green, blue.
    Rgb,
}

/// The network's input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Side of a square tile in pixels.
    pub tile: u32,
    /// Minimum overlap of neighboring tiles in pixels.
    pub overlap: u32,
    /// Order of the planes.
    pub colour: ColourOrder,
    /// How samples become network input.
    pub scaling: Scaling,
    /// How images are resized.
    pub scale: ScaleRule,
}

/// A model's scores on its validation split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// With the trained float weights.
    pub float: Option<SetScore>,
    /// With the int8 weights in this file, if quantized.
    pub int8: Option<SetScore>,
}

/// Everything that a station needs to run a model, and a person to assess it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`] of the writer.
    pub format: u16,
    /// The architecture in words, such as `unet width 24 depth 4 halved add`.
    pub architecture: String,
    /// The network's input.
    pub input: InputSpec,
    /// The network's output channels in order.
    pub outputs: Vec<OutputChannel>,
    /// How nuclei are extracted, as tuned on validation.
    pub extraction: ExtractionParams,
    /// Area-weighted median diameter of the training nuclei, in pixels at the network's scale.
    pub native_nucleus_px: f32,
    /// SHA-256 of the training data, hexadecimal.
    pub data_digest: String,
    /// Validation scores.
    pub scores: Scores,
    /// Multiply-accumulates of one tile, in billions.
    pub gmac: f32,
    /// An image whose labels the model must reproduce before it may run.
    pub golden: Golden,
}

/// Why a manifest cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// It has another format.
    #[error("the manifest has format {found}; this program understands {MANIFEST_FORMAT}")]
    Format {
        /// The format found.
        found: u16,
    },
    /// It is not valid JSON of this format.
    #[error("the manifest cannot be read: {message}")]
    Json {
        /// What the parser says.
        message: String,
    },
    /// It contradicts itself.
    #[error("the manifest contradicts itself: {problem}")]
    Contradiction {
        /// The contradiction.
        problem: &'static str,
    },
}

impl Manifest {
    /// Reads a manifest: the format first, so that a newer one is named and not misread.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn parse(json: &str) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct FormatOnly {
            format: u16,
        }
        let shape = |error: serde_json::Error| ManifestError::Json { message: error.to_string() };
        let FormatOnly { format } = serde_json::from_str(json).map_err(shape)?;
        if format != MANIFEST_FORMAT {
            return Err(ManifestError::Format { found: format });
        }
        let manifest: Self = serde_json::from_str(json).map_err(shape)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The manifest as JSON.
    ///
    /// # Errors
    /// [`ManifestError::Contradiction`] where a number is not finite or the parts do not fit.
    pub fn to_json(&self) -> Result<String, ManifestError> {
        self.check()?;
        serde_json::to_string(self).map_err(|error| ManifestError::Json { message: error.to_string() })
    }

    /// The channel's place in the network's output.
    pub fn channel(&self, channel: OutputChannel) -> Option<usize> {
        self.outputs.iter().position(|&output| output == channel)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let contradiction = |problem| Err(ManifestError::Contradiction { problem });
        let InputSpec { tile, overlap, scaling, scale, .. } = self.input;
        if !(32..=1024).contains(&tile) || tile % 16 != 0 {
            return contradiction("a tile must have 32 to 1024 pixels per side, a multiple of 16");
        }
        if overlap >= tile / 2 {
            return contradiction("the overlap must be less than half of the tile");
        }
        if let Scaling::Stretch { low, high, .. } = scaling
            && !(0.0 <= low && low < high && high <= 1.0)
        {
            return contradiction("the contrast stretch needs ordered quantiles from 0 to 1");
        }
        if let ScaleRule::Nucleus { target_px, min, max } = scale
            && !(target_px.is_finite() && target_px > 0.0 && min <= max)
        {
            return contradiction("the scale rule needs a positive diameter and ordered limits");
        }
        if self.channel(OutputChannel::Nucleus).is_none() {
            return contradiction("no output channel predicts nuclei");
        }
        if matches!(self.extraction, ExtractionParams::Watershed { .. })
            && self.channel(OutputChannel::Interior).is_none()
            && self.channel(OutputChannel::Distance).is_none()
        {
            return contradiction("a watershed needs an interior or a distance channel");
        }
        if self.outputs.len() > 8
            || (1..self.outputs.len()).any(|i| self.outputs[..i].contains(&self.outputs[i]))
        {
            return contradiction("output channels must be distinct");
        }
        if !(self.gmac.is_finite() && self.native_nucleus_px.is_finite()) {
            return contradiction("a number is not finite");
        }
        Ok(())
    }
}
