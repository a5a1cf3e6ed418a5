//! Lines that are good for less than they were asked for, and stations that find the speed they are spoken to at.

use std::io::BufRead as _;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bench::{BAUD, Bench, Process, json_lines, next_line, text};

#[test]
fn a_station_follows_the_speed_that_it_is_asked_at() {
    let bench = Bench::simulated();
    for baud in ["115200", "460800", "921600"] {
        let status = &bench.json(&["station", "status", "--json", "--baud", baud])[0];
        assert!(status["model"].is_string(), "{status}");
    }
}

#[test]
fn a_host_falls_back_to_what_the_line_is_good_for_and_says_so() {
    let bench = Bench::simulated();
    bench.line.garble_above(230_400);
    let output = bench.run(&["link-test", "--seconds", "1", "--json"]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("answers at 230400 baud, and not at 921600"), "{told}");
    let quality = &json_lines(&output)[0];
    let seen = ["baud", "best_baud", "lost"].map(|field| quality[field].as_u64());
    assert_eq!(seen, [Some(230_400), Some(230_400), Some(0)], "{quality}");
    let share = quality["line_share"].as_f64().unwrap();
    assert!(share > 0.3 && share <= 1.05, "{quality}");
}

#[test]
fn watching_goes_on_slower_on_a_line_that_gets_bad_and_climbs_when_it_is_good_again() {
    let bench = Bench::simulated();
    let command = &mut bench.host(&["live", "--json"]);
    let mut live = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let (mut counts, mut told) = (live.stdout(), live.stderr());
    next_line(&mut counts).unwrap();
    let numbers = std::thread::spawn(move || {
        let number = |line: String| serde_json::from_str::<Value>(&line).unwrap()["frame"].as_u64().unwrap();
        std::iter::from_fn(|| next_line(&mut counts)).map(number).collect::<Vec<u64>>()
    });
    let mut all = String::new();
    let mut until_told = |words: &str| {
        let start = all.len();
        while !all[start..].contains(words) {
            assert!(told.read_line(&mut all).unwrap() > 0, "live ended before it said {words:?}: {all}");
        }
    };
    bench.line.garble_above(460_800);
    until_told("waiting for it to come back");
    until_told(&format!("the station is back, at 460800 baud instead of {BAUD}"));
    bench.line.garble_above(u32::MAX);
    until_told(&format!("the line runs at {BAUD} baud again"));
    live.signal(Signal::SIGINT);
    let numbers = numbers.join().unwrap();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a count is lost or doubled: {numbers:?}");
    assert_eq!(live.wait().code(), Some(0));
}
