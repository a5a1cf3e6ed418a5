//! The slots on storage: the table of `shared::slots`, arriving chunks, and model files.
//!
//! # Files
//! | file | holds | written |
//! | --- | --- | --- |
//! | `table` | the [`SlotTable`] | replaced at every change, before the change's actions |
//! | `a.onnx`, `b.onnx` | a model's bytes | chunks in place, as they arrive |
//! | `a.progress`, `b.progress` | the [`ChunkMap`] | replaced every [`SYNC_CHUNKS`] chunks, after the data was synced |
//!
//! "Replaced" means: write a new file, fsync, rename, fsync the folder. Whenever the power fails, the table names a
//! complete model, and an interrupted upload resumes from its last recorded progress.

mod anti_rollback;
mod folder;
#[cfg(test)]
mod memory;
mod no_storage;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io;
use std::path::Path;

use shared::slots::{ChunkMap, ModelFile, SlotAction, SlotEvent, SlotTable, Staging, StoredError};
use shared::wire::{ModelDigest, ModelRefusal, Refusal, Slot, SlotReport, StageProgress};

use crate::runtime::log;

pub use folder::{FolderStorage, StorageError};
#[cfg(test)]
pub use memory::{Fault, MemoryStorage, PowerLossOutcome};
pub use no_storage::NoStorage;

/// Chunks that may be lost to a power cut.
pub const SYNC_CHUNKS: u32 = 64;
/// The most bytes that a table or chunk map can have.
const MAX_RECORD: usize = 1 << 16;

/// Named files that survive a power loss once synced.
///
/// A name's file, its bytes and its place in the folder are lasting apart: bytes after [`sync`](Self::sync),
/// names after [`sync_dir`](Self::sync_dir).
pub trait SlotStorage: Send {
    /// At most `limit` bytes from the start of a file; `None` where there is none.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>>;

    /// At most `limit` bytes from the end of a file; `None` where there is none.
    ///
    /// # Errors
    /// What the system says.
    fn read_end(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>>;

    /// Replaces the file's content with these bytes.
    ///
    /// # Errors
    /// What the system says.
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Writes in place; creates the file if necessary.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Syncs the bytes of a file.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Renames a file, replacing an existing one.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Deletes a file; a missing file is not an error.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Syncs the folder.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&mut self) -> io::Result<()>;
}

/// What a change leaves to the model loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoaderJob {
    /// Load and test a staged model; [`SlotEvent::Verified`] or [`SlotEvent::VerifyFailed`] follows.
    Verify {
        /// The model.
        digest: ModelDigest,
        /// Its file.
        onnx: Vec<u8>,
    },
    /// Load and run a model; [`SlotEvent::LoadFailed`] follows if that fails.
    Load {
        /// Where it is.
        slot: Slot,
        /// The model.
        digest: ModelDigest,
        /// Its file.
        onnx: Cow<'static, [u8]>,
    },
}

/// The slots of this station.
pub struct SlotStore {
    storage: Box<dyn SlotStorage>,
    factory: &'static [u8],
    factory_digest: ModelDigest,
    table: SlotTable,
    /// Of the staged model, while chunks are awaited.
    chunks: Option<ChunkMap>,
    /// Chunks written and not yet in the stored map.
    unsynced: u32,
}

impl SlotStore {
    /// Loads the slots. Unreadable storage is treated as that of a new station.
    pub fn open(storage: Box<dyn SlotStorage>, factory: &'static [u8]) -> Self {
        let table = match storage.read(TABLE, MAX_RECORD) {
            Ok(None) => SlotTable::default(),
            Ok(Some(bytes)) => SlotTable::decode(&bytes).unwrap_or_else(|error| {
                log!("the slot table is unusable ({error}): the factory model runs");
                SlotTable::default()
            }),
            Err(error) => {
                log!("cannot read the storage ({error}): the factory model runs");
                SlotTable::default()
            }
        };
        let mut slots = Self {
            storage,
            factory,
            factory_digest: ModelDigest::of(factory),
            table,
            chunks: None,
            unsynced: 0,
        };
        slots.reload_chunk_map();
        slots
    }

    /// The table.
    pub const fn table(&self) -> &SlotTable {
        &self.table
    }

    /// The model to run.
    pub fn active_digest(&self) -> ModelDigest {
        self.table.record(self.table.active()).model().map_or(self.factory_digest, |model| model.digest)
    }

    /// What the slots hold, for the host.
    pub fn report(&self) -> SlotReport {
        self.table.report(self.factory_digest)
    }

    /// How far staging and activation are, for the host.
    pub fn progress(&self) -> StageProgress {
        self.table.progress(self.chunks.as_ref().map_or(0, ChunkMap::received_prefix))
    }

