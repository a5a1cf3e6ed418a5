//! Requests that change the station, if it trusts the sender.

use shared::slots::{ModelFile, SlotEvent};
use shared::trust::Admission;
use shared::wire::{Change, Downgrade, Nonce, Refusal, Response, SignedChange, TrustRefusal};

use super::{Answer, Service};
use crate::runtime::log;

impl Service {
    /// Handles an unsigned change, if the station is open.
    pub(super) fn unsigned(&mut self, change: Change) -> Result<Response, Refusal> {
        self.parts.guard.admit_unsigned().map_err(Refusal::Trust)?;
        self.change(change)
    }

    /// Handles a change signed by a trusted key, once.
    pub(super) fn signed(&mut self, signed: &SignedChange) -> Answer {
        let now_ms = self.started.elapsed().as_millis() as u64;
        let admission = self.parts.guard.admit(signed, now_ms).map_err(|refusal| {
            // Refusals during a lockout would fill the log, and a stale challenge is normal when a host restarts.
            if !matches!(refusal, TrustRefusal::LockedOut { .. } | TrustRefusal::StaleChallenge) {
                log!("change rejected: {refusal}");
            }
            Refusal::Trust(refusal)
        })?;
        if let (Admission::Retry, Some(answer)) = (&admission, &self.last_signed_response) {
            return answer.clone();
        }
        let answer = self.change(signed.change).map(|response| (response, Vec::new()));
        if let Admission::Fresh(Some(name)) = admission {
            let done = answer.as_ref().err().map_or_else(|| "done".to_owned(), Refusal::to_string);
            log!("{name} ({}) asks: {}: {done}", signed.key, ChangeSummary(&signed.change));
        }
        self.last_signed_response = Some(answer.clone());
        answer
    }

    fn change(&mut self, change: Change) -> Result<Response, Refusal> {
        match change {
            Change::Stage { length, digest } => {
                self.request(SlotEvent::StageRequested(ModelFile { digest, length }))?;
                Ok(Response::Stage(self.parts.slots.progress()))
            }
            Change::Activate { digest, downgrade } => {
                if downgrade == Downgrade::Refused {
                    self.parts.slots.check_not_downgrade(digest)?;
                }
                self.request(SlotEvent::ActivateRequested(digest))?;
                Ok(Response::Stage(self.parts.slots.progress()))
            }
            Change::Revert { digest } => {
                self.request(SlotEvent::RevertRequested(digest))?;
                Ok(Response::Slots(self.parts.slots.report()))
            }
            Change::Set(setting) => {
                self.set(setting);
                Ok(Response::Settings(self.parts.settings))
            }
        }
    }

    /// Starts a new conversation, since the host on the line may have changed.
    pub(super) fn rotate_nonce(&mut self) {
        match draw_nonce() {
            Ok(nonce) => {
                self.parts.guard.rotate_nonce(nonce);
                self.last_signed_response = None;
            }
            // The counter continues, so that no value is accepted twice.
            Err(error) => log!("the system provides no random bytes: {error}"),
        }
    }
}

/// An unpredictable nonce.
///
/// # Errors
/// [`getrandom::Error`] where the system has no random bytes.
pub fn draw_nonce() -> Result<Nonce, getrandom::Error> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce)?;
    Ok(Nonce(nonce))
}

/// A change as text for the log.
struct ChangeSummary<'a>(&'a Change);

impl std::fmt::Display for ChangeSummary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Change::Stage { length, digest } => write!(f, "send the model {digest} of {length} bytes"),
            Change::Activate { digest, downgrade: Downgrade::Refused } => write!(f, "run the model {digest}"),
            Change::Activate { digest, downgrade: Downgrade::Allowed } => {
                write!(f, "run the model {digest}, if older as well")
            }
            Change::Revert { digest } => write!(f, "leave the model {digest}"),
            Change::Set(setting) => write!(f, "set {setting:?}"),
        }
    }
}
