//! Reports over a sample's fields, and audits of records.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use shared::{Channels, Image, LabelImage, encode_label_png, encode_picture_png};

use crate::fixture::brightness_model;
use crate::harness::{Harness, program, text};
use crate::workdir::{Workdir, assert_prints, json as object};

/// A field of squares of 10 pixels at these places.
fn squares(places: &[[u32; 2]]) -> LabelImage {
    let mut labels = vec![0; 200 * 100];
    for (label, [x, y]) in (1..).zip(places) {
        for row in *y..(y + 10).min(100) {
            let row = (row * 200) as usize;
            labels[row + *x as usize..row + (x + 10).min(200) as usize].fill(label);
        }
    }
    LabelImage::new(200, 100, labels).unwrap()
}

fn row_of(count: u32) -> LabelImage {
    squares(&(0..count).map(|at| [15 + at % 9 * 20, 15 + at / 9 * 20]).collect::<Vec<_>>())
}

fn near(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap();
    assert!((value / expected - 1.0).abs() < 1e-3, "{value} for {expected}");
}

#[test]
fn fields_are_summed_up_with_units_and_doubts() {
    let workdir = Workdir::new();
    for (at, count) in [8, 9, 10, 11, 12].into_iter().enumerate() {
        workdir.write(&format!("fields/{at}.png"), &encode_label_png(&row_of(count)).unwrap());
    }
    let plain = object(&workdir.run("report fields --json", 0));
    assert_eq!((&plain["counts"]["fields"], &plain["counts"]["total"]), (&5.into(), &50.into()));
    near(&plain["counts"]["mean"]["interval"][0], 8.0368);
    assert_eq!(plain["counts"]["more_fields"], 36);
    assert_eq!((&plain["density_per_mm2"], &plain["sizes"]["areas_um2"]), (&Value::Null, &Value::Null));
    let lines = text(&workdir.run("report fields", 0).stdout);
    assert!(!lines.contains("µm²") && !lines.contains("mm²"), "no µm without a pixel size: {lines}");
    assert!(lines.contains("Student's t") && lines.contains("focus, light and density were not checked"));

    // 200 x 100 pixels of 0.5 µm are 0.005 mm²: 10 nuclei are 2000 per mm², and with a depth of 100 µm 2e7 per mL.
    let words = "--pixel-size 0.5 --chamber-depth-um 100 --dilution 2 --border two-edges --html report.html";
    let scaled = object(&workdir.run(&format!("report fields --json {words}"), 0));
    near(&scaled["density_per_mm2"]["value"], 2000.0);
    near(&scaled["density_per_mm2"]["interval"][1], 11.9632 / 0.005);
    near(&scaled["concentration_per_ml"]["value"], 4e7);
    near(&scaled["sizes"]["areas_um2"][2], 25.0);
    let page = fs::read_to_string(workdir.path("report.html")).unwrap();
    assert!(page.contains("nuclei per mL") && page.contains("Farthest from the mean"));
    assert!(
        !page.contains("http://")
            || page.matches("http://").count() == page.matches("http://www.w3.org").count()
    );
    assert_prints(
        &workdir.run("report fields --chamber-depth-um 100", 2),
        &["a concentration needs the pixel size", "--pixel-size"],
    );
    workdir.run("report fields --min-area-px 9 --max-area-px 8", 2);
}

#[test]
fn borders_and_areas_decide_what_counts() {
    let workdir = Workdir::new();
    // One at the left edge, one at the right, one at the lower, one within; the right one is cut to half.
    let field = squares(&[[0, 40], [195, 40], [100, 90], [50, 50]]);
    workdir.write("fields/a_masks.png", &encode_label_png(&field).unwrap());
    for (words, count) in [
        ("", 4),
        ("--border exclude", 1),
        ("--border two-edges", 2),
        ("--min-area-px 60", 3),
        ("--max-area-px 60", 1),
        ("--border two-edges --max-area-px 60", 0),
    ] {
        let report = object(&workdir.run(&format!("report fields --json {words}"), 0));
        assert_eq!(
            (&report["fields"][0]["count"], &report["fields"][0]["found"]),
            (&count.into(), &4.into()),
            "{words}"
        );
    }
}

#[test]
fn fields_that_cannot_be_trusted_are_left_out_and_named() {
    let workdir = Workdir::new();
    let labels = row_of(12);
    workdir.write("found/sharp.png", &encode_label_png(&labels).unwrap());
    workdir.write("found/bright.png", &encode_label_png(&labels).unwrap());
    let picture = |nucleus: u8| {
        let sample = |&label: &u32| if label == 0 { 20 } else { nucleus };
        let samples = labels.labels_hw().iter().map(sample).collect();
        encode_picture_png(&Image::new(200, 100, Channels::Grey, samples).unwrap()).unwrap()
    };
    workdir.write("pictures/sharp.png", &picture(200));
    workdir.write("pictures/bright.png", &picture(255));
    let report = object(&workdir.run("report found --images pictures --json", 0));
    assert_eq!((&report["counts"]["fields"], &report["fields"][0]["name"]), (&1.into(), &"sharp".into()));
    assert_eq!(report["left_out"][0]["name"], "bright");
    assert_eq!(report["left_out"][0]["doubts"].as_array().unwrap().len(), 1);
    fs::remove_file(workdir.path("found/sharp.png")).unwrap();
    let output = workdir.run("report found --pictures pictures", 1);
    assert_prints(
        &output,
        &["excluded: bright: saturated", "none of the fields in found has a reliable count"],
    );
}

