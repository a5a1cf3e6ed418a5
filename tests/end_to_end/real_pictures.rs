//! Your own images and model through a real station, with the transcript:
//!
//! ```sh
//! nuclei-host split --data stage1_train.zip --out validation.zip
//! NUCLEI_PICTURES=validation.zip NUCLEI_MODEL=firmware/models/factory.onnx \
//!     tests/run --test end_to_end real_pictures -- --nocapture
//! ```
//!
//! Paths are relative to the workspace's folder.

use std::path::Path;
use std::process::Command;

use crate::harness::{Harness, json_lines, program, text};

fn score(truth: &str, way: &str, of: &str) -> serde_json::Value {
    let arguments = ["score", "--truth", truth, way, of, "--json"];
    println!("$ nuclei-host {}", arguments.join(" "));
    let output = Command::new(program("nuclei-host")).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    println!("{}", text(&output.stdout));
    json_lines(&output).remove(0)
}

#[test]
fn real_pictures_score_the_same_by_capture_and_by_the_model() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let variable = |name| Some(workspace.join(std::env::var_os(name)?).to_str().unwrap().to_owned());
    let (Some(pictures), Some(model)) = (variable("NUCLEI_PICTURES"), variable("NUCLEI_MODEL")) else {
        eprintln!("SKIPPED: set NUCLEI_PICTURES and NUCLEI_MODEL to images and a model");
        return;
    };
    let bench = Harness::new(&format!("kind = \"pictures\"\npath = {pictures:?}\nframes_per_second = 20.0"));
    let captures = bench.path("captures");
    let captures = captures.to_str().unwrap();
    for arguments in [vec!["flash", &model], vec!["capture", "--all", "--out", captures]] {
        println!("$ nuclei-host {} --port {}", arguments.join(" "), bench.line.host_end().display());
        let output = bench.run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        println!("{}", text(&output.stdout));
    }
    let captured = score(&pictures, "--pred", captures);
    let computed = score(&pictures, "--model", &model);
    for key in ["mean_ap", "mean_iou", "dice", "count_error"] {
        let (a, b) = (captured[key].as_f64().unwrap(), computed[key].as_f64().unwrap());
        assert!((a - b).abs() < 1e-9, "{key}: {a} by capture, {b} by the model itself");
    }
}
