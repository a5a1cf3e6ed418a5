//! Rejects models signed before the last confirmed one (downgrades).

use shared::slots::{SlotRecord, Staging};
use shared::trust::{ModelSignature, SIGNATURE_LENGTH};
use shared::wire::{ModelDigest, ModelRefusal, Refusal, Slot, UnixSeconds};

use super::{SlotStore, data_name};
use crate::runtime::log;

impl SlotStore {
    /// Checks that a staged model was not signed before any model that is confirmed here. Its signature is not verified
    /// yet: its claims only count once [`LoaderJob::Verify`](super::LoaderJob::Verify) checks it against the bytes. A model
    /// without a signature passes here and is rejected there.
    ///
    /// # Errors
    /// [`ModelRefusal::Older`], or [`ModelRefusal::Storage`]. The model stays staged.
    pub fn check_not_downgrade(&self, digest: ModelDigest) -> Result<(), Refusal> {
        let Some((staged, model, Staging::Complete)) = self.table().staged() else { return Ok(()) };
        if model.digest != digest {
            return Ok(());
        }
        let Some(signed) = self.signed(staged)? else { return Ok(()) };
        let mut newest = None;
        for slot in [Slot::A, Slot::B] {
            if let SlotRecord::Confirmed(_) = self.table().record(slot) {
                newest = newest.max(self.signed(slot)?);
            }
        }
        match newest {
            Some(confirmed) if signed < confirmed => {
                Err(Refusal::Model(ModelRefusal::Older { signed, confirmed }))
            }
            _ => Ok(()),
        }
    }

    /// When the slot's model claims to have been signed.
    fn signed(&self, slot: Slot) -> Result<Option<UnixSeconds>, Refusal> {
        let name = data_name(slot);
        let end = self.storage.read_end(name, SIGNATURE_LENGTH).map_err(|error| {
            log!("{name} cannot be read: {error}");
            Refusal::Model(ModelRefusal::Storage)
        })?;
        Ok(end.and_then(|end| ModelSignature::at_end(&end)).map(|signature| signature.signed))
    }
}
