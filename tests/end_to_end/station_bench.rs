//! `nuclei-station bench`, whose output scripts rely on.

use std::process::{Command, Output};

use crate::harness::{program, text};
use crate::workdir::{Workdir, assert_prints, json};

fn bench(workdir: &Workdir, words: &str) -> Output {
    let mut command = Command::new(program("nuclei-station"));
    command.arg("bench").args(words.split_whitespace()).current_dir(workdir.folder()).output().unwrap()
}

#[test]
fn one_object_with_the_promised_fields() {
    let workdir = Workdir::new();
    let output = bench(&workdir, "--model model.onnx --size 192x160 --frames 3 --threads 2 --json");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let message = json(&output);
    for name in ["network_ms", "frame_ms", "gmac", "peak_rss_mb"] {
        assert!(message[name].as_f64().unwrap() > 0.0, "{name}: {message}");
    }
    assert_eq!((&message["threads"], &message["frames"]), (&2.into(), &3.into()));
    let stages = message["stages_ms"].as_object().unwrap();
    assert!(stages.len() >= 3 && stages.values().all(serde_json::Value::is_f64), "{message}");
    assert_eq!(stages["network"], message["network_ms"]);

    workdir.picture("pictures/a.png", 100, 60);
    let played = json(&bench(&workdir, "--model model.onnx --pictures pictures --frames 2 --json"));
    assert_eq!((&played["width"], &played["count"]), (&100.into(), &6.into()));
}

#[test]
fn what_cannot_be_measured_says_why_and_what_next() {
    let workdir = Workdir::new();
    workdir.write("text.onnx", b"text");
    for (words, code, parts) in [
        ("--model none.onnx", 1, ["none.onnx", "check the path"]),
        ("--model text.onnx", 1, ["not an ONNX model", "export it again"]),
        ("--pictures nowhere", 1, ["nowhere", "check the path"]),
        ("--size 1x1", 2, ["64 to 4096 pixels", "64 to 4096 pixels per side"]),
        ("--size big", 2, ["--size", "as 640x480"]),
        ("--frames 0", 2, ["--frames", "0"]),
    ] {
        let output = bench(&workdir, words);
        assert_eq!(output.status.code(), Some(code), "{words}: {}", text(&output.stderr));
        assert_prints(&output, &parts);
        assert!(output.stdout.is_empty());
    }
}
