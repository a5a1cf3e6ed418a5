//! Console support of `nuclei-host`: output, progress, files and exit codes.
//!
//! Every part of the host is built on this crate, which depends on none of them.
#![forbid(unsafe_code)]

mod atomic_file;
mod companion;
pub mod csv;
mod examples;
mod failure;
pub mod interrupt;
pub mod output;
mod progress;
mod threads;

pub use atomic_file::{WriteError, write_whole};
pub use companion::{BUILD_COMMAND, CHECK_CUDA, Companion, NotInstalled, STATION, TRAIN};
pub use examples::example_command_lines;
pub use failure::{Exit, Failure, exit_code, one_line};
pub use progress::Progress;
pub use threads::threads_or_all;
