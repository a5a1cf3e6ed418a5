//! A station, a host and the line between them, on this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use host::VirtualLine;
use serde_json::Value;
use tempfile::TempDir;

pub use crate::process::{Process, json_lines, next_line, program, rest, text, until};

pub const BAUD: u32 = 921_600;

/// The `[camera]` of a simulated microscope.
pub const SIMULATED: &str =
    "kind = \"simulated\"\nwidth = 320\nheight = 240\nnuclei = 20\nframes_per_second = 20.0";

/// A station on a line.
pub struct Harness {
    pub station: Process,
    pub line: VirtualLine,
    pub folder: TempDir,
}

impl Harness {
    /// A ready station with this `[camera]` and other settings.
    pub fn new(camera: &str) -> Self {
        Self::open("bench", BAUD, camera)
    }

    /// The same with another name.
    pub fn named(name: &str, camera: &str) -> Self {
        Self::open(name, BAUD, camera)
    }

    /// The same on a line of this baud rate; ready at a rate of at most [`BAUD`].
    pub fn at(baud: u32, camera: &str) -> Self {
        Self::open("bench", baud, camera)
    }

    fn open(name: &str, baud: u32, camera: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let line = VirtualLine::new(baud).unwrap();
        let settings = format!(
            "name = {name:?}\nthreads = 1\n[camera]\n{camera}\n[link]\nport = {:?}\nbaud = {baud}\n[storage]\nfolder = {:?}\n",
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
        Self::new(SIMULATED)
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

    /// The host with these arguments, on this line.
    pub fn host(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("nuclei-host"));
        command.args(arguments).arg("--port").arg(self.line.host_end()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.host(arguments).output().unwrap()
    }

    /// The JSON values that a successful command prints, one per line.
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
