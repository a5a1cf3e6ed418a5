//! Requests that change the station, if it trusts the sender.

use shared::slots::{ModelFile, SlotEvent};
use shared::trust::Admission;
use shared::wire::{
    Acquisition, Change, Downgrade, Nonce, Refusal, Response, Setting, SignedChange, Stream, TrustRefusal,
};

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
            Change::Set(Setting::Illumination(duty)) => {
                write!(f, "set the illumination to {:.1} %", f64::from(duty.get()) / 10.0)
            }
            Change::Set(Setting::PixelSize(Some(size))) => {
                write!(f, "set the pixel size to {} µm", size.get())
            }
            Change::Set(Setting::PixelSize(None)) => f.write_str("clear the pixel size"),
            Change::Set(Setting::Acquisition(Acquisition::Continuous)) => f.write_str("acquire continuously"),
            Change::Set(Setting::Acquisition(Acquisition::Triggered)) => f.write_str("acquire on request"),
            Change::Set(Setting::Masks(stream)) => write!(f, "turn masks {}", on_or_off(*stream)),
            Change::Set(Setting::Preview(stream)) => write!(f, "turn previews {}", on_or_off(*stream)),
        }
    }
}

const fn on_or_off(stream: Stream) -> &'static str {
    match stream {
        Stream::On => "on",
        Stream::Off => "off",
    }
}

#[cfg(test)]
mod tests {
    use shared::{DutyCycle, PixelSize};

    use super::*;

    #[test]
    fn the_journal_names_settings_in_words() {
        let cases = [
            (Setting::Illumination(DutyCycle::try_from(405).unwrap()), "set the illumination to 40.5 %"),
            (Setting::PixelSize(Some(PixelSize::try_from(0.65).unwrap())), "set the pixel size to 0.65 µm"),
            (Setting::PixelSize(None), "clear the pixel size"),
            (Setting::Acquisition(Acquisition::Triggered), "acquire on request"),
            (Setting::Masks(Stream::Off), "turn masks off"),
            (Setting::Preview(Stream::On), "turn previews on"),
        ];
        for (setting, summary) in cases {
            assert_eq!(ChangeSummary(&Change::Set(setting)).to_string(), summary);
        }
    }
}
