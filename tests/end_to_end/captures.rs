//! The score of captured frames equals the score of the model on the same images, since both use the same code.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use shared::{Channels, Image, LabelImage, encode_label_png, encode_picture_png};

use crate::fixture::brightness_model;
use crate::harness::{Harness, json_lines, program, text};

/// An image of discs, some too dark to be found or merged, and its true labels.
fn scene(seed: u32, width: u32, height: u32, channels: Channels) -> (Image, LabelImage) {
    let mut picture = Image::black(width, height, channels).unwrap();
    let mut labels = LabelImage::background(width, height).unwrap();
    let mut state = u64::from(seed) + 1;
    let mut random = |below: u32| {
        state = state * 48_271 % 0x7FFF_FFFF;
        (state % u64::from(below)) as u32
    };
    for label in 1..=12 {
        let (x, y, radius) = (random(width), random(height), 5 + random(8));
        let brightness = 70 + random(170);
        for (at, pixel) in picture.samples_hwc_mut().chunks_exact_mut(channels.count()).enumerate() {
            let (dx, dy) = ((at as u32 % width).abs_diff(x), (at as u32 / width).abs_diff(y));
            if dx * dx + dy * dy < radius * radius {
                pixel.fill(brightness as u8);
                if let [red, ..] = pixel
                    && channels == Channels::Rgb
                {
                    *red = red.saturating_sub(20);
                }
                labels.labels_hw_mut()[at] = label;
            }
        }
    }
    labels.make_consecutive();
    (picture, labels)
}

fn write_scenes(folder: &Path) -> usize {
    let scenes = [
        ("a", 256, 256, Channels::Grey),
        ("b", 200, 130, Channels::Rgb),
        ("c", 64, 48, Channels::Grey),
        ("d", 300, 90, Channels::Rgb),
    ];
    std::fs::create_dir_all(folder).unwrap();
    for (i, (name, width, height, channels)) in scenes.into_iter().enumerate() {
        let (picture, labels) = scene(i as u32, width, height, channels);
        let write = |file: String, bytes: Vec<u8>| std::fs::write(folder.join(file), bytes).unwrap();
        write(format!("{name}.png"), encode_picture_png(&picture).unwrap());
        write(format!("{name}_masks.png"), encode_label_png(&labels).unwrap());
    }
    scenes.len()
}

fn score(arguments: &[&str]) -> Value {
    let output =
        Command::new(program("nuclei-host")).arg("score").args(arguments).arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    json_lines(&output).remove(0)
}

fn assert_same(captured: &Value, computed: &Value) {
    for key in ["mean_ap", "mean_iou", "dice", "count_error"] {
        let (a, b) = (captured[key].as_f64().unwrap(), computed[key].as_f64().unwrap());
        assert!((a - b).abs() < 1e-9, "{key}: {a} by capture, {b} by the model itself");
    }
    assert_eq!(captured["ap"], computed["ap"]);
}

#[test]
fn captures_score_as_the_model_itself_does() {
    let folder = tempfile::tempdir().unwrap();
    let truth = folder.path().join("pictures");
    let count = write_scenes(&truth);
    let truth = truth.to_str().unwrap();
    let bench = Harness::new(&format!("kind = \"pictures\"\npath = {truth:?}\nframes_per_second = 20.0"));
    let onnx = brightness_model(0.4);
    let digest = bench.flash("model.onnx", &onnx);
    let (captures, model) = (bench.path("captures"), bench.path("model.onnx"));
    let (captures, model) = (captures.to_str().unwrap(), model.to_str().unwrap());

    let evidence = bench.json(&["capture", "--all", "--out", captures, "--json"]);
    let names: Vec<&Value> = evidence.iter().map(|frame| &frame["source"]).collect();
    assert_eq!(names, ["a", "b", "c", "d"], "each once, from the first");
    assert!(evidence.iter().all(|frame| frame["model"] == digest.as_str()));

    let captured = score(&["--truth", truth, "--pred", captures]);
    let computed = score(&["--truth", truth, "--model", model]);
    assert_eq!((&captured["images"], &computed["images"]), (&count.into(), &count.into()));
    assert_same(&captured, &computed);
    let mean_ap = captured["mean_ap"].as_f64().unwrap();
    assert!(mean_ap > 0.05 && mean_ap < 0.95, "a score that shows differences: {mean_ap}");

    let acquisition = &bench.json(&["station", "settings", "--json"])[0]["acquisition"];
    assert_eq!(acquisition, "continuous");
    let again = bench.run(&["capture", "--out", captures]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("holds an earlier capture"));
}

#[test]
fn captures_of_a_simulated_scene_bring_their_truth() {
    let bench = Harness::simulated();
    bench.flash("model.onnx", &brightness_model(0.4));
    let (captures, model) = (bench.path("captures"), bench.path("model.onnx"));
    let evidence = bench.json(&["capture", "--count", "3", "--out", captures.to_str().unwrap(), "--json"]);
    assert_eq!(evidence.len(), 3);
    let lines = std::fs::read_to_string(captures.join("evidence.jsonl")).unwrap();
    let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &mut lines {
        let fields = line.as_object_mut().unwrap();
        assert!(fields.remove("entry").is_some() && fields.remove("previous").is_some());
    }
    assert_eq!(lines, evidence);
    for frame in &evidence {
        let labels = |key: &str| {
            let path = captures.join(frame[key].as_str().unwrap());
            shared::decode_label_image(&std::fs::read(path).unwrap()).unwrap()
        };
        assert_eq!(u64::from(labels("labels").count()), frame["count"].as_u64().unwrap());
        assert_eq!(u64::from(labels("truth").count()), frame["true_count"].as_u64().unwrap());
    }
    let (truth, captures) = (captures.join("pictures"), captures);
    let truth = truth.to_str().unwrap();
    let captured = score(&["--truth", truth, "--pred", captures.to_str().unwrap()]);
    assert_same(&captured, &score(&["--truth", truth, "--model", model.to_str().unwrap()]));
}
