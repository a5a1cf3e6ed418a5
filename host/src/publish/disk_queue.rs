//! Counts that are queued for the broker, on disk.
//!
//! A folder of segments: files of lines that only grow, each named for the first number in it. A line is the CRC-32 of
//! what follows, 8 hexadecimal digits, a space, and a JSON object: a count with its number, or the number below which
//! every count is acknowledged. A segment is deleted when all of it is acknowledged. A start begins a new one, so that
//! nothing is ever appended to a line that a kill or a power cut left unfinished; such a line is skipped.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISO_HDLC, Crc};
use host_console::{Failure, warning};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::message::{MessageKind, MqttMessage};

/// A segment that is longer gets no more lines.
const SEGMENT_BYTES: u64 = 1 << 20;
const ENDING: &str = "log";
/// Locked by the program that uses the folder.
const LOCK: &str = "lock";
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// A line of a segment.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum QueueEntry<'a> {
    Count {
        number: u64,
        topic: Cow<'a, str>,
        content: Cow<'a, str>,
    },
    /// All counts with lower numbers are acknowledged.
    Acked {
        #[serde(rename = "settled")]
        below: u64,
    },
}

impl QueueEntry<'_> {
    fn encode(&self) -> io::Result<String> {
        let json = serde_json::to_string(self)?;
        Ok(format!("{:08x} {json}\n", CRC.checksum(json.as_bytes())))
    }

    fn decode(line: &str) -> Option<Self> {
        let (digits, json) = line.split_once(' ')?;
        let crc = u32::from_str_radix(digits, 16).ok()?;
        (crc == CRC.checksum(json.as_bytes())).then(|| serde_json::from_str(json).ok()).flatten()
    }
}

/// Why a folder cannot be used for the queue.
#[derive(Debug, Error)]
pub enum QueueError {
    /// Another program uses it.
    #[error("another nuclei-host uses the queue in {}", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{} cannot be used for the queue", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        let next = match error {
            QueueError::InUse { .. } => "stop it, or choose another folder with --queue",
            QueueError::Io { .. } => "choose a folder with --queue that this user can write to",
        };
        Self::failed(error, next)
    }
}

/// A queue on disk, locked.
#[derive(Debug)]
pub struct DiskQueue {
    folder: PathBuf,
    segment: Segment,
    /// Earlier segments by the number after the last in each.
    earlier: BTreeMap<u64, PathBuf>,
    acked_below: u64,
    /// Files to flush, beside the segment in use.
    unsynced: Vec<File>,
    /// Whether the last line could not be written.
    is_failing: bool,
    /// Counts with this number or a higher one are on disk.
    durable_from: u64,
    /// Locked for the lifetime of this value.
    _lock: File,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: File,
    /// Bytes of complete lines.
    length: u64,
    is_synced: bool,
}

impl Segment {
    fn new(folder: &Path, first: u64) -> Result<Self, QueueError> {
        let path = folder.join(format!("{first:020}.{ENDING}"));
        // One of that name holds no count: the next would have another number.
        let opened = OpenOptions::new().create(true).write(true).truncate(true).open(&path);
        match opened {
            Ok(file) => Ok(Self { path, file, length: 0, is_synced: true }),
            Err(source) => Err(QueueError::Io { path, source }),
        }
    }

    fn add(&mut self, entry: &QueueEntry<'_>) -> io::Result<()> {
        let line = entry.encode()?;
        // In one write, so that a kill leaves it whole or not at all.
        let written = self.file.write_all(line.as_bytes());
        if written.is_err() {
            // Its remains must not damage the next line.
            self.file.set_len(self.length)?;
            io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.length))?;
            return written;
        }
        self.length += line.len() as u64;
        self.is_synced = false;
        Ok(())
    }
}

/// The content left by an earlier program.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Queued counts, in order.
    pub counts: VecDeque<MqttMessage>,
    /// The number of the next count.
    pub next: u64,
    /// Damaged lines, besides an unfinished last one.
    pub damaged: usize,
}

