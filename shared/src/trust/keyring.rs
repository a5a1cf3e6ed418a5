//! The keys that a station trusts.

use alloc::string::String;
use alloc::vec::Vec;

use thiserror::Error;

use super::PublicKey;
use crate::wire::{KeyId, Name, Trust};

/// Maximum number of trusted keys.
pub const MAX_KEYS: usize = 64;

/// A key and its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// Its name in the station's configuration.
    pub name: Name,
    /// The key.
    pub key: PublicKey,
}

/// The keys that a station trusts; without any, it is open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keyring {
    keys: Vec<TrustedKey>,
}

/// Why keys cannot be trusted together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyringError {
    /// They are too many.
    #[error("{count} keys; a station trusts at most {MAX_KEYS}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// Two have one id.
    #[error("the keys {first:?} and {second:?} are the same")]
    Same {
        /// The name of one.
        first: String,
        /// The name of the other.
        second: String,
    },
}

impl Keyring {
    /// These keys.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn new(keys: Vec<TrustedKey>) -> Result<Self, KeyringError> {
        if keys.len() > MAX_KEYS {
            return Err(KeyringError::TooMany { count: keys.len() });
        }
        for (index, second) in keys.iter().enumerate() {
            if let Some(first) = keys[..index].iter().find(|first| first.key.id() == second.key.id()) {
                return Err(KeyringError::Same {
                    first: first.name.as_str().into(),
                    second: second.name.as_str().into(),
                });
            }
        }
        Ok(Self { keys })
    }

    /// Whether the sender is trusted.
    pub const fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys.
    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }

    /// The key of that id.
    pub fn find(&self, id: KeyId) -> Option<&TrustedKey> {
        self.keys.iter().find(|trusted| trusted.key.id() == id)
    }

    /// The same for the host.
    pub const fn trust(&self) -> Trust {
        match self.keys.len() {
            0 => Trust::Open,
            // At most MAX_KEYS.
            count => Trust::Keys(count as u16),
        }
    }
}
