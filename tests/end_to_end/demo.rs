//! The demo, which only needs the programs.

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::harness::{Process, json_lines, next_line, program, text};

#[test]
fn the_demo_flashes_counts_and_ends_cleanly() {
    let temporary = tempfile::tempdir().unwrap();
    let output = Command::new(program("nuclei-host"))
        .args(["demo", "--seconds", "5", "--json"])
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = json_lines(&output);
    let (last, frames) = lines.split_last().unwrap();
    assert!(!frames.is_empty() && last["flashed_bytes"].as_u64().unwrap() > 1000, "{last}");
    assert_eq!(last["summary"]["frames"], frames.len());
    let deviation = last["summary"]["truth"]["mean_deviation_percent"].as_f64().unwrap();
    assert!(deviation.abs() <= 10.0, "{last}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "something was left behind");
}

#[test]
fn ctrl_c_ends_the_demo_and_its_station() {
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = Process::start(
        Command::new(program("nuclei-host"))
            .arg("demo")
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let mut lines = demo.stdout();
    while !next_line(&mut lines).unwrap().contains("(true ") {}
    demo.signal(Signal::SIGINT);
    while next_line(&mut lines).is_some() {}
    assert_eq!(demo.wait().code(), Some(0));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "something was left behind");
}