    /// Handles a request of the host.
    ///
    /// # Errors
    /// [`Refusal`]: the slots are then as they were.
    pub fn request(&mut self, event: SlotEvent) -> Result<Vec<LoaderJob>, Refusal> {
        // The power may have failed between the last chunk and recording that it was the last.
        self.complete()?;
        self.change(event)
    }

    fn change(&mut self, event: SlotEvent) -> Result<Vec<LoaderJob>, Refusal> {
        let (table, actions) = self.table.step(event)?;
        self.store(table).map_err(|error| {
            log!("cannot write the slot table: {error}");
            Refusal::Model(ModelRefusal::Storage)
        })?;
        Ok(self.perform(&actions, Persisted::Yes))
    }

    /// Applies an event.
    ///
    /// A storage failure never lets a model count as confirmed. Actions that lead back to a confirmed model are
    /// executed anyway, since a restart would do the same.
    pub fn apply(&mut self, event: SlotEvent) -> Vec<LoaderJob> {
        let Ok((table, actions)) = self.table.step(event) else { return Vec::new() };
        match (self.store(table), event) {
            (Ok(()), _) => self.perform(&actions, Persisted::Yes),
            (Err(error), SlotEvent::Verified(digest)) => {
                log!("cannot write the slot table: {error}");
                self.apply(SlotEvent::VerifyFailed(digest, ModelRefusal::Storage))
            }
            (Err(error), SlotEvent::FramePassed(_)) => {
                log!("cannot record a passed trial frame: {error}");
                Vec::new()
            }
            (Err(error), _) => {
                log!("cannot write the slot table: {error}");
                self.table = table;
                self.perform(&actions, Persisted::No)
            }
        }
    }

    /// Stores a chunk of the announced model.
    ///
    /// # Errors
    /// [`Refusal`]: the piece is then not stored, and may be sent again.
    pub fn store_chunk(&mut self, digest: ModelDigest, offset: u32, bytes: &[u8]) -> Result<(), Refusal> {
        let slot = match self.table.staged() {
            Some((slot, model, Staging::Receiving)) if model.digest == digest => slot,
            Some((_, model, _)) if model.digest == digest => return Ok(()),
            _ if self.knows(digest) => return Ok(()),
            _ => return Err(Refusal::NotFound),
        };
        let Some(chunks) = &mut self.chunks else { return Err(Refusal::NotFound) };
        chunks.check(offset, bytes.len())?;
        if !chunks.contains(offset) {
            let written = self.storage.write_at(data_name(slot), u64::from(offset), bytes);
            if let Err(error) = written {
                log!("cannot write a chunk of the model: {error}");
                return Err(Refusal::Model(ModelRefusal::Storage));
            }
            chunks.insert(offset, bytes.len())?;
            self.unsynced += 1;
        }
        let complete = chunks.is_complete();
        if self.unsynced >= SYNC_CHUNKS || (complete && self.unsynced > 0) {
            self.sync_chunks(slot).map_err(|error| {
                log!("cannot sync the uploaded model to disk: {error}");
                // The host resends chunks that the system did not store.
                self.chunks = None;
                self.reload_chunk_map();
                Refusal::Model(ModelRefusal::Storage)
            })?;
        }
        self.complete()
    }

    /// Records that every chunk is stored, if that is so and not yet recorded.
    fn complete(&mut self) -> Result<(), Refusal> {
        let complete = self.chunks.as_ref().filter(|chunks| chunks.is_complete() && self.unsynced == 0);
        let Some(digest) = complete.map(|chunks| chunks.model().digest) else { return Ok(()) };
        self.change(SlotEvent::ChunksComplete(digest)).map(drop)
    }

    /// Whether a chunk of that model is late: the model ran, runs, or was rejected.
    fn knows(&self, digest: ModelDigest) -> bool {
        let held = |slot| self.table.record(slot).model().is_some_and(|model| model.digest == digest);
        held(self.table.active()) || self.table.failure().is_some_and(|failure| failure.digest == digest)
    }

    fn sync_chunks(&mut self, slot: Slot) -> io::Result<()> {
        let Some(chunks) = &self.chunks else { return Ok(()) };
        self.storage.sync(data_name(slot))?;
        self.storage.sync_dir()?;
        replace(&mut *self.storage, progress_name(slot), &chunks.encode())?;
        self.unsynced = 0;
        Ok(())
    }

    fn store(&mut self, table: SlotTable) -> io::Result<()> {
        if table != self.table {
            replace(&mut *self.storage, TABLE, &table.encode())?;
            self.table = table;
        }
        Ok(())
    }

