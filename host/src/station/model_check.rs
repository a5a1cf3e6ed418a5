//! Checks a model file as a station does, before sending it.

use std::num::NonZeroUsize;

use shared::{Manifest, Model, ModelError, NetworkError, SegmentError};
use thiserror::Error;

/// Why a station would reject the file.
#[derive(Debug, Error)]
pub enum ModelCheckError {
    /// The file or its manifest.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The golden frame.
    #[error(transparent)]
    Golden(#[from] SegmentError<NetworkError>),
}

/// Loads a model, runs its golden frame, and returns its manifest.
///
/// # Errors
/// [`ModelCheckError`].
pub fn check_model(onnx: &[u8]) -> Result<Manifest, ModelCheckError> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut segmenter = Model::load(onnx, threads)?.into_segmenter();
    segmenter.check_golden()?;
    Ok(segmenter.manifest().clone())
}
