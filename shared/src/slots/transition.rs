//! The transitions of the slots, as the table in the parent module lists them.

use alloc::{vec, vec::Vec};

use super::{
    MAX_MODEL_LENGTH, ModelFile, RejectedModel, SlotAction, SlotEvent, SlotRecord, SlotTable, Staging,
    TRIAL_BOOTS, TRIAL_FRAMES, WRITABLE,
};
use crate::wire::{ModelDigest, ModelRefusal, Refusal, Slot};

impl SlotTable {
    /// The table after an event, and what the station then has to do.
    ///
    /// # Errors
    /// A [`Refusal`] for the host; the table then stays as it is.
    pub fn step(mut self, event: SlotEvent) -> Result<(Self, Vec<SlotAction>), Refusal> {
        let actions = match event {
            SlotEvent::StageRequested(model) => self.request_stage(model)?,
            SlotEvent::ActivateRequested(digest) => self.activate(digest)?,
            SlotEvent::ChunksComplete(digest) => {
                if let Some((slot, model)) = self.staged_as(digest, Staging::Receiving) {
                    self.set(slot, SlotRecord::Staged(model, Staging::Complete));
                }
                vec![]
            }
            SlotEvent::Verified(digest) => {
                if let Some((slot, model)) = self.staged_as(digest, Staging::Verifying) {
                    self.start_trial(slot, model);
                }
                // To verify a model, the station loaded it.
                vec![]
            }
            SlotEvent::VerifyFailed(digest, reason) => match self.staged_as(digest, Staging::Verifying) {
                Some((slot, _)) => {
                    self.set(slot, SlotRecord::Empty);
                    self.failure = Some(RejectedModel { digest, reason });
                    vec![SlotAction::Erase(slot)]
                }
                None => vec![],
            },
            SlotEvent::Booted => self.boot(),
            SlotEvent::LoadFailed(reason) => self.roll_back(reason),
            SlotEvent::FramePassed(digest) => {
                if let SlotRecord::Trial { model, boots, frames_left } = self.record(self.active)
                    && model.digest == digest
                {
                    let record = match frames_left.saturating_sub(1) {
                        0 => SlotRecord::Confirmed(model),
                        frames_left => SlotRecord::Trial { model, boots, frames_left },
                    };
                    self.set(self.active, record);
                }
                vec![]
            }
            SlotEvent::FrameFailed(digest) => match self.record(self.active) {
                SlotRecord::Trial { model, .. } if model.digest == digest => {
                    self.roll_back(ModelRefusal::TrialFailed)
                }
                _ => vec![],
            },
            SlotEvent::RevertRequested(digest) => self.revert(digest),
        };
        Ok((self, actions))
    }

    fn request_stage(&mut self, model: ModelFile) -> Result<Vec<SlotAction>, Refusal> {
        if model.length == 0 {
            return Err(Refusal::OutOfRange);
        }
        if model.length > MAX_MODEL_LENGTH {
            return Err(Refusal::Model(ModelRefusal::TooLarge { limit: MAX_MODEL_LENGTH }));
        }
        let running = self.record(self.active);
        let staged = self.staged();
        let known =
            running.model() == Some(model) || staged.is_some_and(|(_, candidate, _)| candidate == model);
        let busy = matches!(running, SlotRecord::Trial { .. })
            || staged.is_some_and(|(.., staging)| staging == Staging::Verifying);
        if !known && busy {
            return Err(Refusal::Busy);
        }
        self.failure = None;
        if known {
            return Ok(vec![]);
        }

        let target = self.staging_slot(model);
        let mut actions = vec![];
        // There is one staged model at a time.
        if let Some((slot, ..)) = staged.filter(|&(slot, ..)| slot != target) {
            self.set(slot, SlotRecord::Empty);
            actions.push(SlotAction::Erase(slot));
        }
        let staging = match self.record(target) {
            SlotRecord::Confirmed(held) if held == model => Staging::Complete,
            _ => {
                actions.push(SlotAction::Erase(target));
                Staging::Receiving
            }
        };
        self.set(target, SlotRecord::Staged(model, staging));
        if self.previous == target {
            self.previous = Slot::Factory;
        }
        Ok(actions)
    }

