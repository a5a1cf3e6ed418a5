//! A model file opened for work on this machine.

use std::num::NonZeroUsize;
use std::path::Path;

use host_console::{Failure, read_input};
use shared::wire::ModelDigest;
use shared::{Model, Segmenter, TractNetwork};

/// A model that is ready to run, and its digest.
#[derive(Debug)]
pub struct OpenModel {
    /// Runs the model.
    pub segmenter: Segmenter<TractNetwork>,
    /// SHA-256 of the file.
    pub digest: ModelDigest,
}

impl OpenModel {
    /// Reads and checks a model file, and plans it for `threads` threads.
    ///
    /// # Errors
    /// [`Failure`] that names the file.
    pub fn load(path: &Path, threads: NonZeroUsize) -> Result<Self, Failure> {
        let named = |error: &dyn std::fmt::Display| format!("{} cannot be used: {error}", path.display());
        let onnx = read_input(path).map_err(|error| Failure::failed(named(&error), "give a model file"))?;
        let model = Model::load(&onnx, threads).map_err(|error| {
            Failure::failed(named(&error), "give a model written by nuclei-host train or export")
        })?;
        Ok(Self { digest: model.digest(), segmenter: model.into_segmenter() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn invalid_model_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        let message = |path: &Path| OpenModel::load(path, NonZeroUsize::MIN).unwrap_err().to_string();
        assert!(message(&path).contains("model.onnx cannot be used: No such file"), "{}", message(&path));
        fs::write(&path, b"text").unwrap();
        assert!(message(&path).contains("the file is not an ONNX model"), "{}", message(&path));
    }
}