impl DiskQueue {
    /// Locks a folder and reads what an earlier program left there.
    ///
    /// # Errors
    /// [`QueueError`] when the folder is in use or cannot be read and written.
    pub fn open(folder: &Path) -> Result<(Self, Recovered), QueueError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| QueueError::Io { path, source }
        };
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let lock = folder.join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&lock);
        let file = file.map_err(failed(&lock))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(QueueError::InUse { folder: folder.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed(&lock)(source)),
        }
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed(folder))? {
            paths.push(entry.map_err(failed(folder))?.path());
        }
        paths.retain(|path| path.extension().is_some_and(|ending| ending == ENDING));
        paths.sort();
        let (mut recovered, mut acked_below, mut earlier) = (Recovered::default(), 0, BTreeMap::new());
        for path in paths {
            let bytes = fs::read(&path).map_err(failed(&path))?;
            acked_below = read(&bytes, &mut recovered).max(acked_below);
            // Of two with the same end the earlier holds no count.
            if let Some(empty) = earlier.insert(recovered.next, path) {
                let _ = fs::remove_file(empty);
            }
        }
        recovered.next = recovered.next.max(acked_below);
        recovered.counts.retain(|count| count.number >= acked_below);
        // A segment without a count may have the new one's name.
        let segment = Segment::new(folder, recovered.next)?;
        earlier.retain(|_, path| *path != segment.path);
        let mut log = Self {
            folder: folder.to_owned(),
            segment,
            earlier,
            acked_below,
            unsynced: File::open(folder).into_iter().collect(),
            is_failing: false,
            durable_from: 0,
            _lock: file,
        };
        log.add(&QueueEntry::Acked { below: acked_below });
        log.delete_acked_segments();
        Ok((log, recovered))
    }

    /// Appends a count.
    pub fn push(&mut self, count: &MqttMessage) {
        if self.segment.length > SEGMENT_BYTES
            && let Ok(next) = Segment::new(&self.folder, count.number)
        {
            let full = std::mem::replace(&mut self.segment, next);
            self.earlier.insert(count.number, full.path);
            self.unsynced.extend([Ok(full.file), File::open(&self.folder)].into_iter().flatten());
            self.add(&QueueEntry::Acked { below: self.acked_below });
        }
        let (topic, content) = (Cow::from(&count.topic), Cow::from(&count.content));
        self.add(&QueueEntry::Count { number: count.number, topic, content });
        if self.is_failing {
            self.durable_from = count.number + 1;
        }
    }

    /// Acknowledges all counts with lower numbers.
    pub fn ack_below(&mut self, below: u64) {
        if below > self.acked_below {
            self.acked_below = below;
            self.add(&QueueEntry::Acked { below });
            self.delete_acked_segments();
        }
    }

    /// Whether every count that is not acknowledged is on disk.
    pub const fn is_durable(&self) -> bool {
        self.durable_from <= self.acked_below
    }

    /// The files to flush, and the folder if it has new files.
    pub fn take_unsynced(&mut self) -> Vec<File> {
        if !std::mem::replace(&mut self.segment.is_synced, true) {
            self.unsynced.extend(self.segment.file.try_clone());
        }
        std::mem::take(&mut self.unsynced)
    }

    /// Appends a line. While the disk rejects lines, counts are queued only in memory, with a warning.
    fn add(&mut self, entry: &QueueEntry<'_>) {
        match self.segment.add(entry) {
            Ok(()) if std::mem::take(&mut self.is_failing) => {
                warning!("the queue in {} is writable again", self.folder.display());
            }
            Err(error) if !std::mem::replace(&mut self.is_failing, true) => warning!(
                "the queue in {} cannot be written: {error}; until it can, counts are queued only in memory",
                self.folder.display()
            ),
            _ => {}
        }
    }

    /// Deletes segments whose counts are all acknowledged.
    fn delete_acked_segments(&mut self) {
        while let Some(first) = self.earlier.first_entry() {
            if *first.key() > self.acked_below {
                return;
            }
            // A segment that stays is read at the next start, and found to be acknowledged.
            let _ = fs::remove_file(first.remove());
        }
    }
}

