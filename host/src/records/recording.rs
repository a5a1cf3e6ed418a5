//! A file of JSON lines that grows, each line chained to the one before it.
//!
//! A line is a record with two more fields: `entry`, the line's number in the file from 1, and `previous`, the
//! SHA-256 of the line before it without its end, hexadecimal; zeros in the first line. Beside the file,
//! FILE.head holds the number of lines and the SHA-256 of the last one, so that an audit notices lines cut off at the
//! end. Someone who rewrites every line and the head leaves no trace here: where that matters, store the last digest
//! elsewhere, such as in a laboratory notebook. Files of earlier versions have lines without a chain.

mod audit;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use host_console::{Failure, warning, write_advice};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use audit::{Audit, ChainBreak, audit};

/// What the first line is chained to.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Bytes of a .head file: always the same, so that it can be overwritten in place.
const HEAD_BYTES: usize = 128;

/// A file to which records are appended, one line each. It is locked, and both of its files stay open, so that a
/// recording needs no other file while it lasts.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    length: u64,
    head: Head,
    /// The file that holds the head; `None` beside a pipe or a device.
    head_file: Option<File>,
}

#[derive(Debug, Error)]
enum RecordingError {
    #[error("{} could not be written", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("another program records to {}", .0.display())]
    InUse(PathBuf),
    #[error("{} {problem}", path.display())]
    Unfit { path: PathBuf, problem: String },
}

impl From<RecordingError> for Failure {
    fn from(error: RecordingError) -> Self {
        let next = match &error {
            RecordingError::Io { source, .. } => write_advice(source),
            RecordingError::InUse(_) => "stop it, or choose another file",
            RecordingError::Unfit { .. } => "keep it unchanged, and choose another file",
        };
        Self::failed(error, next)
    }
}

/// The end of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// Number of lines.
    lines: u64,
    /// SHA-256 of the last line, hexadecimal.
    last: String,
}

impl Head {
    fn of_nothing() -> Self {
        Self { lines: 0, last: NOTHING.to_owned() }
    }

    /// Whether a line is the next one of the chain.
    fn is_followed_by(&self, line: &[u8]) -> bool {
        serde_json::from_slice::<Map<String, Value>>(line).is_ok_and(|record| {
            let previous = record.get("previous").and_then(Value::as_str);
            record.get("entry").and_then(Value::as_u64) == Some(self.lines + 1)
                && previous == Some(self.last.as_str())
        })
    }

    /// JSON, filled up with spaces.
    fn encode(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.resize(HEAD_BYTES, b' ');
        Ok(bytes)
    }
}

#[derive(Serialize)]
struct Chained<'a, R> {
    #[serde(flatten)]
    record: &'a R,
    entry: u64,
    previous: &'a str,
}

/// The content of a file that is to be continued.
struct Content {
    /// The end of its whole lines.
    head: Head,
    /// Bytes of its whole lines.
    length: u64,
    last: Vec<u8>,
    /// Whether of the last line only its end is missing, which `length` includes.
    is_unterminated: bool,
    /// What follows the last whole line.
    rest: Vec<u8>,
}

impl Recording {
    /// Opens and locks the file for appending, and creates it if it does not exist. A line that a full disk or a power
    /// cut left unfinished at its end is removed, with a warning.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be written, another program records to it, or it is not a recording that an audit
    /// would accept.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self::open_file(path)?)
    }

    fn open_file(path: &Path) -> Result<Self, RecordingError> {
        let failed = |source| RecordingError::Io { path: path.to_owned(), source };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            // A pipe or a device gets a chain too, but nothing can be read back from it.
            let (path, head) = (path.to_owned(), Head::of_nothing());
            return Ok(Self { path, file, length: 0, head, head_file: None });
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RecordingError::InUse(path.to_owned())),
            // Some network drives have no locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let stored = Head::beside(path);
        let (content, confirmed) = Content::read(path, stored.as_ref()).map_err(failed)?;
        content.check(stored.as_ref(), confirmed.as_deref()).map_err(|problem| {
            let path = path.to_owned();
            RecordingError::Unfit { path, problem }
        })?;
        if content.is_unterminated {
            (&file).write_all(b"\n").map_err(failed)?;
        }
        if !content.rest.is_empty() {
            file.set_len(content.length).map_err(failed)?;
            warning!(
                "{} ended within a line, as after a power cut or on a full disk: its last {} bytes were removed",
                path.display(),
                content.rest.len()
            );
        }
        let place = head_path(path);
        let head_file = create_head(&place, &content.head)
            .map_err(|source| RecordingError::Io { path: place, source })?;
        let Content { head, length, .. } = content;
        Ok(Self { path: path.to_owned(), file, length, head, head_file: Some(head_file) })
    }

    /// Opens a file of that name in a folder, and creates the folder if it does not exist.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when the folder cannot be made.
    pub fn open_within(folder: &Path, name: &str) -> Result<Self, Failure> {
        fs::create_dir_all(folder)
            .map_err(|source| RecordingError::Io { path: folder.to_owned(), source })?;
        Self::open(&folder.join(name))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line. Where that fails, the file ends with the line before, and can be continued later.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be written.
    pub fn add(&mut self, record: &impl Serialize) -> Result<(), Failure> {
        let chained = Chained { record, entry: self.head.lines + 1, previous: &self.head.last };
        let mut line = serde_json::to_vec(&chained).map_err(io::Error::from)?;
        let head = Head { lines: self.head.lines + 1, last: digest(&line) };
        line.push(b'\n');
        if let Err(source) = self.file.write_all(&line) {
            if self.head_file.is_some() {
                // Of a line that did not fit, nothing must stay. If that fails too, the next start removes it.
                let _ = self.file.set_len(self.length);
            }
            return Err(RecordingError::Io { path: self.path.clone(), source }.into());
        }
        (self.head, self.length) = (head, self.length + line.len() as u64);
        // After the line: a head that is one behind differs from one that is ahead.
        let Some(file) = &self.head_file else { return Ok(()) };
        let written = self.head.encode().and_then(|bytes| file.write_all_at(&bytes, 0));
        Ok(written.map_err(|source| RecordingError::Io { path: head_path(&self.path), source })?)
    }
}

