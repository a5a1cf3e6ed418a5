//! The program's commands.

mod bench;
mod check;
mod cli;

pub use bench::{BenchError, StationBenchArgs, run as bench};
pub use cli::main;
