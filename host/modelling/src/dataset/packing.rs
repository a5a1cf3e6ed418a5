//! Packs some images of a data set into a zip.

use std::io::{Cursor, Write as _};

use host_console::Failure;
use thiserror::Error;
use zip::ZipWriter;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;

use super::{Dataset, SampleError, files_of};

/// Why images were not packed.
#[derive(Debug, Error)]
pub enum PackError {
    /// A file cannot be read.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// A file does not fit into a zip.
    #[error("cannot add {path} to a zip")]
    Zip {
        /// The path inside of the zip.
        path: String,
        /// Why.
        #[source]
        source: ZipError,
    },
}

impl From<PackError> for Failure {
    fn from(error: PackError) -> Self {
        match error {
            PackError::Sample(error) => error.into(),
            error => Self::failed(error, "give the file a shorter ASCII name"),
        }
    }
}

impl Dataset {
    /// A zip with some of the images and their ground truth, every file under its path in the data set. The same images
    /// give the same bytes.
    ///
    /// # Errors
    /// [`PackError`].
    ///
    /// # Panics
    /// When an index is not below [`Dataset::len`].
    pub fn pack(&self, indices: &[usize]) -> Result<Vec<u8>, PackError> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        // Without a time of its own, every file has that of the format's beginning.
        let options = SimpleFileOptions::default();
        for file in files_of(indices.iter().map(|&index| &self.pictures[index])) {
            let path = &self.source.entries()[file].path;
            let failed = |source| PackError::Zip { path: path.clone(), source };
            let content = self.source.read(file)?;
            zip.start_file(path.as_str(), options).map_err(failed)?;
            zip.write_all(&content).map_err(|error| failed(error.into()))?;
        }
        let failed = |source| PackError::Zip { path: "the list of files".to_owned(), source };
        Ok(zip.finish().map_err(failed)?.into_inner())
    }
}
