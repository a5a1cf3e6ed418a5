//! The program as systemd supervises it: it says that it is ready, that it lives, that it ends.
#![allow(clippy::unwrap_used, reason = "a target of tests: helpers fail as tests do")]

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A station that does not outlive its test.
struct Station(Child);

impl Drop for Station {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for a message that holds a line.
fn expect_line(socket: &UnixDatagram, line: &str) {
    let mut bytes = [0; 4096];
    loop {
        let length = socket.recv(&mut bytes).unwrap();
        if std::str::from_utf8(&bytes[..length]).unwrap().lines().any(|message| message == line) {
            return;
        }
    }
}

#[test]
fn the_supervisor_is_notified_of_readiness_life_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuclei-station"));
    command.args(["run", "--config", "/dev/null", "--camera", "simulated", "--threads", "1"]);
    command
        .arg("--port")
        .arg(folder.path().join("no-port"))
        .arg("--storage")
        .arg(folder.path().join("storage"));
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000").env_remove("WATCHDOG_PID");
    let station = Station(command.stderr(Stdio::null()).spawn().unwrap());
    expect_line(&socket, "READY=1");
    for _ in 0..3 {
        expect_line(&socket, "WATCHDOG=1");
    }
    kill(Pid::from_raw(station.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    expect_line(&socket, "STOPPING=1");
}
