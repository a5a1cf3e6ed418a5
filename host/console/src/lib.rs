//! Console support of `nuclei-host`: output, progress, files and exit codes.
//!
//! Every part of the host is built on this crate, which depends on none of them.
#![forbid(unsafe_code)]

mod atomic_file;
mod companion;
pub mod csv;
mod examples;
mod failure;
mod input_file;
pub mod interrupt;
pub mod output;
mod printable;
mod progress;
mod threads;

pub use atomic_file::{WriteError, write_advice, write_whole};
pub use companion::{BUILD_COMMAND, CHECK_CUDA, Companion, NotInstalled, STATION, TRAIN};
pub use examples::example_command_lines;
pub use failure::{Exit, Failure, exit_code, one_line};
pub use input_file::{open_input, read_input, read_input_text};
pub use printable::printable;
pub use progress::Progress;
pub use threads::threads_or_all;
