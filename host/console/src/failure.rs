//! How a command ends: the exit code, and for a failure the problem, its cause and the next step.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::printable::{printable, printable_list};

/// Linux's numbers of the errors for too many open files, of this process and of the machine.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;
/// What to do where too many files are open.
const RAISE_LIMIT: &str = "too many files are open: close other programs, or raise the limit with ulimit -n";

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

    /// Prints the failure on standard error, where others of what it concerns go on.
    pub fn print_for(&self, name: &str) {
        let _ = writeln!(io::stderr().lock(), "{}: {self}", printable(name));
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
        let cause = one_line(&*self.cause);
        write!(f, "error: {}", printable_list(&cause))?;
        let next = if is_out_of_files(&cause) { RAISE_LIMIT } else { &self.next };
        if !next.is_empty() {
            write!(f, "\n next: {}", printable(next))?;
        }
        Ok(())
    }
}

/// Reports how a command ended, and gives the program's exit code.
pub fn exit_code(ended: Result<Exit, Failure>) -> ExitCode {
    let exit = ended.unwrap_or_else(|failure| {
        if !failure.is_closed_pipe() {
            let _ = writeln!(io::stderr().lock(), "{failure}");
        }
        failure.exit()
    });
    ExitCode::from(exit as u8)
}

/// Whether the system refused another open file. Which file that was has nothing to do with it, and every message of a
/// system error ends in its number.
fn is_out_of_files(cause: &str) -> bool {
    [EMFILE, ENFILE].iter().any(|errno| cause.contains(&format!("(os error {errno})")))
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
    fn names_in_a_failure_cannot_forge_another_line() {
        let failure = Failure::failed("\u{1b}[2Ja.png\nerror: all is well", "look at a\nb");
        let expected = "error: \\u{1b}[2Ja.png\\nerror: all is well\n next: look at a\\nb";
        assert_eq!(failure.to_string(), expected);
    }

    #[test]
    fn too_many_open_files_are_no_fault_of_the_file() {
        for errno in [EMFILE, ENFILE] {
            let error = io::Error::from_raw_os_error(errno);
            assert!(error.to_string().starts_with("Too many open files"), "{error}");
            let failure = Failure::failed(format!("a.png cannot be read: {error}"), "give an image");
            assert!(failure.to_string().ends_with("ulimit -n"), "{failure}");
        }
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let failure = Failure::failed(format!("a.png cannot be read: {missing}"), "give an image");
        assert!(failure.to_string().ends_with("next: give an image"), "{failure}");
    }

    #[test]
    fn a_closed_pipe_is_a_normal_end() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.exit(), Exit::Done);
    }
}
