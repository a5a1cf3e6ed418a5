//! Missing ports, ports without a station, and stations of another version.

use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use host::{SerialTransport, Transport as _, VirtualLine};
use shared::wire::{Accumulator, Identity, Name, PROTOCOL_VERSION, Packet, Refusal, Response};

use crate::harness::{BAUD, program, text};

fn status(port: &str) -> Output {
    let mut command = Command::new(program("nuclei-host"));
    command.args(["station", "status", "--port", port]).stdin(Stdio::null()).output().unwrap()
}

fn assert_absent(output: &Output, words: &[&str]) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{message}");
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_port_that_does_not_exist() {
    assert_absent(&status("/dev/ttyNotThere7"), &["port /dev/ttyNotThere7 does not exist", "next: "]);
}

#[test]
fn a_file_that_is_no_port() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_absent(&status(file.path().to_str().unwrap()), &["cannot be opened as a serial port", "next: "]);
}

#[test]
fn a_port_that_is_no_station() {
    let line = VirtualLine::new(BAUD).unwrap();
    let port = line.host_end();
    let port = port.to_str().unwrap();
    assert_absent(&status(port), &["no station answered on", port, "next: "]);
}

/// The result of `work` if every packet gets the same response.
fn answered_by<T>(response: &Response, work: impl FnOnce(&str) -> T) -> T {
    let line = VirtualLine::new(BAUD).unwrap();
    let mut end = SerialTransport::open(line.station_end().to_str().unwrap(), BAUD).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut accumulator = Accumulator::new();
            let mut room = [0; 256];
            while !over.load(Ordering::Relaxed) {
                let count = end.receive(&mut room, Duration::from_millis(20)).unwrap();
                let mut answers = Vec::new();
                accumulator.push(&room[..count], |packet| {
                    Packet::new(packet.unwrap().sequence, response.clone()).encode(&mut answers).unwrap();
                });
                end.send(&answers).unwrap();
            }
        });
        let found = work(line.host_end().to_str().unwrap());
        over.store(true, Ordering::Relaxed);
        found
    })
}

#[test]
fn a_station_of_another_protocol_version() {
    let older = Response::Hello(Identity { protocol: 0, version: Name::new(), name: Name::new() });
    let newer = Response::Refused(Refusal::Protocol { station: 9 });
    for (response, station, next) in [(older, 0, "update nuclei-station"), (newer, 9, "update nuclei-host")] {
        let words = format!("speaks protocol {station}, this program {PROTOCOL_VERSION}");
        // Asserted after the responder has stopped, which would outlive a failure.
        assert_absent(&answered_by(&response, status), &[&words, next]);
    }
}
