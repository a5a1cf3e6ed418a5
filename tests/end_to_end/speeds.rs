//! Lines that only work below the requested rate, and stations that find the host's rate.

use std::io::BufRead as _;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{BAUD, Harness, Process, SIMULATED, json_lines, next_line, rest, text, until};

#[test]
fn a_station_follows_the_speed_that_it_is_asked_at() {
    let bench = Harness::simulated();
    for baud in ["115200", "460800", "921600"] {
        let status = &bench.json(&["station", "status", "--json", "--baud", baud])[0];
        assert!(status["model"].is_string(), "{status}");
    }
}

#[test]
fn a_host_falls_back_to_what_the_line_is_good_for_and_says_so() {
    let bench = Harness::simulated();
    bench.line.garble_above(230_400);
    let output = bench.run(&["link-test", "--seconds", "1", "--json"]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert!(message.contains("answers at 230400 baud, but not at 921600"), "{message}");
    let quality = &json_lines(&output)[0];
    let seen = ["baud", "best_baud", "lost"].map(|field| quality[field].as_u64());
    assert_eq!(seen, [Some(230_400), Some(230_400), Some(0)], "{quality}");
    let share = quality["line_share"].as_f64().unwrap();
    assert!(share > 0.3 && share <= 1.05, "{quality}");
}

#[test]
fn the_best_speed_of_a_line_that_answers_and_loses_is_looked_for() {
    let bench = Harness::simulated();
    // A chunk's round trip is 8 kB: hardly any succeeds.
    bench.line.garble_some_above(230_400, 3000);
    let output = bench.run(&["link-test", "--seconds", "1", "--json"]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("--baud 230400: the station follows"), "{message}");
    let quality = &json_lines(&output)[0];
    let seen = ["baud", "best_baud"].map(|field| quality[field].as_u64());
    assert_eq!(seen, [Some(921_600), Some(230_400)], "{quality}");
    assert!(quality["lost"].as_u64() > Some(0), "{quality}");
}

#[test]
fn every_count_comes_over_a_line_that_garbles_some() {
    let bench = Harness::simulated();
    // A result is about 150 bytes: one in ten is lost.
    bench.line.garble_some_above(0, 1500);
    let numbers: Vec<u64> = bench.json(&["live", "--json", "--frames", "200"]).iter().map(number).collect();
    assert_eq!(numbers.len(), 200);
    assert!(follow_each_other(&numbers), "a count is lost or doubled: {numbers:?}");
}

#[test]
fn ctrl_c_ends_the_search_for_a_speed_at_once() {
    let bench = Harness::simulated();
    bench.line.garble_above(0);
    let sent = || bench.line.carried().0;
    let before = sent();
    let command = &mut bench.host(&["live", "--json"]);
    let mut live = Process::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    let message = live.stderr();
    let greeting = until("a greeting is on the line", || Some(sent() - before).filter(|&sent| sent > 100));
    live.signal(Signal::SIGINT);
    assert_eq!(live.wait().code(), Some(1));
    let message = rest(message);
    assert!(message.contains("before the program was stopped"), "{message}");
    // The whole search is 46 handshakes.
    assert!(sent() - before <= 4 * greeting, "{} bytes of greetings, {greeting} each", sent() - before);
}

#[test]
fn watching_goes_on_slower_on_a_line_that_gets_bad_and_climbs_when_it_is_good_again() {
    falls_and_climbs(BAUD, 460_800);
}

#[test]
fn baud_rate_falls_back_from_a_nonstandard_maximum() {
    falls_and_climbs(3_000_000, 921_600);
}

/// Watches a line of maximum rate `top` that only works at `good` for a while.
fn falls_and_climbs(top: u32, good: u32) {
    let bench = Harness::at(top, SIMULATED);
    let baud = top.to_string();
    let command = &mut bench.host(&["live", "--json", "--baud", &baud]);
    let mut live = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let (mut counts, mut message) = (live.stdout(), live.stderr());
    next_line(&mut counts).unwrap();
    let numbers = std::thread::spawn(move || {
        let number = |line: String| number(&serde_json::from_str(&line).unwrap());
        std::iter::from_fn(|| next_line(&mut counts)).map(number).collect::<Vec<u64>>()
    });
    let mut all = String::new();
    let mut until_printed = |words: &str| {
        let start = all.len();
        while !all[start..].contains(words) {
            assert!(message.read_line(&mut all).unwrap() > 0, "live ended before it said {words:?}: {all}");
        }
    };
    bench.line.garble_above(good);
    until_printed("; reconnecting");
    until_printed(&format!("the station is back, at {good} baud instead of {top}"));
    bench.line.garble_above(u32::MAX);
    until_printed(&format!("the line runs at {top} baud again"));
    live.signal(Signal::SIGINT);
    let numbers = numbers.join().unwrap();
    assert!(follow_each_other(&numbers), "a count is lost or doubled: {numbers:?}");
    assert_eq!(live.wait().code(), Some(0));
}

fn number(record: &Value) -> u64 {
    record["frame"].as_u64().unwrap()
}

fn follow_each_other(numbers: &[u64]) -> bool {
    numbers.windows(2).all(|pair| pair[0] + 1 == pair[1])
}
