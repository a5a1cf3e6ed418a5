//! What every thread of the station uses: the journal, the end of all threads, and the supervisor.

mod journal;
mod stop;
pub(crate) mod supervision;

pub(crate) use journal::note;
pub use journal::{Told, write_line};
pub use stop::Stop;
