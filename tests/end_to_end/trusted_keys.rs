//! A station that trusts keys, and users without one.

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use crate::fixture::brightness_model;
use crate::harness::{Harness, json_lines, text};

const CAMERA: &str = "kind = \"simulated\"\nwidth = 320\nheight = 240\nnuclei = 20\nframes_per_second = 20.0";

/// Two users on one machine, and a station that trusts the first.
struct Lab {
    bench: Harness,
    people: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let people = tempfile::tempdir().unwrap();
        let line = key_line(people.path().join("ana"), "ana");
        key_line(people.path().join("eve"), "eve");
        Self { bench: Harness::new(&format!("{CAMERA}\n[trust.keys]\n{line}")), people }
    }

    fn run(&self, person: &str, arguments: &[&str]) -> Output {
        self.bench.host(arguments).env("XDG_CONFIG_HOME", self.people.path().join(person)).output().unwrap()
    }

    /// The JSON output of a successful command of that user.
    fn json(&self, person: &str, arguments: &[&str]) -> Value {
        let output = self.run(person, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        json_lines(&output).remove(0)
    }

    /// The path of a model file signed by that user.
    fn signed(&self, person: &str, name: &str, onnx: &[u8]) -> String {
        let path = self.bench.write(name, onnx);
        let signed = self.off_line(person, &["sign", &path, "--json"]);
        assert_eq!(signed.status.code(), Some(0), "{}", text(&signed.stderr));
        assert_eq!(json_lines(&signed)[0]["key"], person);
        path
    }

    fn off_line(&self, person: &str, arguments: &[&str]) -> Output {
        keys_of(self.people.path().join(person)).args(arguments).output().unwrap()
    }

    #[track_caller]
    fn refused(&self, person: &str, arguments: &[&str], words: &[&str]) {
        let output = self.run(person, arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        for word in words.iter().chain(&["next: "]) {
            assert!(message.contains(word), "{word:?} in {message}");
        }
    }

    #[track_caller]
    fn runs(&self, digest: &str) {
        let frame = &self.bench.json(&["live", "--frames", "1", "--json"])[0];
        assert_eq!(frame["model"], digest);
    }
}

fn keys_of(folder: PathBuf) -> std::process::Command {
    let mut command = std::process::Command::new(crate::harness::program("nuclei-host"));
    command.env("XDG_CONFIG_HOME", folder);
    command
}

/// Creates a key; returns the line for the station's settings.
fn key_line(folder: PathBuf, name: &str) -> String {
    let made = keys_of(folder.clone()).args(["key", "new", name]).output().unwrap();
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let again = keys_of(folder.clone()).args(["key", "new", name]).output().unwrap();
    assert_eq!(again.status.code(), Some(1), "keys are never overwritten");
    let listed = keys_of(folder).args(["key", "list"]).output().unwrap();
    assert_eq!(listed.stdout, made.stdout);
    text(&made.stdout)
}

#[test]
fn a_signed_model_is_run_and_a_strangers_is_not() {
    let lab = Lab::new();
    let status = lab.json("eve", &["station", "status", "--json"]);
    assert_eq!(status["trusted_keys"], 1);
    let mut running = status["model"].as_str().unwrap().to_owned();

    let onnx = brightness_model(0.4);
    let plain = lab.bench.write("plain.onnx", &onnx);
    let by_ana = lab.signed("ana", "ana.onnx", &onnx);
    let by_eve = lab.signed("eve", "eve.onnx", &onnx);
    let altered = {
        let mut onnx = std::fs::read(&by_ana).unwrap();
        // In the producer's name, so that the model itself is unchanged.
        let at = onnx.windows(6).position(|window| window == b"nuclei").unwrap();
        onnx[at] = b'N';
        lab.bench.write("altered.onnx", &onnx)
    };
    for step in 0..2 {
        lab.refused("ana", &["flash", &plain], &["not signed", "nothing was sent", "nuclei-host sign"]);
        lab.refused("ana", &["flash", &plain, "--force"], &["the file is not signed", "nuclei-host sign"]);
        lab.refused("ana", &["flash", &by_eve], &["is signed by key", "does not trust", "key list"]);
        lab.refused("ana", &["flash", &altered, "--force"], &["the file does not match its signature"]);
        lab.refused("eve", &["flash", &by_ana, "--force"], &["does not trust key", "[trust.keys]"]);
        lab.runs(&running);
        if step == 0 {
            let ended = lab.json("ana", &["flash", &by_ana, "--json"]);
            assert_eq!(ended["outcome"], "confirmed");
            running = ended["digest"].as_str().unwrap().to_owned();
            lab.runs(&running);
        }
    }

    // The wrong signatures above did not trigger the lockout: each valid one resets the counter.
    lab.refused("nobody", &["station", "revert"], &["no signing key was found", "key new NAME"]);
    lab.refused("nobody", &["station", "set", "masks", "off"], &["no signing key was found"]);
    lab.runs(&running);
    assert_eq!(lab.json("ana", &["station", "set", "masks", "off", "--json"])["masks"], false);
    assert_eq!(lab.run("ana", &["station", "revert"]).status.code(), Some(0));
}

#[test]
fn an_older_model_is_refused_and_then_wanted() {
    let lab = Lab::new();
    let old = lab.signed("ana", "old.onnx", &brightness_model(0.3));
    let signed_at = |path: &str| {
        let signature = shared::trust::ModelSignature::at_end(&std::fs::read(path).unwrap()).unwrap();
        signature.signed.0
    };
    let new = crate::harness::until("a second goes by", || {
        let new = lab.signed("ana", "new.onnx", &brightness_model(0.4));
        (signed_at(&new) > signed_at(&old)).then_some(new)
    });
    let confirmed = lab.json("ana", &["flash", &new, "--json"]);
    let digest = confirmed["digest"].as_str().unwrap();
    lab.refused("ana", &["flash", &old], &["was signed", "before a model", "--allow-downgrade"]);
    lab.runs(digest);
    let ended = lab.json("ana", &["flash", &old, "--allow-downgrade", "--json"]);
    assert_eq!((&ended["outcome"], &ended["sent"]), (&"confirmed".into(), &0.into()), "it was there already");
    lab.runs(ended["digest"].as_str().unwrap());
}

#[test]
fn guessing_is_slow_and_disturbs_no_count() {
    let lab = Lab::new();
    let tries: Vec<String> =
        (0..6).map(|_| text(&lab.run("eve", &["station", "set", "illumination", "40"]).stderr)).collect();
    let (wrong, locked) = tries.split_at(5);
    assert!(wrong.iter().all(|message| message.contains("does not trust key")), "{tries:?}");
    assert!(locked[0].contains("too many wrong signatures"), "{tries:?}");
    lab.refused("ana", &["station", "set", "illumination", "40"], &["run the command again in"]);
    assert_eq!(lab.bench.json(&["live", "--frames", "2", "--json"]).len(), 2);
}
