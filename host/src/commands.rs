//! One file a command: its arguments, and `run`, which gives the exit code or the failure to tell.

pub mod export;
pub mod probe_cuda;
pub mod train;
