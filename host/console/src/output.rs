//! Standard output, without a panic when its reader has closed it.

use std::io::Write as _;

use crate::Failure;

/// Prints a line.
///
/// # Errors
/// [`Failure`], a normal end where the reader closed the pipe.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Prints a value as one line of JSON.
///
/// # Errors
/// [`Failure`], a normal end where the reader closed the pipe.
pub fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string(value).map_err(std::io::Error::from)?)
}