    /// The slot for a new model: not the active one; rather one that holds it already, then one with a
    /// model that never ran, then an empty one.
    fn staging_slot(&self, model: ModelFile) -> Slot {
        let rank = |slot: &Slot| match self.record(*slot) {
            SlotRecord::Confirmed(held) if held == model => 0,
            SlotRecord::Staged(..) => 1,
            SlotRecord::Empty => 2,
            SlotRecord::Trial { .. } | SlotRecord::Confirmed(_) => 3,
        };
        let inactive = WRITABLE.into_iter().filter(|&slot| slot != self.active);
        inactive.min_by_key(rank).unwrap_or(Slot::A)
    }

    fn activate(&mut self, digest: ModelDigest) -> Result<Vec<SlotAction>, Refusal> {
        if let Some((slot, model)) = self.staged_as(digest, Staging::Complete) {
            self.failure = None;
            self.set(slot, SlotRecord::Staged(model, Staging::Verifying));
            return Ok(vec![SlotAction::Verify(slot)]);
        }
        let known = self.staged().is_some_and(|(_, model, _)| model.digest == digest)
            || self.record(self.active).model().is_some_and(|model| model.digest == digest)
            || self.failure.is_some_and(|failure| failure.digest == digest);
        if known { Ok(vec![]) } else { Err(Refusal::NotFound) }
    }

    fn start_trial(&mut self, slot: Slot, model: ModelFile) {
        self.set(slot, SlotRecord::Trial { model, boots: 0, frames_left: TRIAL_FRAMES });
        self.previous = self.active;
        self.active = slot;
    }

    fn boot(&mut self) -> Vec<SlotAction> {
        if let Some((slot, model, Staging::Verifying)) = self.staged() {
            self.set(slot, SlotRecord::Staged(model, Staging::Complete));
        }
        if let SlotRecord::Trial { model, boots, frames_left } = self.record(self.active) {
            let boots = boots.saturating_add(1);
            if boots >= TRIAL_BOOTS {
                return self.roll_back(ModelRefusal::TrialInterrupted);
            }
            self.set(self.active, SlotRecord::Trial { model, boots, frames_left });
        }
        vec![SlotAction::Load(self.active)]
    }

    /// Leaves the active model for good.
    fn roll_back(&mut self, reason: ModelRefusal) -> Vec<SlotAction> {
        let slot = self.active;
        let Some(model) = self.record(slot).model() else { return vec![] };
        self.failure = Some(RejectedModel { digest: model.digest, reason });
        self.set(slot, SlotRecord::Empty);
        self.activate_previous();
        vec![SlotAction::Load(self.active), SlotAction::Erase(slot)]
    }

    /// Leaves the active model and keeps its bytes.
    fn revert(&mut self, digest: ModelDigest) -> Vec<SlotAction> {
        let record = self.record(self.active);
        let Some(model) = record.model().filter(|model| model.digest == digest) else { return vec![] };
        if let SlotRecord::Trial { .. } = record {
            self.set(self.active, SlotRecord::Staged(model, Staging::Complete));
        }
        self.failure = Some(RejectedModel { digest, reason: ModelRefusal::Reverted });
        self.activate_previous();
        vec![SlotAction::Load(self.active)]
    }

    fn activate_previous(&mut self) {
        self.active = self.previous;
        self.previous = Slot::Factory;
    }

    fn staged_as(&self, digest: ModelDigest, staging: Staging) -> Option<(Slot, ModelFile)> {
        self.staged()
            .filter(|&(_, model, found)| model.digest == digest && found == staging)
            .map(|(slot, model, _)| (slot, model))
    }

    const fn set(&mut self, slot: Slot, record: SlotRecord) {
        match slot {
            Slot::Factory => {}
            Slot::A => self.a = record,
            Slot::B => self.b = record,
        }
    }
}
