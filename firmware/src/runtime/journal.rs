//! What the station tells its operator: lines on standard error, where a service's journal collects them.

use std::error::Error;
use std::fmt::{Arguments, Display, Formatter, Result};
use std::io::Write as _;

/// Writes one line. A closed standard error is no reason to stop.
pub fn write_line(line: Arguments<'_>) {
    // Tests cause troubles by the thousand; this way a test that passes keeps them to itself.
    if cfg!(test) {
        eprintln!("{line}");
        return;
    }
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Notes a line in the journal; takes what `format!` takes.
macro_rules! note {
    ($($arg:tt)*) => { $crate::runtime::write_line(format_args!($($arg)*)) };
}
pub(crate) use note;

/// An error with its causes in one line, each told once.
pub struct Told<'a>(pub &'a dyn Error);

impl Display for Told<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut told = self.0.to_string();
        let mut source = self.0.source();
        while let Some(error) = source {
            let cause = error.to_string();
            if !told.contains(&cause) {
                told = format!("{told} ({cause})");
            }
            source = error.source();
        }
        f.write_str(&told)
    }
}
