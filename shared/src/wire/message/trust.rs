//! Signed changes, challenges, and refusals.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{ModelDigest, Request, Setting};

/// Identifies a key: the first eight bytes of an Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyId(pub [u8; 8]);

impl core::fmt::Display for KeyId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An Ed25519 signature, RFC 8032.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The curve point.
    pub r: [u8; 32],
    /// The scalar, little endian.
    pub s: [u8; 32],
}

/// Drawn at random whenever the station's port opens; signatures for another nonce are void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nonce(pub [u8; 16]);

/// A time, whole seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnixSeconds(pub u64);

/// The challenge that a signed change must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Goes into every signature.
    pub nonce: Nonce,
    /// The lowest counter value that the next change may have.
    pub next_counter: u32,
    /// Whether signatures are required.
    pub trust: Trust,
}

/// Who can change models and settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// Anyone on its line: no key is configured.
    Open,
    /// Only holders of one of this many keys.
    Keys(u16),
}

/// A request that changes the station.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// As [`Request::Stage`].
    Stage {
        /// Bytes of the file.
        length: u32,
        /// Its digest.
        digest: ModelDigest,
    },
    /// As [`Request::Activate`].
    Activate {
        /// The model meant.
        digest: ModelDigest,
        /// What to do if a newer one was confirmed.
        downgrade: Downgrade,
    },
    /// As [`Request::Revert`].
    Revert {
        /// The active model to leave.
        digest: ModelDigest,
    },
    /// As [`Request::Set`].
    Set(Setting),
}

impl Change {
    /// The same without a signature, as an open station takes it. It refuses no downgrade.
    pub const fn plain(self) -> Request {
        match self {
            Self::Stage { length, digest } => Request::Stage { length, digest },
            Self::Activate { digest, .. } => Request::Activate { digest },
            Self::Revert { digest } => Request::Revert { digest },
            Self::Set(setting) => Request::Set(setting),
        }
    }
}

/// Whether a model may run that was signed before the last confirmed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Downgrade {
    /// No.
    #[default]
    Refused,
    /// The operator wants it.
    Allowed,
}

/// A signed change.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SignedChange {
    /// The key that signed.
    pub key: KeyId,
    /// Of the [`Challenge`].
    pub nonce: Nonce,
    /// At least [`Challenge::next_counter`]; each counts once.
    pub counter: u32,
    /// What is asked.
    pub change: Change,
    /// Over all of it.
    pub signature: Signature,
}

/// Why a change was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum TrustRefusal {
    /// There is no signature.
    #[error("the station only accepts changes signed by a trusted key, and this one is not signed")]
    Unsigned,
    /// The key is unknown to the station.
    #[error("the station does not trust key {key}")]
    UnknownKey {
        /// The key that signed.
        key: KeyId,
    },
    /// The signature does not match key and change.
    #[error("the signature does not match the change")]
    BadSignature,
    /// The nonce or the counter is stale: request a [`Challenge`] and sign again.
    #[error("the signature is for an earlier conversation, or was already used")]
    StaleChallenge,
    /// Too many wrong signatures.
    #[error("too many wrong signatures: the station accepts no changes for {seconds} s")]
    LockedOut {
        /// How long that lasts.
        seconds: u16,
    },
}