impl Content {
    /// Reads a file line by line, since a recording may be large; and the digest of the last line that `head` confirms.
    fn read(path: &Path, head: Option<&Head>) -> io::Result<(Self, Option<String>)> {
        let mut file = BufReader::new(File::open(path)?);
        let mut content = Self {
            head: Head::of_nothing(),
            length: 0,
            last: Vec::new(),
            is_unterminated: false,
            rest: Vec::new(),
        };
        let mut confirmed = head.filter(|head| head.lines == 0).map(|_| NOTHING.to_owned());
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line)? > 0 {
            if line.last() != Some(&b'\n') {
                if !content.head_after_last().is_followed_by(&line) {
                    content.rest = line;
                    break;
                }
                content.is_unterminated = true;
                line.push(b'\n');
            }
            content.length += line.len() as u64;
            content.head.lines += 1;
            line.pop();
            if head.is_some_and(|head| head.lines == content.head.lines) {
                confirmed = Some(digest(&line));
            }
            std::mem::swap(&mut content.last, &mut line);
            line.clear();
        }
        content.head = content.head_after_last();
        Ok((content, confirmed))
    }

    /// The head, with the digest of the last line.
    fn head_after_last(&self) -> Head {
        match self.head.lines {
            0 => Head::of_nothing(),
            lines => Head { lines, last: digest(&self.last) },
        }
    }

    /// Whether a recording may go on after this content; else, what is wrong with it. `confirmed` is the digest of the
    /// line with which the content ended according to its head.
    fn check(&self, head: Option<&Head>, confirmed: Option<&str>) -> Result<(), String> {
        let is_record = |line: &[u8]| serde_json::from_slice::<Map<String, Value>>(line).is_ok();
        if self.head.lines > 0 && !is_record(&self.last) {
            return Err("is not a recording".to_owned());
        }
        // An unfinished line is removed: it must be one of a recording, and no file of another kind.
        let is_unfinished = self.rest.is_empty() || !is_record(&self.rest);
        let is_known = self.rest.is_empty() || self.head.lines > 0 || head.is_some();
        if !is_unfinished || !is_known {
            return Err("ends within a line, and may not be a recording".to_owned());
        }
        let Some(head) = head else { return Ok(()) };
        match self.head.lines.checked_sub(head.lines) {
            None => Err(format!(
                "has lost entries: there were {}, and {} are left; nuclei-host audit shows more",
                head.lines, self.head.lines
            )),
            Some(0 | MAX_BEYOND_HEAD) if confirmed == Some(head.last.as_str()) => Ok(()),
            Some(_) => Err("was changed since it was recorded; nuclei-host audit shows where".to_owned()),
        }
    }
}

/// Entries that a file may hold after its head was last written: the one that was written when the program was killed.
const MAX_BEYOND_HEAD: u64 = 1;

/// Replaces the .head file, and returns it, open.
fn create_head(place: &Path, head: &Head) -> io::Result<File> {
    let beside = place.with_extension("head.new");
    let mut file = File::create(&beside)?;
    file.write_all(&head.encode()?)?;
    fs::rename(beside, place)?;
    Ok(file)
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

#[cfg(test)]
mod tests;
