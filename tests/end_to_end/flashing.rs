//! Flashing models through interruptions.

use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::fixture::{brightness_model, padded};
use crate::harness::{Harness, Process, json_lines, next_line, rest, text, until};

fn replaced(mut onnx: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = onnx.windows(from.len()).position(|window| window == from).unwrap();
    onnx.splice(at..at + from.len(), to.iter().copied());
    onnx
}

#[test]
fn a_refused_model_leaves_the_old_one_running() {
    let bench = Harness::simulated();
    let good = brightness_model(0.4);
    let digest = bench.flash("good.onnx", &good);
    let other = brightness_model(0.5);
    let cases = [
        ("format.onnx", replaced(other.clone(), b"\"format\":1", b"\"format\":9"), "format 9", "format 9"),
        ("cut.onnx", other[..other.len() / 2].to_vec(), "not an ONNX model", "not an ONNX model"),
        ("text.onnx", b"a letter, not a model".to_vec(), "not an ONNX model", "not an ONNX model"),
    ];
    for (name, onnx, here, there) in cases {
        let path = bench.write(name, &onnx);
        let carried = bench.line.carried();
        let checked = bench.run(&["flash", &path]);
        let message = text(&checked.stderr);
        assert_eq!(checked.status.code(), Some(1), "{message}");
        assert!(message.contains(here) && message.contains("nothing was sent"), "{message}");
        assert_eq!(bench.line.carried().0, carried.0, "{name} went over the line");

        let forced = bench.run(&["flash", &path, "--force"]);
        let message = text(&forced.stderr);
        assert_eq!(forced.status.code(), Some(1), "{message}");
        assert!(message.contains("the station rejected the model") && message.contains(there), "{message}");
        let frame = &bench.json(&["live", "--frames", "1", "--json"])[0];
        assert_eq!(frame["model"], digest.as_str(), "{name} runs");
    }
    let slots = &bench.json(&["station", "slots", "--json"])[0];
    assert_eq!((&slots["active"], &slots["a"]["state"]), (&"a".into(), &"confirmed".into()), "{slots}");
}

#[test]
fn the_same_model_is_not_sent_twice_and_a_revert_goes_back() {
    let bench = Harness::simulated();
    let factory = bench.running_model();
    let onnx = brightness_model(0.4);
    let digest = bench.flash("model.onnx", &onnx);
    assert_eq!(bench.running_model(), digest);
    let path = bench.path("model.onnx");
    let path = path.to_str().unwrap();

    let before = bench.line.carried().0;
    let again = &bench.json(&["flash", path, "--json"])[0];
    assert_eq!((&again["outcome"], &again["sent"]), (&"already active".into(), &0.into()));
    assert!(bench.line.carried().0 - before < onnx.len() as u64 / 2);

    assert_eq!(bench.run(&["flash", path, "--verify"]).status.code(), Some(0));
    assert_eq!(bench.run(&["station", "revert"]).status.code(), Some(0));
    until("the factory model runs", || (bench.running_model() == factory).then_some(()));
    let other = bench.run(&["flash", path, "--verify"]);
    assert_eq!(other.status.code(), Some(3), "{}", text(&other.stderr));
}

#[test]
fn an_upload_outlives_the_host_and_the_station() {
    const LENGTH: usize = 900_000;
    let mut bench = Harness::simulated();
    let onnx = padded(brightness_model(0.3), LENGTH);
    let path = bench.write("long.onnx", &onnx);
    let carried = |bench: &Harness| bench.line.carried().0;
    let sent_of = |bench: &Harness, bytes: u64, process: &mut Process| {
        let start = carried(bench);
        until("bytes are sent", || (carried(bench) - start > bytes || !process.is_running()).then_some(()));
    };
    let start = carried(&bench);

    // Ctrl-C stops the first attempt cleanly.
    let mut first =
        Process::start(bench.host(&["flash", &path]).stdout(Stdio::null()).stderr(Stdio::piped()));
    sent_of(&bench, 300_000, &mut first);
    first.signal(Signal::SIGINT);
    let message = rest(first.stderr());
    assert_eq!(first.wait().code(), Some(1), "{message}");
    assert!(message.contains("stopped") && message.contains("run the same command again"), "{message}");

    // The station is killed, restarts, and is killed again in the middle of the second attempt.
    bench.restart_station();
    bench.wait_until_ready();
    let mut second =
        Process::start(bench.host(&["flash", &path, "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()));
    sent_of(&bench, 300_000, &mut second);
    bench.restart_station();
    let mut stdout = second.stdout();
    let message = rest(second.stderr());
    assert_eq!(second.wait().code(), Some(0), "{message}");
    let ended: serde_json::Value = serde_json::from_str(&next_line(&mut stdout).unwrap()).unwrap();
    assert_eq!(ended["outcome"], "confirmed");
    assert!(ended["sent"].as_u64().unwrap() < LENGTH as u64 * 9 / 10, "nothing was kept: {ended}");
    assert!(
        carried(&bench) - start < LENGTH as u64 * 3 / 2,
        "{} bytes went over the line",
        carried(&bench) - start
    );
    assert_eq!(bench.running_model(), ended["digest"].as_str().unwrap());
}

#[test]
fn a_dry_run_opens_no_port() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, brightness_model(0.4)).unwrap();
    let output = std::process::Command::new(crate::harness::program("nuclei-host"))
        .args(["flash", path.to_str().unwrap(), "--dry-run", "--json", "--port", "/dev/ttyNotThere7"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(json_lines(&output)[0]["outcome"], "checked");
}
