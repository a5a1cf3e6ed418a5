//! A file of JSON lines that grows.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use host_console::Failure;
use thiserror::Error;

/// A file that records are added to, a line each.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    file: File,
}

#[derive(Debug, Error)]
#[error("{path} could not be written")]
struct RecordError {
    path: PathBuf,
    source: std::io::Error,
}

impl Recording {
    /// Opens the file, to add to what is there.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be written.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let file = opened.map_err(|source| Self::failure(path, source))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be written.
    pub fn add(&mut self, record: &impl serde::Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(record).map_err(std::io::Error::from)?;
        line.push(b'\n');
        // In one write, so that a line is there whole or not at all.
        self.file.write_all(&line).map_err(|source| Self::failure(&self.path, source))
    }

    fn failure(path: &Path, source: std::io::Error) -> Failure {
        Failure::failed(
            RecordError { path: path.to_owned(), source },
            "free space on the disk, or name another file",
        )
    }
}
