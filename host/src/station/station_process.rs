//! A `nuclei-station` of this machine, started and ended by this program.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use host_console::Failure;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use thiserror::Error;

/// Name of the station's program.
pub const STATION_PROGRAM: &str = "nuclei-station";
/// Time for a station to exit.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// Lines of its log that are printed when it exits by itself.
const LAST_LINES: usize = 8;

/// The station's program was not found.
#[derive(Debug, Error)]
#[error("{STATION_PROGRAM} is neither next to this program nor in PATH")]
pub struct NoStationProgram;

impl From<NoStationProgram> for Failure {
    fn from(error: NoStationProgram) -> Self {
        Self::failed(error, "build it: cargo build --release --locked -p firmware")
    }
}

/// The path of the station's program: next to this one, else in PATH.
///
/// # Errors
/// [`NoStationProgram`].
pub fn find_station_program() -> Result<PathBuf, NoStationProgram> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let in_path = std::env::var_os("PATH");
    let folders = beside.into_iter().chain(in_path.iter().flat_map(std::env::split_paths));
    folders
        .map(|folder| folder.join(STATION_PROGRAM))
        .find(|program| program.is_file())
        .ok_or(NoStationProgram)
}

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