#[test]
fn what_segment_doubts_report_leaves_out() {
    let workdir = Workdir::new();
    for (name, count) in [("a", 5), ("b", 9), ("c", 7)] {
        workdir.write(&format!("found/{name}.png"), &encode_label_png(&row_of(count)).unwrap());
    }
    let line = |name: &str, doubts: &[&str]| {
        let trusted = doubts.is_empty();
        json!({ "labels": format!("{name}.png"), "trusted": trusted, "doubts": doubts }).to_string() + "\n"
    };
    // The second judgement of b replaces the first; c was added by hand.
    let lines = line("a", &[]) + &line("b", &[]) + &line("b", &["out of focus"]);
    workdir.write("found/judgements.jsonl", lines.as_bytes());
    let report = object(&workdir.run("report found --json", 0));
    assert_eq!((&report["counts"]["fields"], &report["counts"]["total"]), (&2.into(), &12.into()));
    assert_eq!(report["left_out"][0]["name"], "b");
    let cautions = report["cautions"].to_string();
    assert!(cautions.contains("were not checked"), "c was not judged: {cautions}");
    let lines = text(&workdir.run("report found", 0).stdout);
    assert!(lines.contains("excluded: b: out of focus"), "{lines}");
}

#[test]
fn a_score_shows_its_worst_pictures_first() {
    let workdir = Workdir::new();
    workdir.bowl("truth");
    let words = "score --truth truth --model model.onnx --html score.html --json --per-image";
    let scored = object(&workdir.run(words, 0));
    let page = fs::read_to_string(workdir.path("score.html")).unwrap();
    let mut pictures: Vec<(f64, &str)> = scored["per_image"]
        .as_array()
        .unwrap()
        .iter()
        .map(|picture| (picture["mean_ap"].as_f64().unwrap(), picture["name"].as_str().unwrap()))
        .collect();
    pictures.sort_by(|a, b| a.0.total_cmp(&b.0));
    let places: Vec<usize> =
        pictures.iter().map(|(_, name)| page.find(&format!("</b> {name} (")).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(page.contains("class=\"miss\"") && page.contains("class=\"false\"") && page.contains("By type"));
}

#[test]
fn a_capture_is_audited_and_reported() {
    let bench = Harness::simulated();
    bench.flash("model.onnx", &brightness_model(0.4));
    assert_eq!(bench.run(&["station", "set", "pixel-size", "0.5"]).status.code(), Some(0));
    let captures = bench.path("captures");
    let folder = captures.to_str().unwrap();
    bench.json(&["capture", "--count", "3", "--out", folder, "--json"]);
    let run = |words: &[&str], code: i32| {
        let output = Command::new(program("nuclei-host")).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", text(&output.stderr));
        output
    };
    let sound = object(&run(&["audit", folder, "--json"], 0));
    assert_eq!((&sound["lines"], &sound["files"], &sound["broken"]), (&3.into(), &9.into(), &Value::Null));
    let last = sound["last"].as_str().unwrap();
    run(&["audit", folder, "--head", last], 0);

    let evidence = captures.join("evidence.jsonl");
    let written = fs::read_to_string(&evidence).unwrap();
    let mut lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let trusted: u64 =
        lines.iter().filter(|line| line["trusted"] == true).map(|line| line["count"].as_u64().unwrap()).sum();
    assert!(trusted > 0, "a simulated scene is trusted");
    let report = object(&run(&["report", folder, "--json"], 0));
    assert_eq!(
        (&report["counts"]["total"], &report["options"]["pixel_size_um"]),
        (&trusted.into(), &0.5.into())
    );
    assert!(report["density_per_mm2"]["value"].as_f64().unwrap() > 0.0, "the capture records the pixel size");

    lines[1]["trusted"] = json!(false);
    lines[1]["doubts"] = json!(["a doubt of the test"]);
    let text_of = |lines: &[Value]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    fs::write(&evidence, text_of(&lines)).unwrap();
    assert_prints(&run(&["audit", folder], 3), &["broken: entry "]);
    let report = object(&run(&["report", folder, "--json"], 0));
    let left_out = report["left_out"].as_array().unwrap();
    assert!(left_out.iter().any(|field| field["doubts"][0] == "a doubt of the test"), "{left_out:?}");

    fs::write(&evidence, written.lines().take(2).map(|line| format!("{line}\n")).collect::<String>())
        .unwrap();
    assert_prints(&run(&["audit", folder], 3), &["broken: entry 3 of ", "is missing: there were 3"]);
    fs::write(&evidence, &written).unwrap();
    let label = captures.join(lines[2]["labels"].as_str().unwrap());
    fs::write(&label, encode_label_png(&LabelImage::background(2, 2).unwrap()).unwrap()).unwrap();
    assert_prints(&run(&["audit", folder], 3), &["broken: entry 3 of ", "which was changed"]);
}
