//! The update slots: which model is active, which one is being uploaded, and when the station rolls back.
//!
//! The factory model is part of the program. Two more slots are writable, and only the inactive one is ever written. A
//! transition is a pure function of table and event, [`SlotTable::step`]; the station feeds it events and executes the
//! actions it returns.
//!
//! # Storage
//! | file | holds | written |
//! | --- | --- | --- |
//! | table | [`SlotTable::encode`] | replaced at every change, before the change's actions |
//! | one per slot, data | the model's bytes, chunks in place | as chunks arrive; complete once the table says so |
//! | one per slot, progress | [`ChunkMap::encode`] | now and then, and only after the data was synced |
//!
//! "Replaced" is write, fsync, rename, fsync of the folder. A table that does not decode is as
//! [`SlotTable::default`]: the factory model runs. A chunk map counts only with the model that the table
//! announces; chunks that came after its last writing are asked for again.
//!
//! # Transitions
//! Of the slot that the event is about; events that fit no row change nothing, so that all may be repeated.
//!
//! | slot is | event | slot becomes | runs | action |
//! | --- | --- | --- | --- | --- |
//! | not active | [`StageRequested`](SlotEvent::StageRequested), new model | staged, receiving | | erase |
//! | confirmed, not active | `StageRequested`, the same model | staged, complete | | |
//! | staged, receiving | [`ChunksComplete`](SlotEvent::ChunksComplete) | staged, complete | | |
//! | staged, complete | [`ActivateRequested`](SlotEvent::ActivateRequested) | staged, verifying | | verify |
//! | staged, verifying | [`Verified`](SlotEvent::Verified) | trial | it | |
//! | staged, verifying | [`VerifyFailed`](SlotEvent::VerifyFailed) | empty | | erase |
//! | staged, verifying | [`Booted`](SlotEvent::Booted) | staged, complete | | load what runs |
//! | trial | [`FramePassed`](SlotEvent::FramePassed), [`TRIAL_FRAMES`] times | confirmed | it | |
//! | trial | [`FrameFailed`](SlotEvent::FrameFailed) | empty | previous | load, erase |
//! | trial | `Booted`, [`TRIAL_BOOTS`] times | empty | previous | load, erase |
//! | trial | [`RevertRequested`](SlotEvent::RevertRequested) | staged, complete | previous | load |
//! | confirmed, active | `RevertRequested` | confirmed | previous | load |
//! | active | [`LoadFailed`](SlotEvent::LoadFailed) | empty | previous | load, erase |
//!
//! The previous model is the one that ran before, if its slot still holds it, else the factory model.

mod chunk_map;
mod stored;
mod transition;

pub use chunk_map::ChunkMap;
pub use stored::StoredError;

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::wire::{ModelDigest, ModelRefusal, Slot, SlotContent, SlotReport, SlotState, StageProgress};

/// Real frames that a model must pass before it is confirmed.
pub const TRIAL_FRAMES: u16 = 10;
/// The restart during a trial, counted from its start, that ends it.
pub const TRIAL_BOOTS: u8 = 3;
/// Maximum length of a model file, bytes.
pub const MAX_MODEL_LENGTH: u32 = 64 << 20;

/// Format of an encoded [`SlotTable`].
const TABLE_VERSION: u8 = 1;

/// A model file as it is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelFile {
    /// Its digest.
    pub digest: ModelDigest,
    /// Its bytes, `1..=`[`MAX_MODEL_LENGTH`].
    pub length: u32,
}

/// How far a staged model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Staging {
    /// Chunks are awaited.
    Receiving,
    /// Every byte is stored.
    Complete,
    /// It is being verified.
    Verifying,
}

/// What one writable slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum SlotRecord {
    /// Nothing of use.
    #[default]
    Empty,
    /// A model that is arriving or has arrived.
    Staged(ModelFile, Staging),
    /// A model that runs on trial.
    Trial {
        /// The model.
        model: ModelFile,
        /// Restarts so far.
        boots: u8,
        /// Real frames still to pass.
        frames_left: u16,
    },
    /// A confirmed model.
    Confirmed(ModelFile),
}

impl SlotRecord {
    /// The model, if any.
    pub const fn model(&self) -> Option<ModelFile> {
        match *self {
            Self::Empty => None,
            Self::Staged(model, _) | Self::Trial { model, .. } | Self::Confirmed(model) => Some(model),
        }
    }

    /// Its state as the host sees it.
    pub const fn state(&self) -> SlotState {
        match self {
            Self::Empty => SlotState::Empty,
            Self::Staged(..) => SlotState::Staged,
            Self::Trial { .. } => SlotState::Trial,
            Self::Confirmed(_) => SlotState::Confirmed,
        }
    }

    fn content(&self) -> SlotContent {
        let model = self.model();
        SlotContent {
            state: self.state(),
            digest: model.map(|model| model.digest),
            length: model.map_or(0, |model| model.length),
        }
    }
}

/// The model that was rejected last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedModel {
    /// The model.
    pub digest: ModelDigest,
    /// Why it does not run.
    pub reason: ModelRefusal,
}

/// Everything about the slots that survives a restart. The default is a new station.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotTable {
    active: Slot,
    previous: Slot,
    a: SlotRecord,
    b: SlotRecord,
    failure: Option<RejectedModel>,
}

