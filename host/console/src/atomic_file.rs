//! Atomic output files: written to a temporary file and renamed, so that a file is complete, old or new.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::Failure;

/// Why a file was not written; an existing file is unchanged.
#[derive(Debug, Error)]
#[error("{path} could not be written")]
pub struct WriteError {
    /// The file meant.
    path: PathBuf,
    /// What the system says.
    #[source]
    source: io::Error,
}

/// Writes a file atomically, creating its folder.
///
/// # Errors
/// [`WriteError`]; no part of the new file is left.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    write(path, bytes).map_err(|source| WriteError { path: path.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut beside = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder)?;
    beside.write_all(bytes)?;
    beside.as_file().sync_all()?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    beside.as_file().set_permissions(mode)?;
    beside.persist(path)?;
    fs::File::open(folder)?.sync_all()
}

/// What to do about a file that cannot be written, by the cause.
pub fn write_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "free space on the disk, or choose another place"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a place where you may write"
        }
        io::ErrorKind::NotFound => "create its folder, or choose another place",
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            "choose another place: a folder that exists or can be created"
        }
        _ => "choose another place, or check the disk",
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let next = write_advice(&error.source);
        Self::failed(error, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/file.txt");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_whole(&path, b"old").unwrap();
        let error = write_whole(&path.join("below-a-file"), b"new").unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let message = Failure::from(error).to_string();
        assert!(
            message.contains("file/below-a-file could not be written") && message.contains("another place"),
            "{message}"
        );
    }
}
