//! A station, a host and the line between them, on this machine.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use host::VirtualLine;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

pub const BAUD: u32 = 921_600;
/// Nothing on a bench takes so long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A program of the workspace, from the folder that this test was built into.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.is_file(), "{} is missing: cargo build --release --locked --workspace", path.display());
    path
}

/// A process that does not outlive its test.
pub struct Process {
    child: Child,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self { child: command.spawn().unwrap() }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.child.stdout.take().unwrap())
    }

    pub fn stderr(&mut self) -> BufReader<ChildStderr> {
        BufReader::new(self.child.stderr.take().unwrap())
    }

    pub fn wait(&mut self) -> ExitStatus {
        until("the process ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is there.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// A station on a line.
pub struct Bench {
    pub station: Process,
    pub line: VirtualLine,
    pub folder: TempDir,
}

impl Bench {
    /// A station with that `[camera]`, and whatever else its settings are to hold; ready.
    pub fn new(camera: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let line = VirtualLine::new(BAUD).unwrap();
        let settings = format!(
            "name = \"bench\"\nthreads = 1\n[camera]\n{camera}\n[link]\nport = {:?}\nbaud = {BAUD}\n[storage]\nfolder = {:?}\n",
            line.station_end(),
            folder.path().join("storage"),
        );
        std::fs::write(folder.path().join("station.toml"), settings).unwrap();
        let station = start_station(folder.path());
        let bench = Self { station, line, folder };
        bench.wait_until_ready();
        bench
    }

    /// One with a simulated microscope.
    pub fn simulated() -> Self {
        Self::new("kind = \"simulated\"\nwidth = 320\nheight = 240\nnuclei = 20\nframes_per_second = 20.0")
    }

    pub fn restart_station(&mut self) {
        self.station.kill();
        self.station = start_station(self.folder.path());
    }

    pub fn wait_until_ready(&self) {
        until("the station answers", || self.run(&["station"]).status.success().then_some(()));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The host with those arguments, on this line.
    pub fn host(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("nuclei-host"));
        command.args(arguments).arg("--port").arg(self.line.host_end()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.host(arguments).output().unwrap()
    }

    /// What a command that must succeed prints as JSON, a value a line.
    pub fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        json_lines(&output)
    }

    /// Flashes a model, which must succeed; its digest.
    pub fn flash(&self, name: &str, onnx: &[u8]) -> String {
        let path = self.write(name, onnx);
        let ended = &self.json(&["flash", &path, "--json"])[0];
        assert_eq!(ended["outcome"], "confirmed", "{ended}");
        ended["digest"].as_str().unwrap().to_owned()
    }

    /// The digest of the model that runs.
    pub fn running_model(&self) -> String {
        self.json(&["station", "status", "--json"])[0]["model"].as_str().unwrap().to_owned()
    }
}

fn start_station(folder: &Path) -> Process {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("station.log")).unwrap();
    let mut command = Command::new(program("nuclei-station"));
    command.arg("run").arg("--config").arg(folder.join("station.toml"));
    Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log))
}

pub fn json_lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The next line, without its end; `None` at the end.
pub fn next_line(reader: &mut impl std::io::BufRead) -> Option<String> {
    let mut line = String::new();
    (reader.read_line(&mut line).unwrap() > 0).then(|| line.trim_end().to_owned())
}

/// Everything up to the end.
pub fn rest(reader: impl std::io::Read) -> String {
    BufReader::new(reader).lines().map(|line| line.unwrap() + "\n").collect()
}