/// Events of the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotEvent {
    /// The host announced a model.
    StageRequested(ModelFile),
    /// Every chunk of the model is stored and synced.
    ChunksComplete(ModelDigest),
    /// The host requests that the staged model runs.
    ActivateRequested(ModelDigest),
    /// The staged model has the announced digest, loads, and passes its self-test.
    Verified(ModelDigest),
    /// The staged model does not.
    VerifyFailed(ModelDigest, ModelRefusal),
    /// The station started.
    Booted,
    /// The active model could not be loaded. Where that is the factory's, nothing can be done.
    LoadFailed(ModelRefusal),
    /// The model segmented a real frame.
    FramePassed(ModelDigest),
    /// The model failed on a real frame.
    FrameFailed(ModelDigest),
    /// The operator requests the previous model.
    RevertRequested(ModelDigest),
}

/// What the station has to do after it has stored the table, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotAction {
    /// Drop the slot's data and progress.
    Erase(Slot),
    /// Load and test the slot's model; [`SlotEvent::Verified`] follows, with the model ready to run, or
    /// [`SlotEvent::VerifyFailed`].
    Verify(Slot),
    /// Run the slot's model; [`SlotEvent::LoadFailed`] follows where that is impossible.
    Load(Slot),
}

impl Default for SlotTable {
    fn default() -> Self {
        Self {
            active: Slot::Factory,
            previous: Slot::Factory,
            a: SlotRecord::Empty,
            b: SlotRecord::Empty,
            failure: None,
        }
    }
}

impl SlotTable {
    /// The slot that runs.
    pub const fn active(&self) -> Slot {
        self.active
    }

    /// The slot that a revert goes to.
    pub const fn previous(&self) -> Slot {
        self.previous
    }

    /// What a slot holds; [`SlotRecord::Empty`] for the factory's, which no table describes.
    pub const fn record(&self, slot: Slot) -> SlotRecord {
        match slot {
            Slot::Factory => SlotRecord::Empty,
            Slot::A => self.a,
            Slot::B => self.b,
        }
    }

    /// The staged model and where it is.
    pub fn staged(&self) -> Option<(Slot, ModelFile, Staging)> {
        WRITABLE.into_iter().find_map(|slot| match self.record(slot) {
            SlotRecord::Staged(model, staging) => Some((slot, model, staging)),
            _ => None,
        })
    }

    /// The model that was given up last, until the next announcement.
    pub const fn failure(&self) -> Option<RejectedModel> {
        self.failure
    }

    /// The progress of staging and activation. `received` is the chunk map's
    /// [`received_prefix`](ChunkMap::received_prefix).
    pub fn progress(&self, received: u32) -> StageProgress {
        if let Some(RejectedModel { digest, reason }) = self.failure {
            return StageProgress::Failed { digest, reason };
        }
        match (self.staged(), self.record(self.active)) {
            (Some((_, ModelFile { digest, .. }, Staging::Verifying)), _) => {
                StageProgress::Verifying { digest }
            }
            (Some((_, ModelFile { digest, length }, Staging::Complete)), _) => {
                StageProgress::Receiving { digest, received: length, length }
            }
            (Some((_, ModelFile { digest, length }, Staging::Receiving)), _) => {
                StageProgress::Receiving { digest, received, length }
            }
            (None, SlotRecord::Trial { model, frames_left, .. }) => {
                StageProgress::Trial { digest: model.digest, frames_left }
            }
            (None, SlotRecord::Confirmed(model)) => StageProgress::Confirmed { digest: model.digest },
            (None, SlotRecord::Empty | SlotRecord::Staged(..)) => StageProgress::Idle,
        }
    }

    /// What the slots hold, for the host.
    pub fn report(&self, factory: ModelDigest) -> SlotReport {
        SlotReport { active: self.active, factory, a: self.a.content(), b: self.b.content() }
    }

    /// The table's bytes for storage.
    pub fn encode(&self) -> Vec<u8> {
        stored::encode(TABLE_VERSION, self)
    }

    /// A table from storage.
    ///
    /// # Errors
    /// [`StoredError`] when the bytes are damaged, of another version, or describe no possible table.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredError> {
        let table: Self = stored::decode(TABLE_VERSION, bytes)?;
        if table.is_sound() { Ok(table) } else { Err(StoredError::Contradiction) }
    }

    /// Whether this table can result from events.
    fn is_sound(&self) -> bool {
        let confirmed = |slot| matches!(self.record(slot), SlotRecord::Confirmed(_));
        let on_trial = |slot| matches!(self.record(slot), SlotRecord::Trial { .. });
        let staged = |slot| matches!(self.record(slot), SlotRecord::Staged(..));
        let count = |is: &dyn Fn(Slot) -> bool| WRITABLE.into_iter().filter(|&slot| is(slot)).count();
        let active = self.active == Slot::Factory || confirmed(self.active) || on_trial(self.active);
        let previous =
            self.previous == Slot::Factory || (confirmed(self.previous) && self.previous != self.active);
        let trials = count(&on_trial) == usize::from(on_trial(self.active));
        active && previous && trials && count(&staged) + count(&on_trial) <= 1
    }
}

const WRITABLE: [Slot; 2] = [Slot::A, Slot::B];

#[cfg(test)]
mod tests;
