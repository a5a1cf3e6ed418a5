//! How many threads a command may use.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

/// Threads to use: those asked for, else every core.
pub fn threads_or_all(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    asked.or_else(|| available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}
