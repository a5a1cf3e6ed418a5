//! The hidden command that `nuclei-host doctor` runs to check whether training works on CUDA.

use host_console::{Exit, Failure, output};
use host_training::BackendChoice;

/// Computes something on the first CUDA device, in a process of its own.
///
/// # Errors
/// [`Failure`] with the reason why CUDA does not compute here.
pub fn run() -> Result<Exit, Failure> {
    let backend = BackendChoice::Cuda.resolve()?;
    output::line(&format!("{} computes here", backend.name()))?;
    Ok(Exit::Done)
}
