//! Exports, read back with the libraries of other programs.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use shared::{LabelImage, encode_label_png};

use crate::fixture::brightness_model;
use crate::harness::Harness;
use crate::workdir::{Workdir, assert_prints, json};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/exports.py");
/// The script's exit code where a module is missing.
const MODULE_MISSING: i32 = 77;

/// What other readers find in an export; `None`, with a message, if they are not installed.
fn read_back(folder: &Path) -> Option<Value> {
    let python = std::env::var("NUCLEI_PYTHON").unwrap_or_else(|_| "python3".into());
    let run = Command::new(&python).args([Path::new(SCRIPT), folder]).output();
    let skip = |why: &dyn std::fmt::Display| {
        // Not eprintln: the test harness would swallow it.
        let mut stderr = std::io::stderr();
        writeln!(stderr, "SKIPPED: exports read by others ({python}): {why}").unwrap();
        None
    };
    let run = match run {
        Ok(run) => run,
        Err(error) => return skip(&error),
    };
    let complaint = String::from_utf8_lossy(&run.stderr);
    if run.status.code() == Some(MODULE_MISSING) {
        return skip(&complaint.trim());
    }
    assert!(run.status.success(), "{complaint}");
    Some(serde_json::from_slice(&run.stdout).unwrap())
}

fn labels(rows: &[&str]) -> Vec<u8> {
    let (width, height) = (rows[0].len() as u32, rows.len() as u32);
    let labels = rows.concat().bytes().map(|byte| u32::from(byte - b'0')).collect();
    encode_label_png(&LabelImage::new(width, height, labels).unwrap()).unwrap()
}

const FORMATS: &str = "png,tiff,csv,parquet,coco,geojson,imagej,kaggle";

