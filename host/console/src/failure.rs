//! How a command ends: the exit code, and for a failure the problem, its cause and the next step.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::process::ExitCode;

/// Exit codes of `nuclei-host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// The command line is invalid.
    Usage = 2,
    /// A check failed: a score below `--min-ap`, a verify mismatch.
    CheckFailed = 3,
    /// The station is absent or incompatible.
    StationAbsent = 4,
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    cause: Box<dyn Error + Send + Sync>,
    next: String,
}

impl Failure {
    /// A failure with its cause and the next step for the person who sees it.
    pub fn new(exit: Exit, cause: impl Into<Box<dyn Error + Send + Sync>>, next: impl Into<String>) -> Self {
        Self { exit, cause: cause.into(), next: next.into() }
    }

    /// A failure of exit code 1.
    pub fn failed(cause: impl Into<Box<dyn Error + Send + Sync>>, next: impl Into<String>) -> Self {
        Self::new(Exit::Failed, cause, next)
    }

    /// An invalid command line.
    pub fn usage(cause: impl Into<Box<dyn Error + Send + Sync>>, next: impl Into<String>) -> Self {
        Self::new(Exit::Usage, cause, next)
    }

    /// The exit code. A closed pipe is a normal end, since its reader has seen enough.
    pub fn exit(&self) -> Exit {
        if self.is_closed_pipe() { Exit::Done } else { self.exit }
    }

    /// Whether standard output was closed by its reader.
    pub fn is_closed_pipe(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&*self.cause);
        while let Some(error) = cause {
            if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", one_line(&*self.cause))?;
        if !self.next.is_empty() {
            write!(f, "\n next: {}", self.next)?;
        }
        Ok(())
    }
}

/// Reports how a command ended, and gives the program's exit code.
pub fn exit_code(ended: Result<Exit, Failure>) -> ExitCode {
    let exit = ended.unwrap_or_else(|failure| {
        if !failure.is_closed_pipe() {
            eprintln!("{failure}");
        }
        failure.exit()
    });
    ExitCode::from(exit as u8)
}

/// An error and its causes on one line.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line.push_str(&format!(": {error}"));
        source = error.source();
    }
    line
}

impl From<io::Error> for Failure {
    /// Standard output failed.
    fn from(error: io::Error) -> Self {
        Self::failed(error, "check the disk or the program that reads the output")
    }
}

impl From<shared::UnitError> for Failure {
    fn from(error: shared::UnitError) -> Self {
        Self::usage(error, "see --help for the range")
    }
}

impl From<shared::SizeError> for Failure {
    fn from(error: shared::SizeError) -> Self {
        Self::failed(error, "crop or shrink the image")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_cause_and_next_step() {
        let failure = Failure::usage("no such thing", "name another");
        assert_eq!(failure.to_string(), "error: no such thing\n next: name another");
        assert_eq!(failure.exit(), Exit::Usage);
    }

    #[test]
    fn a_closed_pipe_is_a_normal_end() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.exit(), Exit::Done);
    }
}
