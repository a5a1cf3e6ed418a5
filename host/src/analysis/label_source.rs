//! The source of the labels to be scored: a model that runs here, or label images on disk.

use shared::{Image, LabelImage, NetworkError, ScaleChoice, SegmentError, SizeError};
use thiserror::Error;

use crate::analysis::model_file::OpenModel;
use crate::records::label_files::{LabelFiles, LabelFilesError};

/// A source of predicted labels.
#[derive(Debug)]
pub enum LabelSource {
    /// The station's own code segments the images.
    Model(Box<OpenModel>),
    /// Label images on disk.
    Files(LabelFiles),
}

/// Why there are no predicted labels.
#[derive(Debug, Error)]
pub enum LabelSourceError {
    /// The model failed on an image.
    #[error("the model did not segment it")]
    Segment(#[source] SegmentError<NetworkError>),
    /// A label image cannot be read.
    #[error(transparent)]
    Files(#[from] LabelFilesError),
    /// The image exceeds the limits.
    #[error(transparent)]
    Size(#[from] SizeError),
}

impl LabelSource {
    /// Labels of an image. A model segments it at its own scale; a missing label image means no nuclei.
    ///
    /// # Errors
    /// [`LabelSourceError`].
    pub fn labels(&mut self, name: &str, image: &Image) -> Result<LabelImage, LabelSourceError> {
        match self {
            Self::Files(files) => match files.load(name)? {
                Some(labels) => Ok(labels),
                None => Ok(LabelImage::background(image.width(), image.height())?),
            },
            Self::Model(model) => match model.segmenter.segment(image, ScaleChoice::PerPicture) {
                Ok(segmentation) => Ok(segmentation.labels),
                Err(source) => Err(LabelSourceError::Segment(source)),
            },
        }
    }
}