#[test]
fn odd_nuclei_round_trip_through_every_format() {
    let workdir = Workdir::new();
    // A hole, an island within it, parts that meet at a corner, a single pixel, touching neighbours, a gap in
    // the numbers, and nuclei at every edge.
    let odd =
        ["1111102", "1000102", "1030122", "1000100", "1111100", "0440050", "4400505", "0000050", "7000088"];
    workdir.write("labels/odd, in a way_masks.png", &labels(&odd));
    workdir.write("labels/none_masks.png", &labels(&["000", "000"]));
    let discs: Vec<u32> = (0..200 * 130_u32)
        .map(|at| {
            let (x, y) = (at % 200, at / 200);
            let (dx, dy) = (x % 20, y % 20);
            let inside = dx.abs_diff(9).pow(2) + dy.abs_diff(9).pow(2) < 80;
            if inside { 1 + y / 20 * 10 + x / 20 } else { 0 }
        })
        .collect();
    let discs = LabelImage::new(200, 130, discs).unwrap();
    workdir.write("labels/discs_masks.png", &encode_label_png(&discs).unwrap());
    let message = json(&workdir.run(&format!("convert labels --out out --format {FORMATS} --json"), 0));
    assert_eq!((&message["pictures"], &message["pixel_size_um"]), (&3.into(), &Value::Null));
    assert_eq!(workdir.labels("out/png/discs_masks.png"), discs);
    assert_eq!(workdir.labels("out/tiff/discs_masks.tif"), discs);
    let Some(read) = read_back(&workdir.path("out")) else { return };
    let pixels = odd.concat().bytes().filter(|&byte| byte != b'0').count()
        + discs.labels_hw().iter().filter(|&&label| label > 0).count();
    assert_eq!((&read["pictures"], &read["nuclei"]), (&3.into(), &message["nuclei"]));
    assert_eq!(read["pixels"], pixels);
    assert_eq!(read["composites"], 2, "that with a hole and that in parts");
    assert_eq!(read["run_lengths_in_coco"], 1, "only a hole needs run lengths");
    let columns: Vec<&str> = read["columns"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(columns.contains(&"area_px") && !columns.iter().any(|column| column.contains("um")));
}

#[test]
fn segment_and_convert_write_the_same() {
    let workdir = Workdir::new();
    workdir.picture("pictures/a.png", 96, 64);
    workdir.picture("pictures/b.png", 200, 130);
    let formats = format!("{FORMATS},overlay --pixel-size 0.5");
    workdir.run(&format!("segment --model model.onnx --out found --format {formats} pictures"), 0);
    workdir.run(&format!("convert found --images pictures --out out --format {formats}"), 0);
    let files = [
        "png/a_masks.png",
        "tiff/b_masks.tif",
        "objects.csv",
        "objects.parquet",
        "coco.json",
        "geojson/a.geojson",
        "imagej/b_RoiSet.zip",
        "run_lengths.csv",
        "overlays/a.png",
    ];
    for file in files {
        let read = |top: &str| std::fs::read(workdir.path(&format!("{top}/{file}"))).unwrap();
        assert_eq!(read("found"), read("out"), "{file}");
    }
    if let Some(read) = read_back(&workdir.path("found")) {
        assert_eq!(read["nuclei"], 30);
        assert!(read["columns"].as_array().unwrap().contains(&"area_um2".into()));
    }
}

#[test]
fn captures_are_converted_with_their_pictures() {
    let bench = Harness::simulated();
    bench.flash("model.onnx", &brightness_model(0.4));
    let captures = bench.path("captures");
    let out = bench.path("out");
    let taken = bench.json(&["capture", "--count", "2", "--out", captures.to_str().unwrap(), "--json"]);
    let count: u64 = taken.iter().map(|frame| frame["count"].as_u64().unwrap()).sum();
    let formats = format!("{FORMATS},overlay");
    let mut command = Command::new(crate::harness::program("nuclei-host"));
    command.args(["convert", captures.to_str().unwrap(), "--out", out.to_str().unwrap(), "--json"]);
    let message = json(&command.args(["--format", &formats]).output().unwrap());
    assert_eq!((&message["nuclei"], &message["failed"]), (&count.into(), &serde_json::json!([])));
    let table = std::fs::read_to_string(out.join("objects.csv")).unwrap();
    assert!(!table.contains(",,"), "the brightness was seen");
    if let Some(read) = read_back(&out) {
        assert_eq!(read["nuclei"], count);
    }
}

#[test]
fn a_recording_becomes_a_table_with_its_evidence() {
    let bench = Harness::simulated();
    bench.flash("model.onnx", &brightness_model(0.4));
    let (record, out) = (bench.path("counts.jsonl"), bench.path("out"));
    let frames = bench.json(&["live", "--json", "--frames", "12", "--record", record.to_str().unwrap()]);
    let host = crate::harness::program("nuclei-host");
    let convert = |format: &str| {
        let mut command = Command::new(&host);
        command.args(["convert", record.to_str().unwrap(), "--out", out.to_str().unwrap(), "--json"]);
        command.args(["--format", format]).output().unwrap()
    };
    let message = json(&convert("parquet,csv"));
    assert_eq!((&message["frames"], message["files"].as_array().unwrap().len()), (&12.into(), 2));
    assert_eq!(convert("coco").status.code(), Some(2));
    let Some(read) = read_back(&out) else { return };
    let counts: Vec<&Value> = frames.iter().map(|frame| &frame["count"]).collect();
    assert_eq!(read["counts"].as_array().unwrap().iter().collect::<Vec<_>>(), counts);
    let columns = read["columns"].as_array().unwrap();
    for column in ["gate_border", "station_version", "pixel_size_by", "flat_field_sha256", "previous_sha256"]
    {
        assert!(columns.contains(&column.into()), "{column}");
    }
}

#[test]
fn what_cannot_be_converted_is_named() {
    let workdir = Workdir::new();
    workdir.write("labels/a.png", &labels(&["11", "00"]));
    workdir.write("labels/b.png", b"no picture");
    let output = workdir.run("convert labels --out out --format coco", 1);
    assert_prints(&output, &["b.png cannot be used", "label images not written: 1 (listed above)"]);
    let output = workdir.run("convert labels --out out --format overlay", 1);
    assert_prints(&output, &["a: there is no source image to draw on", "--images"]);
    workdir.picture("pictures/a.png", 96, 64);
    let output = workdir.run("convert labels --images pictures --out out --format csv", 1);
    assert_prints(&output, &["a: the image has 96x64 pixels, but its labels have 2x2"]);
    workdir.write("out/png/a.png", &labels(&["1"]));
    let output = workdir.run("convert out/png --out out --format png", 2);
    assert_prints(&output, &["out/png contains input images or labels"]);
    workdir.run("convert labels --out out --format word", 2);
}
