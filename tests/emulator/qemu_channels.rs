//! Connections between a test and QEMU: a shell in the guest, QEMU's monitor, and growing files.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::until_within;

/// An emulated machine on a busy one is slow.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// A socket that QEMU connects to.
pub struct Socket(UnixListener);

impl Socket {
    pub fn new(path: &Path) -> Self {
        Self(UnixListener::bind(path).unwrap())
    }

    pub fn accept(&self) -> UnixStream {
        let (stream, _) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// A shell in the guest.
pub struct Shell(BufReader<UnixStream>);

impl Shell {
    pub const fn new(stream: BufReader<UnixStream>) -> Self {
        Self(stream)
    }

    /// A command's output and exit status.
    pub fn try_run(&mut self, command: &str) -> (String, i32) {
        writeln!(self.0.get_mut(), "{{ {command}\n}}; status=$?; echo; echo \"#status $status\"").unwrap();
        let mut printed = String::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the guest ended at {command:?}: {printed}");
            if let Some(status) = line.trim_end().strip_prefix("#status ") {
                return (printed.trim_end().to_owned(), status.parse().unwrap());
            }
            printed.push_str(&line);
        }
    }

    /// The output of a successful command.
    pub fn run(&mut self, command: &str) -> String {
        let (printed, status) = self.try_run(command);
        assert_eq!(status, 0, "{command}: {printed}");
        printed
    }
}

/// QEMU's monitor, which speaks QMP.
pub struct Monitor(BufReader<UnixStream>);

impl Monitor {
    pub fn new(stream: UnixStream) -> Self {
        let mut monitor = Self(BufReader::new(stream));
        monitor.next();
        monitor.ask("qmp_capabilities", json!({}));
        monitor
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    pub fn ask(&mut self, command: &str, arguments: Value) -> Value {
        writeln!(self.0.get_mut(), "{}", json!({"execute": command, "arguments": arguments})).unwrap();
        loop {
            let message = self.next();
            if let Some(answer) = message.get("return") {
                return answer.clone();
            }
            assert!(message.get("error").is_none(), "{command}: {message}");
        }
    }

    /// Waits for an event.
    pub fn wait_for_event(&mut self, event: &str) {
        while self.next()["event"] != event {}
    }
}

/// A text file that another program writes.
pub struct GrowingText {
    path: PathBuf,
    seen: usize,
}

impl GrowingText {
    pub const fn new(path: PathBuf) -> Self {
        Self { path, seen: 0 }
    }

    pub fn all(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.path).unwrap_or_default()).into_owned()
    }

    /// Waits for a new line that contains these words.
    pub fn wait_for(&mut self, words: &str) -> String {
        let (line, seen) = until_within(PATIENCE, words, || {
            let all = self.all();
            let mut end = 0;
            for (number, line) in all.split_inclusive('\n').enumerate() {
                end += 1;
                if number >= self.seen && line.ends_with('\n') && line.contains(words) {
                    return Some((line.trim_end().to_owned(), end));
                }
            }
            None
        });
        self.seen = seen;
        line
    }

    /// Skips existing content.
    pub fn skip(&mut self) {
        self.seen = self.all().matches('\n').count();
    }
}
