//! What goes to storage: a version byte, the value by postcard, CRC-32 of both.

use alloc::{vec, vec::Vec};

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::wire::{CRC_32, decode_whole};

/// Why stored bytes give no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StoredError {
    /// Bytes are missing or changed.
    #[error("the stored bytes are damaged")]
    Damaged,
    /// Another program version wrote them.
    #[error("the stored format {found} is not {supported}")]
    Version {
        /// The version found.
        found: u8,
        /// The version understood.
        supported: u8,
    },
    /// They are whole but describe something impossible.
    #[error("the stored bytes contradict themselves")]
    Contradiction,
}

#[expect(clippy::expect_used, reason = "memory grows and the values are plain: postcard has no way to fail")]
pub(super) fn encode(version: u8, value: &impl Serialize) -> Vec<u8> {
    let mut bytes = postcard::to_extend(value, vec![version]).expect("plain values encode");
    let crc = CRC_32.checksum(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn decode<T: DeserializeOwned>(supported: u8, bytes: &[u8]) -> Result<T, StoredError> {
    let (content, crc) = bytes.split_last_chunk().ok_or(StoredError::Damaged)?;
    if CRC_32.checksum(content) != u32::from_le_bytes(*crc) {
        return Err(StoredError::Damaged);
    }
    let (&found, value) = content.split_first().ok_or(StoredError::Damaged)?;
    if found != supported {
        return Err(StoredError::Version { found, supported });
    }
    decode_whole(value).ok_or(StoredError::Contradiction)
}
