//! A `nuclei-station` of this machine, started and ended by this program.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Time for a station to exit.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// Lines of its log that are printed when it exits by itself.
const LAST_LINES: usize = 8;

/// A running station, stopped on drop.
#[derive(Debug)]
pub struct StationProcess {
    child: Child,
    log: PathBuf,
}

impl StationProcess {
    /// Starts it with `args`; its output goes to the file `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start<S: AsRef<OsStr>>(program: &Path, args: &[S], log: &Path) -> io::Result<Self> {
        let output = File::create(log)?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its exit status, if it exited.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last lines of its output.
    pub fn last_words(&self) -> String {
        let output = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

impl Drop for StationProcess {
    fn drop(&mut self) {
        if self.ended().is_none()
            && let Ok(id) = i32::try_from(self.child.id())
        {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let until = Instant::now() + END_PATIENCE;
        while self.ended().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
