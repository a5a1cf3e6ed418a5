//! The two halves of a key, and their text.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Debug, Display, Formatter};
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::Deserialize;
use thiserror::Error;

use crate::wire::{KeyId, Signature};

const PUBLIC_PREFIX: &str = "ed25519:";
const SECRET_PREFIX: &str = "ed25519-secret:";

/// The public half, which a station knows. Its text is `ed25519:` and base64.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicKey(VerifyingKey);

/// The secret half, which signs. Its text is `ed25519-secret:` and base64; its memory is wiped on drop.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It begins in another way.
    #[error("a key begins with {prefix:?}")]
    Prefix {
        /// What it begins with.
        prefix: &'static str,
    },
    /// What follows is not 32 bytes.
    #[error("a key has 32 bytes in base64")]
    Length,
    /// The bytes are not a point on the curve, or a weak one.
    #[error("these bytes are not an Ed25519 public key")]
    Point,
}

impl PublicKey {
    /// Its identifier.
    pub fn id(&self) -> KeyId {
        let [a, b, c, d, e, f, g, h, ..] = *self.0.as_bytes();
        KeyId([a, b, c, d, e, f, g, h])
    }

    pub(super) fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_components(signature.r, signature.s);
        self.0.verify_strict(message, &signature).is_ok()
    }
}

impl SecretKey {
    /// A key from 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The other half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The text for a file that nobody else reads.
    pub fn to_text(&self) -> String {
        text(SECRET_PREFIX, self.0.as_bytes())
    }

    pub(super) fn sign(&self, message: &[u8]) -> Signature {
        let signature = self.0.sign(message);
        Signature { r: *signature.r_bytes(), s: *signature.s_bytes() }
    }
}

fn text(prefix: &str, bytes: &[u8; 32]) -> String {
    let mut text = String::from(prefix);
    BASE64.encode_string(bytes, &mut text);
    text
}

fn parse(prefix: &'static str, text: &str) -> Result<[u8; 32], KeyError> {
    let encoded = text.strip_prefix(prefix).ok_or(KeyError::Prefix { prefix })?;
    let bytes: Vec<u8> = BASE64.decode(encoded).map_err(|_| KeyError::Length)?;
    bytes.try_into().map_err(|_| KeyError::Length)
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(&parse(PUBLIC_PREFIX, text)?).map_err(|_| KeyError::Point)?;
        if key.is_weak() { Err(KeyError::Point) } else { Ok(Self(key)) }
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl Display for PublicKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&text(PUBLIC_PREFIX, self.0.as_bytes()))
    }
}

impl Debug for PublicKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Ok(Self::from_seed(&parse(SECRET_PREFIX, text)?))
    }
}

impl Debug for SecretKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public().id())
    }
}
