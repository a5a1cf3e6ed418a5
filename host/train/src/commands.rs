//! One file per command: its arguments, and `run`, which returns the exit code or the failure to report.

pub mod bench;
pub mod check_cuda;
pub mod compare;
pub mod export;
mod network_args;
#[cfg(feature = "cuda")]
pub mod probe_cuda;
pub mod quantize;
pub mod split;
pub mod train;
