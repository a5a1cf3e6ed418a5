//! Slot storage in a folder of the station's disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::SlotStorage;

/// Why a folder cannot hold the slots.
#[derive(Debug, Error)]
pub enum StorageError {
    /// It does not exist and cannot be created, or is not writable.
    #[error("cannot use the storage folder {folder}")]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Another station uses it.
    #[error("the storage folder {folder} is in use by another nuclei-station")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
}

/// A folder, locked by one station at a time.
#[derive(Debug)]
pub struct FolderStorage {
    folder: PathBuf,
    /// Locked as long as the storage lives.
    _lock: File,
}

impl FolderStorage {
    /// Locks a folder, creating it if necessary.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        let unusable = |source| StorageError::Unusable { folder: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(unusable)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StorageError::InUse { folder: folder.to_owned() }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    fn writable(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(false).write(true).open(self.folder.join(name))
    }
}

/// At most `limit` bytes of a file of a folder; `None` where there is none.
pub(super) fn read_file(folder: &Path, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
    open(folder, name)?.map(|file| read_some(file, limit)).transpose()
}

fn open(folder: &Path, name: &str) -> io::Result<Option<File>> {
    match File::open(folder.join(name)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_some(file: File, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl SlotStorage for FolderStorage {
    fn read(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        read_file(&self.folder, name, limit)
    }

    fn read_end(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = open(&self.folder, name)? else { return Ok(None) };
        let start = file.metadata()?.len().saturating_sub(limit as u64);
        file.seek(SeekFrom::Start(start))?;
        read_some(file, limit).map(Some)
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        fs::write(self.folder.join(name), bytes)
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.writable(name)?.write_all_at(bytes, offset)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.writable(name)?.sync_data()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_in_place_replaced_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = FolderStorage::open(&folder.path().join("made")).unwrap();
        assert_eq!(storage.read("data", 9).unwrap(), None);
        storage.write_at("data", 3, b"def").unwrap();
        storage.write_at("data", 0, b"abc").unwrap();
        storage.sync("data").unwrap();
        assert_eq!(storage.read("data", 5).unwrap().unwrap(), b"abcde");
        for (limit, end) in [(2, &b"ef"[..]), (6, b"abcdef"), (99, b"abcdef")] {
            assert_eq!(storage.read_end("data", limit).unwrap().unwrap(), end);
        }
        assert_eq!(storage.read_end("none", 9).unwrap(), None);
        storage.write("beside", b"xy").unwrap();
        storage.rename("beside", "data").unwrap();
        storage.sync_dir().unwrap();
        assert_eq!(storage.read("data", 9).unwrap().unwrap(), b"xy");
        storage.remove("data").unwrap();
        storage.remove("data").unwrap();
        assert_eq!(storage.read("data", 9).unwrap(), None);
    }

    #[test]
    fn one_station_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderStorage::open(folder.path()).unwrap();
        assert!(matches!(FolderStorage::open(folder.path()), Err(StorageError::InUse { .. })));
        drop(first);
        assert!(FolderStorage::open(folder.path()).is_ok());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = FolderStorage::open(&file.join("below")).unwrap_err();
        assert!(matches!(error, StorageError::Unusable { .. }));
        assert!(error.to_string().contains("below"), "{error}");
    }
}
