//! Standard output, without a panic when its reader has closed it, and warnings on standard error.

use std::io::Write as _;

use crate::Failure;
use crate::printable::{printable, printable_json, printable_list};

/// Prints a line; line breaks and terminal escapes within it are printed as text.
///
/// # Errors
/// [`Failure`], a normal end where the reader closed the pipe.
pub fn line(text: &str) -> Result<(), Failure> {
    write(&printable(text))
}

/// Prints a text of several lines.
///
/// # Errors
/// As [`line`].
pub fn lines(text: &str) -> Result<(), Failure> {
    text.split('\n').try_for_each(line)
}

/// Prints a value as one line of JSON.
///
/// # Errors
/// As [`line`].
pub fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    write(&printable_json(&serde_json::to_string(value).map_err(std::io::Error::from)?))
}

fn write(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Prints a line, or a line and a list, on standard error, with the same escapes. A closed standard error is no failure.
pub fn warn(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", printable_list(text));
}

/// Prints a formatted line on standard error; line breaks and terminal escapes within it are printed as text.
#[macro_export]
macro_rules! warning {
    ($($argument:tt)*) => {
        $crate::output::warn(&::std::format!($($argument)*))
    };
}
