//! `train` and the following commands, from a small data set to model files.

use serde_json::Value;

use crate::harness::text;
use crate::workdir::{Workdir, assert_prints, json};

/// A network that learns bright discs in seconds.
const TRAIN: &str = "train --backend cpu --data bowl --run run --width 4 --depth 2 --crop 64 --batch 4 \
                     --epochs 2 --epoch-crops 64 --validation 0.4 --learning-rate 0.02 --averaging 0.5";

fn trained() -> Workdir {
    let workdir = Workdir::new();
    workdir.bowl("bowl");
    workdir.run(&format!("{TRAIN} --out trained.onnx"), 0);
    workdir
}

fn report(workdir: &Workdir, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(workdir.path(name)).unwrap()).unwrap()
}

#[test]
fn a_run_gives_a_model_that_scores_as_it_says() {
    let workdir = trained();
    for name in ["config.json", "epochs.csv", "curves.svg", "best.checkpoint", "validation.json"] {
        assert!(workdir.path(&format!("run/{name}")).exists(), "{name}");
    }
    let said = report(&workdir, "run/validation.json");
    let held_back = said["pictures"].as_object().unwrap();
    assert!(!held_back.is_empty());
    let names: Vec<&str> = held_back.keys().map(String::as_str).collect();
    workdir.write("held-back.txt", names.join("\n").as_bytes());
    let scored = workdir.run("score --truth bowl --model trained.onnx --names held-back.txt --json", 0);
    let (message, scored) = (&said["file"]["mean_ap"], json(&scored));
    assert_eq!(message, &scored["mean_ap"]);

    let again = workdir.run(&format!("{TRAIN} --out again.onnx"), 2);
    assert_prints(&again, &["run already holds a run", "--resume"]);
}

#[test]
fn both_forms_in_bytes_are_judged_and_written_or_refused() {
    let workdir = trained();
    for form in ["weights", "integer"] {
        let words =
            format!("quantize --run run --form {form} --calibration 8 --out {form}.onnx --report {form}");
        let output = workdir.command(&words).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 3)), "{words}: {output:?}");
        let report = report(&workdir, &format!("{form}/quantization.json"));
        let misses = report["verdict"]["misses"].as_array().unwrap();
        let layers = report["layers"].as_array().unwrap();
        let integer = layers.iter().filter(|layer| layer["integer"] == true).count();
        assert_eq!(integer > 0, form == "integer", "{report}");
        assert!(layers.iter().all(|layer| layer["sqnr_db"].as_f64().unwrap() > 10.0), "{report}");
        assert!(workdir.names_in(form).iter().any(|name| name.starts_with("worst-")));
        let model = format!("{form}.onnx");
        if misses.is_empty() {
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            // The station's own loader accepts it, and gives the reported result.
            workdir.run(&format!("segment --model {model} --out found-{form} bowl"), 0);
            assert_eq!(
                workdir.names_in(&format!("found-{form}")).len(),
                4,
                "three label images and their judgements"
            );
        } else {
            assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
            assert_prints(&output, &["accuracy check failed"]);
            assert!(!workdir.path(&model).exists());
        }
    }
    let output = workdir.run("quantize --run nowhere", 2);
    assert_prints(&output, &["nowhere", "next: "]);
}

#[test]
fn a_model_is_written_in_bytes_without_its_run() {
    let workdir = trained();
    std::fs::remove_dir_all(workdir.path("run")).unwrap();
    let words = "quantize --model trained.onnx --data bowl --validation 0.4 --form integer --calibration \
         8 --out i.onnx";
    let output = workdir.command(words).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    let report = report(&workdir, "trained.quantization/quantization.json");
    // Quantizing quantized weights changes nothing, and the thresholds are those of the model.
    let layers = report["layers"].as_array().unwrap();
    assert!(
        layers.iter().all(|layer| layer["weight_sqnr_db"].as_f64().is_none_or(|noise| noise > 100.0)),
        "{report}"
    );
    assert_eq!(output.status.code() == Some(0), workdir.path("i.onnx").exists());
    if output.status.code() == Some(0) {
        let again = workdir.run("quantize --model i.onnx --data bowl --validation 0.4", 2);
        assert_prints(&again, &["i.onnx", "is of a kind that this program does not support", "next: "]);
    }

    workdir.bowl("other");
    std::fs::remove_dir_all(workdir.path("other/three")).unwrap();
    let output = workdir.run("quantize --model trained.onnx --data other", 2);
    assert_prints(&output, &["other is not the data set this model was trained on", "next: "]);
    let output = workdir.run("quantize --model trained.onnx", 2);
    assert_prints(&output, &["--data"]);
}
