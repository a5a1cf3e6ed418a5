//! The threads that a layer is spread over.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// A fixed number of threads, shared by all layers and states of a network.
#[derive(Clone, Default)]
pub struct Threads(Option<Arc<ThreadPool>>);

impl Threads {
    /// As many threads as given; with one, the caller's own does the work.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(count: NonZeroUsize) -> Result<Self, ThreadPoolBuildError> {
        if count == NonZeroUsize::MIN {
            return Ok(Self(None));
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(count.get())
            .thread_name(|index| format!("network-{index}"))
            .build()?;
        Ok(Self(Some(Arc::new(pool))))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    /// The results of `work` for each part, in order. A part may itself spread work over the threads: those that
    /// have none left take it.
    pub fn map<T: Send, R: Send>(&self, parts: Vec<T>, work: impl Fn(T) -> R + Send + Sync) -> Vec<R> {
        match &self.0 {
            Some(pool) => pool.install(|| parts.into_par_iter().with_max_len(1).map(work).collect()),
            None => parts.into_iter().map(work).collect(),
        }
    }

    /// Does `work` for each of `0..count`.
    pub(crate) fn each(&self, count: usize, work: impl Fn(usize) + Send + Sync) {
        match &self.0 {
            Some(pool) if count > 1 => {
                pool.install(|| (0..count).into_par_iter().with_max_len(1).for_each(work));
            }
            _ => (0..count).for_each(work),
        }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Threads").field(&self.count()).finish()
    }
}

/// Memory that tasks write apart from each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DisjointWrites<T>(*mut T);

impl<T: Copy> DisjointWrites<T> {
    pub(crate) const fn new(output: *mut T) -> Self {
        Self(output)
    }

    /// The first value. A method, so that closures hold this struct and not its field.
    pub(crate) const fn pointer(self) -> *mut T {
        self.0
    }
}

// SAFETY: a pointer by itself is harmless; who writes through it keeps to values that no other task touches.
unsafe impl<T: Send> Send for DisjointWrites<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for DisjointWrites<T> {}
