//! Parallel work, on threads if the caller has any.

use alloc::vec::Vec;

/// Runs independent parts of work. This crate starts no threads; the caller may provide them.
pub trait ParallelFor {
    /// Does `work` for each part, in any order or at once; one after the other unless it is overridden.
    fn for_each<T: Send>(&self, parts: Vec<T>, work: impl Fn(T) + Send + Sync) {
        parts.into_iter().for_each(work);
    }
}

/// Does one part after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sequential;

impl ParallelFor for Sequential {}
