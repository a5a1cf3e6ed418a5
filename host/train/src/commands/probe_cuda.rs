//! The hidden command that tries CUDA in a process of its own.

use host_console::{Exit, Failure, output};
use host_training::compute_on_cuda;

/// Computes something on the first CUDA device.
///
/// # Errors
/// [`Failure`] when standard output is closed.
pub fn run() -> Result<Exit, Failure> {
    output::line(&format!("{}", compute_on_cuda()))?;
    Ok(Exit::Done)
}
