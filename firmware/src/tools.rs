//! The program's commands.

mod bench;
mod check;
mod cli;

pub use bench::{BenchArgs, BenchError, run as bench};
pub use cli::main;
