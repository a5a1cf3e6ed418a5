//! Work in parts, spread over threads where the caller has some.

use alloc::vec::Vec;

/// Does work whose parts do not touch each other. This crate starts no thread: who has some spreads the parts over them.
pub trait Spread {
    /// Does `work` for each part, in any order or at once; one after the other unless it is overridden.
    fn each<T: Send>(&self, parts: Vec<T>, work: impl Fn(T) + Send + Sync) {
        parts.into_iter().for_each(work);
    }
}

/// Does one part after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct InTurn;

impl Spread for InTurn {}
