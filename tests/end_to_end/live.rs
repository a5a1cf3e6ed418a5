//! Live counts, and a station that disconnects and returns.

use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fixture::brightness_model;
use crate::harness::{Harness, Process, next_line, text};

#[test]
fn live_shows_and_records_every_frame() {
    let bench = Harness::simulated();
    let digest = bench.flash("model.onnx", &brightness_model(0.4));
    let record = bench.path("counts.jsonl");
    let frames = bench.json(&["live", "--json", "--frames", "8", "--record", record.to_str().unwrap()]);
    assert_eq!(frames.len(), 8);
    for pair in frames.windows(2) {
        assert!(pair[0]["frame"].as_u64() < pair[1]["frame"].as_u64());
    }
    for frame in &frames {
        assert_eq!(frame["model"], digest.as_str());
        assert!(frame["true_count"].as_u64().is_some() && frame["median_diameter_um"].is_null(), "{frame}");
        assert!(frame["stages_ms"]["network"].as_f64().unwrap() > 0.0, "{frame}");
    }
    let recorded = std::fs::read_to_string(record).unwrap();
    let mut recorded: Vec<Value> = recorded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &mut recorded {
        let fields = line.as_object_mut().unwrap();
        assert!(fields.remove("entry").is_some() && fields.remove("previous").is_some());
    }
    assert_eq!(recorded, frames);

    assert_eq!(bench.run(&["station", "set", "pixel-size", "0.5"]).status.code(), Some(0));
    let output = bench.run(&["live", "--frames", "3"]);
    let message = text(&output.stdout);
    assert_eq!(message.lines().count(), 4, "{message}");
    assert!(message.contains("(true ") && message.contains("focus ") && message.contains(" µm"), "{message}");
}

#[test]
fn live_waits_for_a_station_that_went_away() {
    let mut bench = Harness::simulated();
    let mut live =
        Process::start(bench.host(&["live", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut lines = live.stdout();
    let frame_number = |line: &str| serde_json::from_str::<Value>(line).unwrap()["frame"].as_u64().unwrap();
    let last = (0..5).map(|_| frame_number(&next_line(&mut lines).unwrap())).last().unwrap();
    bench.restart_station();
    // A restarted station numbers its frames from one again.
    while frame_number(&next_line(&mut lines).unwrap()) >= last {}
    live.signal(Signal::SIGINT);
    while next_line(&mut lines).is_some() {}
    assert_eq!(live.wait().code(), Some(0));
}

#[test]
fn the_line_is_measured() {
    let bench = Harness::simulated();
    let quality = &bench.json(&["link-test", "--seconds", "1", "--json"])[0];
    assert_eq!((&quality["lost"], &quality["altered"]), (&0.into(), &0.into()), "{quality}");
    let share = quality["line_share"].as_f64().unwrap();
    assert!(share > 0.3 && share <= 1.05, "{quality}");
}

#[test]
fn doctor_asks_the_station() {
    let bench = Harness::simulated();
    let report = &bench.json(&["doctor", "--json"])[0];
    assert_eq!(report["ok"], true, "{report}");
    let findings = report["findings"].as_array().unwrap();
    let station = findings.iter().find(|finding| finding["name"] == "station").unwrap();
    assert_eq!(station["state"], "ok", "{report}");
}