/// Reads a segment; the number below which it says that all counts are acknowledged.
fn read(bytes: &[u8], recovered: &mut Recovered) -> u64 {
    let mut acked_below = 0;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    for line in bytes[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        match std::str::from_utf8(line).ok().and_then(QueueEntry::decode) {
            Some(QueueEntry::Acked { below }) => acked_below = acked_below.max(below),
            Some(QueueEntry::Count { number, topic, content }) => {
                recovered.next = recovered.next.max(number + 1);
                let (topic, content) = (topic.into_owned(), content.into_owned());
                recovered.counts.push_back(MqttMessage { number, topic, content, kind: MessageKind::Count });
            }
            None => recovered.damaged += 1,
        }
    }
    acked_below
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(number: u64) -> MqttMessage {
        let content = format!("{{\"id\":\"bench-{number}\"}}");
        MqttMessage { number, topic: "nuclei/bench/count".into(), content, kind: MessageKind::Count }
    }

    fn numbers(recovered: &Recovered) -> Vec<u64> {
        recovered.counts.iter().map(|count| count.number).collect()
    }

    fn segments(folder: &Path) -> Vec<PathBuf> {
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn unacknowledged_counts_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        for start in [0, 7, 14] {
            let (mut log, recovered) = DiskQueue::open(folder.path()).unwrap();
            assert_eq!((recovered.next, recovered.damaged), (start, 0));
            assert_eq!(numbers(&recovered), (start.saturating_sub(3)..start).collect::<Vec<_>>());
            assert!(recovered.counts.iter().all(|message| *message == count(message.number)));
            assert!(matches!(DiskQueue::open(folder.path()), Err(QueueError::InUse { .. })));
            (start..start + 7).for_each(|number| log.push(&count(number)));
            log.ack_below(start + 4);
        }
        let (mut log, _) = DiskQueue::open(folder.path()).unwrap();
        log.ack_below(21);
        drop(log);
        let (_, recovered) = DiskQueue::open(folder.path()).unwrap();
        assert_eq!((numbers(&recovered), recovered.next), (vec![], 21));
        assert_eq!(segments(folder.path()).len(), 1);
    }

    #[test]
    fn a_kill_at_any_byte_loses_no_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = DiskQueue::open(folder.path()).unwrap();
        (0..4).for_each(|number| log.push(&count(number)));
        log.ack_below(2);
        drop(log);
        let path = segments(folder.path()).remove(0);
        let whole = fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            fs::remove_dir_all(folder.path()).unwrap();
            fs::create_dir(folder.path()).unwrap();
            fs::write(&path, &whole[..length]).unwrap();
            let lines = String::from_utf8(whole[..length].to_vec()).unwrap().matches('\n').count() as u64;
            // The first line acknowledges nothing, the last one two counts.
            let expected: Vec<u64> = (if lines == 6 { 2 } else { 0 }..lines.clamp(1, 5) - 1).collect();
            let (mut log, recovered) = DiskQueue::open(folder.path()).unwrap();
            assert_eq!((numbers(&recovered), recovered.damaged), (expected.clone(), 0), "{length} bytes");
            log.push(&count(recovered.next));
            drop(log);
            let (_, after) = DiskQueue::open(folder.path()).unwrap();
            assert_eq!(numbers(&after), [expected, vec![recovered.next]].concat(), "{length} bytes");
        }
    }

    #[test]
    fn a_damaged_line_is_skipped_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = DiskQueue::open(folder.path()).unwrap();
        (0..3).for_each(|number| log.push(&count(number)));
        drop(log);
        let path = segments(folder.path()).remove(0);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("bench-1", "bench-7")).unwrap();
        let (_, recovered) = DiskQueue::open(folder.path()).unwrap();
        assert_eq!((numbers(&recovered), recovered.damaged, recovered.next), (vec![0, 2], 1, 3));
    }

    #[test]
    fn the_folder_stays_small_however_many_counts_pass() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = DiskQueue::open(folder.path()).unwrap();
        let long = |number| MqttMessage { content: "x".repeat(1000), ..count(number) };
        for number in 0..5000 {
            log.push(&long(number));
            log.ack_below(number.saturating_sub(100));
        }
        let bytes: u64 = segments(folder.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        assert!(bytes < 2 * SEGMENT_BYTES + 200_000, "{bytes} bytes for 100 counts that wait");
        drop(log);
        let (_, recovered) = DiskQueue::open(folder.path()).unwrap();
        assert_eq!(numbers(&recovered), (4899..5000).collect::<Vec<_>>());
    }
}
