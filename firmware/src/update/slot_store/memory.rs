//! Slot storage in memory, with a power switch.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::SlotStorage;

/// What a power loss leaves of unsynced writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerLossOutcome {
    /// Nothing.
    Lost,
    /// Everything, including the interrupted operation.
    Kept,
    /// The names, and half of what files grew by.
    Torn,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails and has no effect; the next ones work.
    Fail,
    /// The operation and all after it fail, until [`MemoryStorage::restore_power`].
    CutPower(PowerLossOutcome),
}

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    files: Vec<Bytes>,
    names: BTreeMap<String, usize>,
    lasting_names: BTreeMap<String, usize>,
    operations: usize,
    fault: Option<(usize, Fault)>,
    cut: Option<PowerLossOutcome>,
}

#[derive(Debug, Clone, Default)]
struct Bytes {
    now: Vec<u8>,
    lasting: Vec<u8>,
}

impl MemoryStorage {
    /// Changing operations so far.
    pub fn operations(&self) -> usize {
        self.disk().operations
    }

    /// Makes the `n`-th changing operation from now go wrong; 0 is the next one.
    pub fn fault_at(&self, n: usize, fault: Fault) {
        let mut disk = self.disk();
        disk.fault = Some((disk.operations + n, fault));
    }

    /// Whether the power is off.
    pub fn is_cut(&self) -> bool {
        self.disk().cut.is_some()
    }

    /// What a start after a loss of power finds. Without one, what was not synced is lost.
    pub fn restore_power(&self) {
        let disk = &mut *self.disk();
        let outcome = disk.cut.take().unwrap_or(PowerLossOutcome::Lost);
        disk.fault = None;
        match outcome {
            PowerLossOutcome::Lost => disk.names.clone_from(&disk.lasting_names),
            PowerLossOutcome::Kept | PowerLossOutcome::Torn => disk.lasting_names.clone_from(&disk.names),
        }
        for file in &mut disk.files {
            match outcome {
                PowerLossOutcome::Lost => file.now.clone_from(&file.lasting),
                PowerLossOutcome::Torn => {
                    let grown = file.now.len().saturating_sub(file.lasting.len());
                    file.now.truncate(file.now.len() - grown.div_ceil(2));
                }
                PowerLossOutcome::Kept => {}
            }
            file.lasting.clone_from(&file.now);
        }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Disk) -> io::Result<()>) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.cut.is_some() {
            return Err(io::Error::other("the power is cut"));
        }
        let number = disk.operations;
        disk.operations += 1;
        match disk.fault {
            Some((at, Fault::Fail)) if at == number => Err(io::ErrorKind::StorageFull.into()),
            Some((at, Fault::CutPower(outcome))) if at == number => {
                disk.cut = Some(outcome);
                if outcome != PowerLossOutcome::Lost {
                    change(&mut disk)?;
                }
                Err(io::Error::other("the power is cut"))
            }
            _ => change(&mut disk),
        }
    }
}

impl Disk {
    fn made(&mut self, name: &str) -> &mut Bytes {
        let next = self.files.len();
        let at = *self.names.entry(name.to_owned()).or_insert(next);
        if at == next {
            self.files.push(Bytes::default());
        }
        &mut self.files[at]
    }

    fn found(&mut self, name: &str) -> io::Result<&mut Bytes> {
        let at = self.names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut self.files[at])
    }
}

impl SlotStorage for MemoryStorage {
    fn read(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let disk = self.disk();
        if disk.cut.is_some() {
            return Err(io::Error::other("the power is cut"));
        }
        let bytes = disk.names.get(name).map(|&at| &disk.files[at].now);
        Ok(bytes.map(|bytes| bytes[..bytes.len().min(limit)].to_vec()))
    }

    fn read_end(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let whole = self.read(name, usize::MAX)?;
        Ok(whole.map(|mut bytes| bytes.split_off(bytes.len().saturating_sub(limit))))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.change(|disk| {
            disk.made(name).now = bytes.to_vec();
            Ok(())
        })
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(|disk| {
            let file = &mut disk.made(name).now;
            let offset = offset as usize;
            file.resize(file.len().max(offset + bytes.len()), 0);
            file[offset..offset + bytes.len()].copy_from_slice(bytes);
            Ok(())
        })
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.change(|disk| {
            let file = disk.found(name)?;
            file.lasting.clone_from(&file.now);
            Ok(())
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.change(|disk| {
            let file = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            disk.names.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.change(|disk| {
            disk.names.remove(name);
            Ok(())
        })
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        self.change(|disk| {
            disk.lasting_names.clone_from(&disk.names);
            Ok(())
        })
    }
}
