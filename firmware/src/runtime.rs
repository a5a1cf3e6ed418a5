//! What every thread of the station uses: journal, cancellation, watchdog.

mod cancellation;
mod journal;
pub(crate) mod watchdog;

pub use cancellation::CancellationToken;
pub(crate) use journal::log;
pub use journal::{ErrorChain, write_line};