    fn perform(&mut self, actions: &[SlotAction], persisted: Persisted) -> Vec<LoaderJob> {
        let mut work = Vec::new();
        for &action in actions {
            match action {
                SlotAction::Erase(slot) if persisted == Persisted::Yes => self.erase(slot),
                // The stored table still names these bytes.
                SlotAction::Erase(_) => {}
                SlotAction::Verify(slot) => work.extend(self.verify(slot)),
                SlotAction::Load(slot) => work.extend(self.load(slot)),
            }
        }
        self.reload_chunk_map();
        work
    }

    fn erase(&mut self, slot: Slot) {
        self.chunks = None;
        let storage = &mut self.storage;
        let erased = storage
            .remove(progress_name(slot))
            .and_then(|()| storage.remove(data_name(slot)))
            .and_then(|()| storage.sync_dir());
        if let Err(error) = erased {
            log!("cannot delete an old model: {error}");
        }
    }

    fn verify(&mut self, slot: Slot) -> Vec<LoaderJob> {
        let Some(model) = self.table.record(slot).model() else { return Vec::new() };
        match self.read_model(slot, model) {
            Ok(onnx) => vec![LoaderJob::Verify { digest: model.digest, onnx }],
            Err(reason) => self.apply(SlotEvent::VerifyFailed(model.digest, reason)),
        }
    }

    fn load(&mut self, slot: Slot) -> Vec<LoaderJob> {
        let Some(model) = self.table.record(slot).model() else {
            let onnx = Cow::Borrowed(self.factory);
            return vec![LoaderJob::Load { slot: Slot::Factory, digest: self.factory_digest, onnx }];
        };
        match self.read_model(slot, model) {
            Ok(onnx) => vec![LoaderJob::Load { slot, digest: model.digest, onnx: Cow::Owned(onnx) }],
            Err(reason) => self.apply(SlotEvent::LoadFailed(reason)),
        }
    }

    fn read_model(&self, slot: Slot, model: ModelFile) -> Result<Vec<u8>, ModelRefusal> {
        let name = data_name(slot);
        match self.storage.read(name, model.length as usize) {
            Ok(Some(onnx)) if onnx.len() == model.length as usize => Ok(onnx),
            Ok(found) => {
                log!("{name} has {} of {} bytes", found.map_or(0, |onnx| onnx.len()), model.length);
                Err(ModelRefusal::Storage)
            }
            Err(error) => {
                log!("{name} cannot be read: {error}");
                Err(ModelRefusal::Storage)
            }
        }
    }

    /// Reloads the chunk map to match the table.
    fn reload_chunk_map(&mut self) {
        let Some((slot, model, Staging::Receiving)) = self.table.staged() else {
            self.chunks = None;
            return;
        };
        if self.chunks.as_ref().is_some_and(|chunks| chunks.model() == model) {
            return;
        }
        let stored = self.storage.read(progress_name(slot), MAX_RECORD).ok().flatten();
        let found = stored.and_then(|bytes| ChunkMap::decode(&bytes, model).ok());
        self.chunks = Some(found.unwrap_or_else(|| ChunkMap::new(model)));
        self.unsynced = 0;
    }
}

/// The table in a folder, if any, without locking the folder.
///
/// # Errors
/// What the system says when the file cannot be read.
pub fn stored_table(folder: &Path) -> io::Result<Option<Result<SlotTable, StoredError>>> {
    Ok(folder::read_file(folder, TABLE, MAX_RECORD)?.map(|bytes| SlotTable::decode(&bytes)))
}

/// The file of the model that the table selects, with its expected digest; `None` for the factory model.
///
/// # Errors
/// What the system says when the file cannot be read.
pub fn stored_model(folder: &Path, table: &SlotTable) -> io::Result<Option<(ModelDigest, Vec<u8>)>> {
    let slot = table.active();
    let Some(model) = table.record(slot).model() else { return Ok(None) };
    let onnx = folder::read_file(folder, data_name(slot), model.length as usize)?;
    Ok(Some((model.digest, onnx.unwrap_or_default())))
}

/// Whether the table that an action follows from is in storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Persisted {
    Yes,
    No,
}

const TABLE: &str = "table";

const fn data_name(slot: Slot) -> &'static str {
    match slot {
        Slot::Factory => "factory.onnx",
        Slot::A => "a.onnx",
        Slot::B => "b.onnx",
    }
}

const fn progress_name(slot: Slot) -> &'static str {
    match slot {
        Slot::Factory => "factory.progress",
        Slot::A => "a.progress",
        Slot::B => "b.progress",
    }
}

/// Replaces a file atomically.
fn replace(storage: &mut dyn SlotStorage, name: &str, bytes: &[u8]) -> io::Result<()> {
    let beside = format!("{name}.new");
    storage.write(&beside, bytes)?;
    storage.sync(&beside)?;
    storage.rename(&beside, name)?;
    storage.sync_dir()
}
