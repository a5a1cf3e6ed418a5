//! A file of JSON lines that grows, each line chained to the one before it.
//!
//! A line is a record with two more fields: `entry`, the line's number in the file from 1, and `previous`, the
//! SHA-256 of the line before it without its end, hexadecimal; zeros in the first line. Beside the file,
//! FILE.head holds the number of lines and the SHA-256 of the last one, so that an audit notices lines cut off at the
//! end. Someone who rewrites every line and the head leaves no trace here: where that matters, store the last digest
//! elsewhere, such as in a laboratory notebook. Files of earlier versions have lines without a chain.

mod audit;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use host_console::Failure;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use audit::{Audit, ChainBreak, audit};

/// What the first line is chained to.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A file to which records are appended, one line each.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    file: File,
    head: Head,
}

#[derive(Debug, Error)]
#[error("{path} could not be written")]
struct RecordError {
    path: PathBuf,
    source: std::io::Error,
}

/// The end of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// Number of lines.
    lines: u64,
    /// SHA-256 of the last line, hexadecimal.
    last: String,
}

#[derive(Serialize)]
struct Chained<'a, R> {
    #[serde(flatten)]
    record: &'a R,
    entry: u64,
    previous: &'a str,
}

impl Recording {
    /// Opens the file for appending, and creates it if it does not exist.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be written, or ends within a line.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let file = opened.map_err(|source| Self::failure(path, source))?;
        let head = match file.metadata() {
            Ok(kind) if kind.is_file() => Self::end_of(path)?,
            // A pipe or a device gets a chain too, but nothing can be read back from it.
            _ => Head { lines: 0, last: NOTHING.to_owned() },
        };
        Ok(Self { path: path.to_owned(), file, head })
    }

    /// Opens a file of that name in a folder, and creates the folder if it does not exist.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when the folder cannot be made.
    pub fn open_within(folder: &Path, name: &str) -> Result<Self, Failure> {
        fs::create_dir_all(folder).map_err(|source| Self::failure(folder, source))?;
        Self::open(&folder.join(name))
    }

    fn end_of(path: &Path) -> Result<Head, Failure> {
        let bytes = fs::read(path).map_err(|source| Self::failure(path, source))?;
        match bytes.strip_suffix(b"\n") {
            None if bytes.is_empty() => Ok(Head { lines: 0, last: NOTHING.to_owned() }),
            None => Err(Failure::failed(
                format!("{} ends within a line, as after a power cut", path.display()),
                "keep it unchanged, and choose another file",
            )),
            Some(whole) => {
                let last = whole.rsplit(|&byte| byte == b'\n').next().unwrap_or(whole);
                let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
                Ok(Head { lines, last: digest(last) })
            }
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be written.
    pub fn add(&mut self, record: &impl Serialize) -> Result<(), Failure> {
        let chained = Chained { record, entry: self.head.lines + 1, previous: &self.head.last };
        let mut line = serde_json::to_vec(&chained).map_err(std::io::Error::from)?;
        let head = Head { lines: self.head.lines + 1, last: digest(&line) };
        line.push(b'\n');
        // In one write, so that the file has the whole line or nothing of it.
        self.file.write_all(&line).map_err(|source| Self::failure(&self.path, source))?;
        self.head = head;
        // After the line: a head that is one behind differs from one that is ahead.
        self.write_head().map_err(|source| Self::failure(&head_path(&self.path), source))
    }

    fn write_head(&self) -> std::io::Result<()> {
        if !self.file.metadata()?.is_file() {
            return Ok(());
        }
        let place = head_path(&self.path);
        let beside = place.with_extension("head.new");
        fs::write(&beside, serde_json::to_vec(&self.head)?)?;
        fs::rename(beside, place)
    }

    fn failure(path: &Path, source: std::io::Error) -> Failure {
        Failure::failed(
            RecordError { path: path.to_owned(), source },
            "free space on the disk, or choose another file",
        )
    }
}

fn head_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".head");
    PathBuf::from(name)
}

/// SHA-256, hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
