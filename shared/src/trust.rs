//! Trust: keys, models signed with them, and changes signed with them.
//!
//! A station whose configuration lists keys only accepts models and changes signed by them; a station without keys is
//! open. Signatures are Ed25519 (RFC 8032), verified strictly: no weak keys, no second form of the same signature.
//!
//! # A signed model
//! The file with one more entry of `metadata_props` at its end, always of [`SIGNATURE_LENGTH`] bytes: any ONNX reader
//! skips it, and the signed bytes are known without parsing the model.
//!
//! | bytes of the entry | what |
//! | --- | --- |
//! | 23 | the field's head: tag 14, key [`SIGNATURE_KEY`], a value of 108 bytes |
//! | 108 | base64 of: format 1, key id (8), time of signing (8, little endian), signature (64) |
//!
//! | signed bytes | what |
//! | --- | --- |
//! | 23 | `nuclei model signature\n` |
//! | 8, 8 | key id, time of signing |
//! | 32 | SHA-256 of the file before the entry |
//!
//! # A signed change
//! Signed for a [`Challenge`](crate::wire::Challenge), so that it counts once: [`ReplayGuard`] keeps the count.
//!
//! | signed bytes | what |
//! | --- | --- |
//! | 24 | `nuclei change signature\n` |
//! | 8, 16, 4 | key id, nonce, number (little endian) |
//! | .. | the [`Change`](crate::wire::Change), by postcard |

mod change;
mod key;
mod keyring;
mod model;
mod replay_guard;

pub use key::{KeyError, PublicKey, SecretKey};
pub use keyring::{Keyring, KeyringError, MAX_KEYS, TrustedKey};
pub use model::{ModelSignature, SIGNATURE_KEY, SIGNATURE_LENGTH, without_signature};
pub use replay_guard::{Admission, LOCK_MS, MAX_FAILURES, ReplayGuard};

#[cfg(test)]
mod tests;
