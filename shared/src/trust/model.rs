//! Signed model files.

use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use super::{Keyring, SecretKey, TrustedKey};
use crate::wire::{KeyId, ModelRefusal, Signature, UnixSeconds};

/// Key of the signature in the ONNX file's `metadata_props`.
pub const SIGNATURE_KEY: &str = "nuclei_signature";
/// Bytes of the entry at the end of a signed file.
pub const SIGNATURE_LENGTH: usize = HEAD.len() + VALUE_LENGTH;

const VALUE_LENGTH: usize = 108;
/// Field 14 of 128 bytes; in it, field 1 of 16 bytes and field 2 of 108.
const HEAD: &[u8; 23] = b"\x72\x80\x01\x0a\x10nuclei_signature\x12\x6c";
/// Three quarters of the base64, so that it has neither padding nor idle bits.
const CONTENT_LENGTH: usize = 81;
const FORMAT: u8 = 1;
const DOMAIN: &[u8; 23] = b"nuclei model signature\n";

const _: () = assert!(SIGNATURE_KEY.len() == 16 && CONTENT_LENGTH.is_multiple_of(3));

/// What stands at the end of a signed file. That it is there proves nothing: [`Keyring::check_model`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelSignature {
    /// The key that signed.
    pub key: KeyId,
    /// When, by the clock of whoever signed.
    pub signed: UnixSeconds,
    /// Over the file before this.
    pub signature: Signature,
}

impl ModelSignature {
    /// The signature of a file, of which at least the last [`SIGNATURE_LENGTH`] bytes are given; `None`
    /// where it has none.
    pub fn at_end(bytes: &[u8]) -> Option<Self> {
        let value = bytes.last_chunk::<SIGNATURE_LENGTH>()?.strip_prefix(HEAD)?;
        // The decoder wants room for what it estimates, which is more than it writes.
        let mut room = [0; CONTENT_LENGTH + 3];
        let length = BASE64.decode_slice(value, &mut room).ok()?;
        let (&format, content) = room[..length].split_first()?;
        let (key, content) = content.split_first_chunk()?;
        let (signed, content) = content.split_first_chunk()?;
        let (r, content) = content.split_first_chunk()?;
        let s = content.try_into().ok()?;
        (format == FORMAT).then_some(Self {
            key: KeyId(*key),
            signed: UnixSeconds(u64::from_le_bytes(*signed)),
            signature: Signature { r: *r, s },
        })
    }

    pub(super) fn entry(&self) -> Vec<u8> {
        let Self { key, signed, signature: Signature { r, s } } = self;
        let content = [&[FORMAT], &key.0[..], &signed.0.to_le_bytes(), r, s].concat();
        [&HEAD[..], BASE64.encode(content).as_bytes()].concat()
    }
}

/// The file as it was before it was signed.
pub fn without_signature(onnx: &[u8]) -> &[u8] {
    match ModelSignature::at_end(onnx) {
        Some(_) => without_signature(&onnx[..onnx.len() - SIGNATURE_LENGTH]),
        None => onnx,
    }
}

fn message(key: KeyId, signed: UnixSeconds, body: &[u8]) -> Vec<u8> {
    [&DOMAIN[..], &key.0, &signed.0.to_le_bytes(), &Sha256::digest(body)].concat()
}

impl SecretKey {
    /// The file signed by this key; another signature that it had is gone.
    pub fn sign_model(&self, onnx: &[u8], signed: UnixSeconds) -> Vec<u8> {
        let body = without_signature(onnx);
        let key = self.public().id();
        let signature = self.sign(&message(key, signed, body));
        [body, &ModelSignature { key, signed, signature }.entry()].concat()
    }
}

impl Keyring {
    /// Whether a model may run: the name of the key that signed it, `None` if the station is open.
    ///
    /// # Errors
    /// [`ModelRefusal::Unsigned`], [`ModelRefusal::UnknownKey`] or [`ModelRefusal::BadSignature`].
    pub fn check_model(&self, onnx: &[u8]) -> Result<Option<&TrustedKey>, ModelRefusal> {
        if self.is_open() {
            return Ok(None);
        }
        let ModelSignature { key, signed, signature } =
            ModelSignature::at_end(onnx).ok_or(ModelRefusal::Unsigned)?;
        let trusted = self.find(key).ok_or(ModelRefusal::UnknownKey { key })?;
        let body = &onnx[..onnx.len() - SIGNATURE_LENGTH];
        match trusted.key.verify(&message(key, signed, body), &signature) {
            true => Ok(Some(trusted)),
            false => Err(ModelRefusal::BadSignature),
        }
    }
}
