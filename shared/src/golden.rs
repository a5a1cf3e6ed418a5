//! The golden frame: an image stored in the model with its expected labels, checked before a model runs.

use alloc::string::String;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::image::{Channels, Image, SizeError};
use crate::label_codec::{LabelCodecError, decode_labels, encode_labels};
use crate::label_image::LabelImage;
use crate::metric::{MetricError, evaluate};

/// Maximum pixels of a golden frame, which is text in every model file.
pub const MAX_GOLDEN_PIXELS: u32 = 256 * 256;

/// A golden frame: grayscale image and expected labels, as text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "GoldenText", into = "GoldenText")]
pub struct Golden {
    picture: Image,
    labels: LabelImage,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoldenText {
    width: u32,
    height: u32,
    /// Gray samples, row-major, base64.
    picture: String,
    /// Labels in the label codec, base64.
    labels: String,
}

/// Why a golden frame is rejected.
#[derive(Debug, Error)]
pub enum GoldenError {
    /// The image is not small and grayscale.
    #[error("a golden frame must be a grayscale image of at most {MAX_GOLDEN_PIXELS} pixels")]
    Picture,
    /// The text is not base64.
    #[error("the golden frame is not base64")]
    Base64,
    /// The image's samples do not match its size.
    #[error("the golden frame's image is damaged")]
    Size(#[from] SizeError),
    /// The labels cannot be decoded.
    #[error("the golden frame's labels are damaged")]
    Labels(#[from] LabelCodecError),
    /// Image and labels differ in size.
    #[error("the golden frame's image and labels differ in size")]
    Apart,
    /// The model produced other labels.
    #[error("the golden frame has {expected} nuclei, the model found {found} ({matched} of them match)")]
    Mismatch {
        /// Nuclei expected.
        expected: u32,
        /// Nuclei found.
        found: u32,
        /// Nuclei found where they were expected.
        matched: u32,
    },
    /// The labels found are of another size.
    #[error("the model's labels and the golden frame's labels differ in size")]
    Metric(#[from] MetricError),
}

/// Place in the metric's thresholds of the IoU that a golden nucleus must exceed: 0.80. A pixel that
/// falls the other way on another processor does not matter, another network does.
const MATCH_THRESHOLD: usize = 6;

impl Golden {
    /// A golden frame from a grayscale image and the model's labels for it.
    ///
    /// # Errors
    /// [`GoldenError::Picture`] or [`GoldenError::Apart`].
    pub fn new(picture: Image, labels: LabelImage) -> Result<Self, GoldenError> {
        let pixels = u64::from(picture.width()) * u64::from(picture.height());
        if picture.channels() != Channels::Grey || pixels > u64::from(MAX_GOLDEN_PIXELS) {
            return Err(GoldenError::Picture);
        }
        if (picture.width(), picture.height()) != (labels.width(), labels.height()) {
            return Err(GoldenError::Apart);
        }
        Ok(Self { picture, labels })
    }

    /// The image.
    pub const fn picture(&self) -> &Image {
        &self.picture
    }

    /// The labels expected.
    pub const fn labels(&self) -> &LabelImage {
        &self.labels
    }

    /// Compares a model's labels with the expected ones: the same number of nuclei, each matching one.
    ///
    /// # Errors
    /// [`GoldenError::Mismatch`] or [`GoldenError::Metric`].
    pub fn check(&self, found: &LabelImage) -> Result<(), GoldenError> {
        let score = evaluate(&self.labels, found)?;
        let matched = score.matches[MATCH_THRESHOLD].true_positives;
        if score.true_count == matched && score.predicted_count == matched {
            return Ok(());
        }
        Err(GoldenError::Mismatch { expected: score.true_count, found: score.predicted_count, matched })
    }
}

impl TryFrom<GoldenText> for Golden {
    type Error = GoldenError;

    fn try_from(text: GoldenText) -> Result<Self, GoldenError> {
        let samples = STANDARD.decode(text.picture).map_err(|_| GoldenError::Base64)?;
        let picture = Image::new(text.width, text.height, Channels::Grey, samples)?;
        let labels = STANDARD.decode(text.labels).map_err(|_| GoldenError::Base64)?;
        let labels = decode_labels(&labels, MAX_GOLDEN_PIXELS)?;
        Self::new(picture, labels)
    }
}

impl From<Golden> for GoldenText {
    fn from(golden: Golden) -> Self {
        Self {
            width: golden.picture.width(),
            height: golden.picture.height(),
            picture: STANDARD.encode(golden.picture.samples_hwc()),
            labels: STANDARD.encode(encode_labels(&golden.labels)),
        }
    }
}
