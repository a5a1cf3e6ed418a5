//! The files of a data set: a folder, a zip (read without unpacking), or a single file.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc::{CRC_32_ISO_HDLC, Crc, Table};
use shared::{bare_stem, is_image_file, is_picture, is_truth_folder, picture_stem, truth_stem};
use zip::ZipArchive;

use super::error::{DatasetError, SampleError};

/// Maximum length of an image file: the largest image, uncompressed with 16 bits and alpha, plus metadata.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// The checksum used by zips.
const CHECKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// A file of the data set.
#[derive(Debug)]
pub(super) struct Entry {
    /// Path below the data set, `/` between its parts.
    pub(super) path: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Zip { index: usize, fingerprint: Fingerprint },
}

/// Length and checksum of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Bytes.
    pub(super) bytes: u64,
    /// CRC-32 as in zips.
    pub(super) crc: u32,
}

/// The files of a data set, sorted by path. Hidden files and those of `__MACOSX` are not among them.
#[derive(Debug)]
pub(super) struct Source {
    root: PathBuf,
    entries: Vec<Entry>,
    /// Folders by the names of truth in which no file lies.
    empty_truth: Vec<String>,
    archive: Option<ZipArchive<SharedFile>>,
}

impl Source {
    /// Lists the files of `path`; for a single image also the files next to it that may be its ground truth.
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        let unreadable = |source| DatasetError::Unreadable { path: path.to_owned(), source };
        let metadata = fs::metadata(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => DatasetError::NotFound { path: path.to_owned() },
            _ => unreadable(source),
        })?;
        let mut source =
            Self { root: path.to_owned(), entries: Vec::new(), empty_truth: Vec::new(), archive: None };
        if metadata.is_dir() {
            source.walk(path, "")?;
        } else if !metadata.is_file() {
            return Err(DatasetError::NotData { path: path.to_owned() });
        } else if is_zip(path).map_err(unreadable)? {
            source.read_zip(path)?;
        } else if is_picture(&file_name(path)) {
            source.beside(path).map_err(unreadable)?;
        } else if may_be_truth(&file_name(path)) {
            return Err(DatasetError::Truth { path: path.to_owned() });
        } else {
            return Err(DatasetError::NotData { path: path.to_owned() });
        }
        source.entries.sort_by(|a, b| a.path.cmp(&b.path));
        let Self { entries, empty_truth, .. } = &mut source;
        empty_truth.retain(|folder| !entries.iter().any(|entry| entry.path.starts_with(folder.as_str())));
        Ok(source)
    }

    /// Whether `path` refers to what was opened, however it is written.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        path.canonicalize().ok().zip(self.root.canonicalize().ok()).is_some_and(|(a, b)| a == b)
    }

    /// A folder's path below this one, `/` between its parts; `None` where it does not exist or lies
    /// elsewhere, as everything does for a zip.
    pub(super) fn path_within(&self, folder: &Path) -> Option<String> {
        if self.archive.is_some() {
            return None;
        }
        let root = if self.root.is_dir() { self.root.as_path() } else { parent(&self.root) };
        let (root, folder) = (root.canonicalize().ok()?, folder.canonicalize().ok()?);
        let parts = folder.strip_prefix(root).ok()?.iter().map(|part| part.to_string_lossy());
        Some(parts.collect::<Vec<_>>().join("/"))
    }

    /// The files.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Folders by the names of truth in which no file lies, `/` between parts and at the end.
    pub(super) fn empty_truth(&self) -> &[String] {
        &self.empty_truth
    }

    /// A file's name for messages: its path, including the zip's path if it is in one.
    pub(super) fn describe(&self, index: usize) -> String {
        match &self.entries[index].place {
            Place::File(path) => path.display().to_string(),
            Place::Zip { .. } => self.root.join(&self.entries[index].path).display().to_string(),
        }
    }

    /// The content of a file.
    pub(super) fn read(&self, index: usize) -> Result<Vec<u8>, SampleError> {
        let message = |source| SampleError::Read { file: self.describe(index), source };
        match (&self.entries[index].place, &self.archive) {
            (Place::Zip { index: at, .. }, Some(archive)) => {
                // A clone shares the listing; each reader keeps its own place.
                let mut archive = archive.clone();
                let mut file = archive.by_index(*at).map_err(|error| message(io::Error::from(error)))?;
                self.read_limited(index, file.size(), &mut file)
            }
            (Place::File(path), _) => {
                let mut file = File::open(path).map_err(message)?;
                let bytes = file.metadata().map_err(message)?.len();
                self.read_limited(index, bytes, &mut file)
            }
            (Place::Zip { .. }, None) => Err(message(io::ErrorKind::NotFound.into())),
        }
    }

    fn read_limited(&self, index: usize, bytes: u64, reader: &mut dyn Read) -> Result<Vec<u8>, SampleError> {
        let too_large =
            |bytes| SampleError::TooLarge { file: self.describe(index), bytes, limit: MAX_FILE_BYTES };
        if bytes > MAX_FILE_BYTES {
            return Err(too_large(bytes));
        }
        let mut content = Vec::with_capacity(bytes as usize);
        // The size is claimed by the listing, so it is not trusted.
        let read = reader.take(MAX_FILE_BYTES + 1).read_to_end(&mut content);
        read.map_err(|source| SampleError::Read { file: self.describe(index), source })?;
        if content.len() as u64 > MAX_FILE_BYTES {
            return Err(too_large(content.len() as u64));
        }
        Ok(content)
    }

    /// Length and checksum of a file: from the listing of a zip, otherwise by reading it.
    pub(super) fn fingerprint(&self, index: usize) -> Result<Fingerprint, SampleError> {
        match &self.entries[index].place {
            Place::Zip { fingerprint, .. } => Ok(*fingerprint),
            Place::File(_) => {
                let content = self.read(index)?;
                Ok(Fingerprint { bytes: content.len() as u64, crc: CHECKSUM.checksum(&content) })
            }
        }
    }

    /// Adds the files of a folder and of the folders in it; linked folders are not entered.
    fn walk(&mut self, folder: &Path, prefix: &str) -> Result<(), DatasetError> {
        let unreadable = |source| DatasetError::Unreadable { path: folder.to_owned(), source };
        for found in fs::read_dir(folder).map_err(unreadable)? {
            let found = found.map_err(unreadable)?;
            let name = found.file_name().to_string_lossy().into_owned();
            if is_hidden(&name) {
                continue;
            }
            let path = format!("{prefix}{name}");
            if found.file_type().map_err(unreadable)?.is_dir() {
                if is_truth_folder(&name) {
                    self.empty_truth.push(format!("{path}/"));
                }
                self.walk(&found.path(), &format!("{path}/"))?;
            } else if found.path().is_file() {
                self.entries.push(Entry { path, place: Place::File(found.path()) });
            }
        }
        Ok(())
    }

    fn read_zip(&mut self, path: &Path) -> Result<(), DatasetError> {
        let unreadable = |source| DatasetError::Unreadable { path: path.to_owned(), source };
        let broken = |source| DatasetError::NotZip { path: path.to_owned(), source };
        let file = SharedFile::open(path).map_err(unreadable)?;
        let mut archive = ZipArchive::new(file).map_err(broken)?;
        for index in 0..archive.len() {
            let file = archive.by_index_raw(index).map_err(broken)?;
            let Some(path) = path_within_zip(file.name()) else {
                return Err(DatasetError::LeadsOut { path: path.to_owned(), entry: file.name().to_owned() });
            };
            if file.is_dir() && path.trim_end_matches('/').rsplit('/').next().is_some_and(is_truth_folder) {
                self.empty_truth.push(path.clone());
            }
            if file.is_file() && !path.split('/').any(is_hidden) {
                let fingerprint = Fingerprint { bytes: file.size(), crc: file.crc32() };
                self.entries.push(Entry { path, place: Place::Zip { index, fingerprint } });
            }
        }
        self.archive = Some(archive);
        Ok(())
    }

    fn beside(&mut self, path: &Path) -> io::Result<()> {
        let name = file_name(path);
        let of = bare_stem(picture_stem(&name)).to_owned();
        self.entries.push(Entry { path: name, place: Place::File(path.to_owned()) });
        for found in fs::read_dir(parent(path))? {
            let found = found?;
            let name = file_name(&found.path());
            if truth_stem(picture_stem(&name)) == Some(of.as_str())
                && is_image_file(&name)
                && found.path().is_file()
            {
                self.entries.push(Entry { path: name, place: Place::File(found.path()) });
            }
        }
        Ok(())
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a file that is not an image by its name is one without the suffix of a ground truth.
fn may_be_truth(name: &str) -> bool {
    is_image_file(name) && truth_stem(picture_stem(name)).is_some()
}

/// The path of a zip's entry, `/` between its parts; `None` where it leads out of the zip.
fn path_within_zip(name: &str) -> Option<String> {
    let path = name.replace('\\', "/");
    let has_drive = path.as_bytes().get(1) == Some(&b':');
    if path.starts_with('/') || has_drive || path.split('/').any(|part| part == "..") {
        return None;
    }
    let mut within = path.as_str();
    while let Some(rest) = within.strip_prefix("./") {
        within = rest;
    }
    Some(within.to_owned())
}

fn is_hidden(part: &str) -> bool {
    part.starts_with('.') || part == "__MACOSX"
}

/// Whether a file is a zip by its first bytes, or claims to be one by its name.
fn is_zip(path: &Path) -> io::Result<bool> {
    let named = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
    let mut magic = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut magic)?;
    Ok(named || magic == *b"PK\x03\x04" || magic == *b"PK\x05\x06")
}

/// A file shared by several readers, each with its own position.
#[derive(Debug, Clone)]
struct SharedFile {
    file: Arc<File>,
    length: u64,
    at: u64,
}

impl SharedFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self { length: file.metadata()?.len(), file: Arc::new(file), at: 0 })
    }
}

impl Read for SharedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for SharedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
