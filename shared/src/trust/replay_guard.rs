//! The station's side of signed changes: replay protection, and a lockout against guessing.

use super::Keyring;
use crate::wire::{Challenge, Name, Nonce, SignedChange, TrustRefusal};

/// Consecutive wrong signatures after which changes are locked out.
pub const MAX_FAILURES: u8 = 5;
/// Duration of the lockout, milliseconds.
pub const LOCK_MS: u64 = 30_000;

/// Admits changes that a trusted key signed for this conversation. Times are milliseconds of any monotonic clock.
#[derive(Debug, Clone)]
pub struct ReplayGuard {
    keyring: Keyring,
    nonce: Nonce,
    next_counter: u32,
    last: Option<SignedChange>,
    failures: u8,
    locked_until_ms: u64,
}

/// An admitted change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Execute it. The name is that of the key, `None` if the station is open.
    Fresh(Option<Name>),
    /// A retry of the last change: repeat its response.
    Retry,
}

impl ReplayGuard {
    /// A guard with these keys. The nonce is drawn at random.
    pub const fn new(keyring: Keyring, nonce: Nonce) -> Self {
        Self { keyring, nonce, next_counter: 0, last: None, failures: 0, locked_until_ms: 0 }
    }

    /// The keys.
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The challenge that a signed change must answer.
    pub const fn challenge(&self) -> Challenge {
        Challenge { nonce: self.nonce, next_counter: self.next_counter, trust: self.keyring.trust() }
    }

    /// Starts another conversation: signatures for the last one are void. A lockout continues.
    pub fn rotate_nonce(&mut self, nonce: Nonce) {
        self.nonce = nonce;
        self.next_counter = 0;
        self.last = None;
    }

    /// Whether unsigned changes are accepted.
    ///
    /// # Errors
    /// [`TrustRefusal::Unsigned`] where they are not.
    pub const fn admit_unsigned(&self) -> Result<(), TrustRefusal> {
        if self.keyring.is_open() { Ok(()) } else { Err(TrustRefusal::Unsigned) }
    }

    /// Checks a signed change, and counts it.
    ///
    /// # Errors
    /// [`TrustRefusal`].
    pub fn admit(&mut self, signed: &SignedChange, now_ms: u64) -> Result<Admission, TrustRefusal> {
        if self.keyring.is_open() {
            return Ok(Admission::Fresh(None));
        }
        if let Some(left_ms) = self.locked_until_ms.checked_sub(now_ms).filter(|&left| left > 0) {
            // At most LOCK_MS.
            return Err(TrustRefusal::LockedOut { seconds: left_ms.div_ceil(1000) as u16 });
        }
        if self.last.as_ref() == Some(signed) {
            return Ok(Admission::Retry);
        }
        // Neither costs computation nor indicates an attack: a host that missed a restart does this.
        if signed.nonce != self.nonce || !(self.next_counter..u32::MAX).contains(&signed.counter) {
            return Err(TrustRefusal::StaleChallenge);
        }
        let checked = match self.keyring.find(signed.key) {
            Some(trusted) if trusted.key.signed(signed) => Ok(trusted.name.clone()),
            Some(_) => Err(TrustRefusal::BadSignature),
            None => Err(TrustRefusal::UnknownKey { key: signed.key }),
        };
        let name = checked.inspect_err(|_| self.failed(now_ms))?;
        self.failures = 0;
        self.next_counter = signed.counter + 1;
        self.last = Some(*signed);
        Ok(Admission::Fresh(Some(name)))
    }

    const fn failed(&mut self, now_ms: u64) {
        self.failures += 1;
        if self.failures >= MAX_FAILURES {
            self.failures = 0;
            self.locked_until_ms = now_ms + LOCK_MS;
        }
    }
}
