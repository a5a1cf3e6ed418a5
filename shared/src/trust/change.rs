//! Signed changes.

use alloc::vec::Vec;

use super::{PublicKey, SecretKey};
use crate::wire::{Challenge, Change, KeyId, Nonce, SignedChange};

const DOMAIN: &[u8; 24] = b"nuclei change signature\n";

#[expect(clippy::expect_used, reason = "memory grows and the values are plain: postcard has no way to fail")]
fn message(key: KeyId, nonce: Nonce, counter: u32, change: &Change) -> Vec<u8> {
    let head = [&DOMAIN[..], &key.0, &nonce.0, &counter.to_le_bytes()].concat();
    postcard::to_extend(change, head).expect("plain values encode")
}

impl SecretKey {
    /// A change signed for a challenge. Its counter is [`Challenge::next_counter`]: count that up before the next.
    pub fn sign_change(&self, challenge: &Challenge, change: Change) -> SignedChange {
        let key = self.public().id();
        let Challenge { nonce, next_counter: counter, .. } = *challenge;
        let signature = self.sign(&message(key, nonce, counter, &change));
        SignedChange { key, nonce, counter, change, signature }
    }
}

impl PublicKey {
    pub(super) fn signed(&self, change: &SignedChange) -> bool {
        let SignedChange { key, nonce, counter, change, signature } = change;
        self.verify(&message(*key, *nonce, *counter, change), signature)
    }
}
