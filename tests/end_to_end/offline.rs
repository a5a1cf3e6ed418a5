//! `segment` and `score` as programs: input files, output files and exit codes.

use std::fs;
use std::process::Command;

use shared::{Channels, LabelImage, decode_image, encode_label_png};

use crate::harness::{program, text};
use crate::workdir::{Workdir, assert_prints, json, stderr};

#[test]
fn label_images_measures_and_overlays_of_files_and_folders() {
    let workdir = Workdir::new();
    workdir.picture("pictures/a.png", 96, 64);
    workdir.picture("pictures/b.png", 200, 130);
    workdir.picture("c.png", 32, 32);
    let output = workdir.run(
        "segment --model model.onnx --out found --csv --pixel-size 0.5 --overlay --json pictures c.png",
        0,
    );
    let summary = json(&output);
    let counts: Vec<_> = summary["pictures"].as_array().unwrap().iter().map(|p| &p["nuclei"]).collect();
    assert_eq!(counts, [6, 24, 1]);
    assert_eq!(summary["nuclei"], 31);
    let confidence = |name: &str| summary["confidence"][name].as_f64().unwrap();
    let each = summary["pictures"].as_array().unwrap().iter().map(|p| p["confidence"].as_f64().unwrap());
    assert_eq!(confidence("least"), each.reduce(f64::min).unwrap());
    assert!(confidence("least") <= confidence("lower_quartile") && confidence("median") <= 1.0);
    assert_eq!(confidence("pictures"), 3.0);
    assert_eq!(
        workdir.names_in("found"),
        ["a.png", "b.png", "c.png", "judgements.jsonl", "objects.csv", "overlays"]
    );
    let labels = workdir.labels("found/b.png");
    assert_eq!((labels.width(), labels.height(), labels.count(), labels.max_label()), (200, 130, 24, 24));
    let csv = fs::read_to_string(workdir.path("found/objects.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 31);
    assert!(csv.lines().next().unwrap().ends_with("area_um2,equivalent_diameter_um,perimeter_um"));
    let overlay = decode_image(&fs::read(workdir.path("found/overlays/a.png")).unwrap()).unwrap();
    assert_eq!((overlay.width(), overlay.height(), overlay.channels()), (96, 64, Channels::Rgb));

    let again = workdir.run("segment --model model.onnx --out again --csv c.png", 0);
    assert_eq!(text(&again.stdout).lines().next(), Some("c: 1 nuclei"));
    assert!(!fs::read_to_string(workdir.path("again/objects.csv")).unwrap().contains("um"));
}

#[test]
fn one_pixel_and_twenty_thousand_across() {
    let workdir = Workdir::new();
    workdir.picture("dot.png", 1, 1);
    workdir.picture("strip.png", 20_000, 100);
    workdir.run("segment --model model.onnx --out found dot.png strip.png", 0);
    let strip = workdir.labels("found/strip.png");
    assert_eq!((strip.width(), strip.height(), strip.count()), (20_000, 100, 625 * 3));
    assert_eq!(workdir.labels("found/dot.png").labels_hw(), [0]);
}

#[test]
fn bad_pictures_are_named_and_the_rest_is_done() {
    let workdir = Workdir::new();
    workdir.picture("pictures/good.png", 64, 64);
    workdir.write("pictures/text.png", b"no picture");
    workdir.write("cut.zip", b"PK\x03\x04 and no more");
    let output = workdir.run("segment --model model.onnx --out found pictures cut.zip none.png", 1);
    assert_prints(
        &output,
        &[
            "text.png cannot be used: the data is not PNG, TIFF, JPEG, BMP or WebP",
            "cut.zip is not a zip",
            "none.png does not exist",
            "inputs not segmented: 3 (listed above)",
        ],
    );
    assert_eq!(workdir.names_in("found"), ["good.png", "judgements.jsonl"]);
}

#[test]
fn nothing_is_overwritten_that_was_not_segmented() {
    let workdir = Workdir::new();
    workdir.picture("p/a.png", 32, 32);
    workdir.picture("q/a.png", 64, 64);
    let output = workdir.run("segment --model model.onnx --out found p q", 2);
    assert_prints(&output, &["p/a.png and q/a.png have the same name", "next: "]);
    assert!(workdir.names_in("found").is_empty());

    let before = fs::read(workdir.path("p/a.png")).unwrap();
    for words in ["--out p p", "--out p p/a.png", "--out ./q/../p p"] {
        let output = workdir.run(&format!("segment --model model.onnx {words}"), 2);
        assert_prints(&output, &["contains input images or labels", "--out"]);
    }
    assert_eq!(fs::read(workdir.path("p/a.png")).unwrap(), before);
}

#[test]
fn a_model_that_is_none_is_named() {
    let workdir = Workdir::new();
    workdir.picture("a.png", 32, 32);
    workdir.write("text.onnx", b"text");
    assert_prints(
        &workdir.run("segment --model text.onnx --out found a.png", 1),
        &["text.onnx", "not an ONNX model"],
    );
    assert_prints(&workdir.run("score --truth a.png --model none.onnx", 1), &["none.onnx cannot be used"]);
}

#[test]
fn a_file_that_cannot_be_written_leaves_what_was_there() {
    let workdir = Workdir::new();
    workdir.picture("big.png", 2000, 2000);
    workdir.write("found/big.png", b"an earlier result");
    let mut command = Command::new("sh");
    let program = program("nuclei-host");
    let script = format!(
        "trap '' XFSZ; ulimit -f 4; exec '{}' segment --model model.onnx --out found big.png",
        program.display()
    );
    let output = command.args(["-c", &script]).current_dir(workdir.folder()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_prints(&output, &["found/big.png could not be written", "next: free space on the disk"]);
    assert_eq!(fs::read(workdir.path("found/big.png")).unwrap(), b"an earlier result");
    assert_eq!(workdir.names_in("found"), [".unfinished", "big.png"]);
}

#[test]
fn a_model_and_its_label_images_score_the_same() {
    let workdir = Workdir::new();
    workdir.bowl("truth");
    workdir.run("segment --model model.onnx --out found truth", 0);
    assert_eq!(workdir.names_in("found"), ["judgements.jsonl", "one.png", "three.png", "two.png"]);
    let by_files = json(&workdir.run("score --truth truth --pred found --json --per-image", 0));
    let by_model = json(&workdir.run("score --truth truth --model model.onnx --json --per-image", 0));
    assert_eq!(by_files, by_model);
    assert_eq!(by_model["images"], 3);
    let mean_ap = by_model["mean_ap"].as_f64().unwrap();
    assert!(mean_ap > 0.1 && mean_ap < 0.9, "a score between the extremes: {mean_ap}");
    for key in ["mean_ap", "mean_iou", "dice", "count_error"] {
        assert!(by_model[key].is_f64() && by_model["types"]["fluorescence"][key].is_f64(), "{key}");
    }
    assert_eq!(by_model["ap"].as_array().unwrap().len(), 10);
    assert_eq!(by_model["per_image"].as_array().unwrap().len(), 3);

    for (least, code) in [(mean_ap - 0.01, 0), (mean_ap + 0.01, 3)] {
        workdir.run(&format!("score --truth truth --pred found --min-ap {least} --csv scores.csv"), code);
    }
    assert_eq!(fs::read_to_string(workdir.path("scores.csv")).unwrap().lines().count(), 4);
    workdir.run("score --truth truth --pred found --min-ap 40", 2);
}

#[test]
fn a_part_of_the_truth_is_scored_only_when_asked() {
    let workdir = Workdir::new();
    workdir.bowl("truth");
    workdir.run("segment --model model.onnx --out found truth/one truth/two", 0);
    let refused = workdir.run("score --truth truth --pred found", 1);
    assert_prints(
        &refused,
        &["1 images of the ground truth have no prediction: three", "--subset", "--missing-as-empty"],
    );
    workdir.write("names.txt", b"one\ntwo\n\n");
    let part = json(&workdir.run("score --truth truth --pred found --subset --json", 0));
    assert_eq!((&part["images"], &part["left_out"]), (&2.into(), &serde_json::json!(["three"])));
    for words in
        ["--pred found --names names.txt", "--pred found --only one two", "--model model.onnx --only one two"]
    {
        let named = json(&workdir.run(&format!("score --truth truth {words} --json"), 0));
        assert_eq!((&named["images"], &named["mean_ap"]), (&2.into(), &part["mean_ap"]), "{words}");
    }
    let empty = json(&workdir.run("score --truth truth --pred found --missing-as-empty --json", 0));
    assert_eq!(empty["images"], 3);
    assert!(
        (3.0 * empty["mean_ap"].as_f64().unwrap() - 2.0 * part["mean_ap"].as_f64().unwrap()).abs() < 1e-9
    );
    assert_prints(&workdir.run("score --truth truth --pred found --only four", 2), &["no image called four"]);
}

#[test]
fn truth_that_cannot_be_used_is_refused_or_left_out() {
    let workdir = Workdir::new();
    workdir.bowl("truth");
    fs::remove_dir_all(workdir.path("truth/one/masks")).unwrap();
    workdir.picture("truth/two/masks/odd.png", 5, 7);
    let refused = workdir.run("score --truth truth --model model.onnx", 1);
    assert_prints(
        &refused,
        &[
            "2 of 3 images cannot be used",
            "one.png has no masks",
            "odd.png has 5x7 pixels, but its image has 64x160",
            "--skip-bad",
        ],
    );
    let rest = workdir.run("score --truth truth --model model.onnx --skip-bad --json", 0);
    assert_prints(&rest, &["warning: skipped, 2 of 3"]);
    assert_eq!((&json(&rest)["images"], json(&rest)["skipped"].as_array().unwrap().len()), (&1.into(), 2));

    let labels = encode_label_png(&LabelImage::background(9, 9).unwrap()).unwrap();
    workdir.write("wrong/three.png", &labels);
    let output = workdir.run("score --truth truth/three --pred wrong", 1);
    assert_prints(&output, &["three: the prediction has 9x9 pixels, but the ground truth has 200x64"]);
}
