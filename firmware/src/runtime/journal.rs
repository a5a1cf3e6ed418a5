//! What the station logs for its operator: lines on standard error, which the service manager's journal collects.

use std::error::Error;
use std::fmt::{Arguments, Display, Formatter, Result};
use std::io::Write as _;

/// Writes one line. A closed standard error is ignored.
pub fn write_line(line: Arguments<'_>) {
    // Tests provoke thousands of faults; `eprintln!` lets the test harness capture them.
    if cfg!(test) {
        eprintln!("{line}");
        return;
    }
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Logs a line to the journal; takes what `format!` takes.
macro_rules! log {
    ($($arg:tt)*) => { $crate::runtime::write_line(format_args!($($arg)*)) };
}
pub(crate) use log;

/// An error with its causes on one line, each once.
pub struct ErrorChain<'a>(pub &'a dyn Error);

impl Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut chain = self.0.to_string();
        let mut source = self.0.source();
        while let Some(error) = source {
            let cause = error.to_string();
            if !chain.contains(&cause) {
                chain = format!("{chain} ({cause})");
            }
            source = error.source();
        }
        f.write_str(&chain)
    }
}
