//! A stranger who floods the page ends neither a recording nor the page.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Harness, Process, next_line, program, text, until};

/// Files that the host may open; the flood has more connections.
const OPEN_FILES: usize = 256;
const FLOOD: usize = 400;

#[test]
fn a_flood_of_half_sent_requests_ends_neither_recording_nor_page() {
    let bench = Harness::simulated();
    let file = bench.path("counts.jsonl");
    let record = file.to_str().unwrap();
    let host = bench.host(&["live", "--view", "page", "--listen", "0.0.0.0:0", "--record", record]);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -n {OPEN_FILES} && exec \"$0\" \"$@\""));
    command.arg(host.get_program()).args(host.get_args()).env("XDG_CONFIG_HOME", bench.path("config"));
    let mut live = Process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
    let line = next_line(&mut live.stdout()).unwrap();
    let address = line.strip_prefix("page: http://0.0.0.0:").unwrap().split_whitespace().next().unwrap();
    let (port, query) = address.split_once('/').unwrap();
    let connect = || TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    let recorded = || std::fs::read_to_string(&file).unwrap_or_default().lines().count();
    until("frames are recorded", || (recorded() > 3).then_some(()));

    let flood: Vec<TcpStream> = (0..FLOOD)
        .map(|_| {
            let mut stream = connect();
            // The page may have closed it already.
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: ");
            stream
        })
        .collect();
    let before = recorded();
    until("frames are recorded during the flood", || (recorded() > before + 10).then_some(()));
    let mut viewer = connect();
    viewer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(viewer, "GET /{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    viewer.read_to_end(&mut answer).unwrap();
    assert!(text(&answer).starts_with("HTTP/1.1 200"), "{}", text(&answer));
    drop(flood);

    live.signal(Signal::SIGTERM);
    live.wait();
    let audit = Command::new(program("nuclei-host")).args(["audit", record]).output().unwrap();
    assert_eq!(audit.status.code(), Some(0), "{}", text(&audit.stderr));
}
