//! Signed changes, for stations that trust keys.

use shared::trust::SecretKey;
use shared::wire::{Challenge, Change, Refusal, Request, Response, Trust, TrustRefusal};

use super::{LinkError, StationClient, Transport};
use crate::station::key_store::KeyStoreError;

/// How often a challenge may be stale before that counts as a failure.
const CHALLENGES: u32 = 3;

impl<T: Transport> StationClient<T> {
    /// Signs with this key if the station requires it, or reports why there is none.
    pub fn sign_with(&mut self, key: Result<SecretKey, KeyStoreError>) {
        match key {
            Ok(key) => self.key = Some(key),
            Err(error) => self.no_key = Some(error),
        }
    }

    /// What [`sign_with`](Self::sign_with) was given, for the same station after reconnecting.
    ///
    /// # Errors
    /// Why there is no key.
    pub fn take_key(&mut self) -> Result<SecretKey, KeyStoreError> {
        self.key.take().ok_or_else(|| self.no_key.take().unwrap_or(KeyStoreError::None))
    }

    /// Whom the station takes models and changes from.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn trust(&mut self) -> Result<Trust, LinkError> {
        Ok(self.ask_challenge()?.trust)
    }

    /// Requests a change, with a signature if the station requires one.
    ///
    /// # Errors
    /// [`LinkError`]; [`LinkError::NoKey`] where a signature is wanted and no key is there.
    pub(super) fn change(&mut self, change: Change) -> Result<Response, LinkError> {
        if self.challenge.is_none_or(|challenge| challenge.trust == Trust::Open) {
            match self.request(&change.plain(), &[]) {
                Err(LinkError::Refused(Refusal::Trust(TrustRefusal::Unsigned))) => self.challenge = None,
                answered => return Ok(answered?.0),
            }
        }
        let mut challenges = 0;
        loop {
            let challenge = match self.challenge {
                Some(challenge) => challenge,
                None => self.ask_challenge()?,
            };
            let Some(key) = &self.key else {
                return Err(LinkError::NoKey(self.no_key.take().unwrap_or(KeyStoreError::None)));
            };
            let signed = key.sign_change(&challenge, change);
            // The counter value is used up, whatever the outcome.
            self.challenge =
                Some(Challenge { next_counter: challenge.next_counter.saturating_add(1), ..challenge });
            challenges += 1;
            match self.request(&Request::Change(signed), &[]) {
                // The station restarted, or another host used the line.
                Err(LinkError::Refused(Refusal::Trust(TrustRefusal::StaleChallenge)))
                    if challenges < CHALLENGES =>
                {
                    self.challenge = None;
                }
                answered => return Ok(answered?.0),
            }
        }
    }

    fn ask_challenge(&mut self) -> Result<Challenge, LinkError> {
        match self.request(&Request::Challenge, &[])?.0 {
            Response::Challenge(challenge) => {
                self.challenge = Some(challenge);
                Ok(challenge)
            }
            _ => Err(self.unexpected()),
        }
    }
}

#[cfg(test)]
mod tests;
