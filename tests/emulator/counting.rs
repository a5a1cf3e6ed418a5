//! From boot to counts: the emulated station finds the same nuclei as this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use firmware::{CameraSource, Grab, GrabStrategy};
use shared::{decode_image, decode_label_image, encode_picture_png, rgb_samples};

use crate::fixture::brightness_model;
use crate::labels::least_iou;
use crate::machine::{LAMP, LIGHT, Machine, guest};
use crate::process::{program, text};

const SCENES: usize = 3;

/// Images of a simulated microscope.
pub fn scenes(count: usize) -> Vec<(String, Vec<u8>)> {
    let source =
        CameraSource::Simulated { width: 640, height: 480, seed: 7, nuclei: 40, frames_per_second: 240.0 };
    let mut camera = source.open().unwrap();
    let mut next = || match camera.grab(GrabStrategy::OneByOne).unwrap() {
        Grab::Frame(frame) => frame.image,
        Grab::Finished => panic!("a simulated microscope has no end"),
    };
    (0..count).map(|number| (format!("scene-{number}.png"), encode_picture_png(&next()).unwrap())).collect()
}

/// The label images that this machine computes with a model.
fn segmented(folder: &Path, model: &Path, pictures: &[(String, Vec<u8>)]) -> PathBuf {
    let (inputs, found) = (folder.join("pictures"), folder.join("found"));
    fs::create_dir(&inputs).unwrap();
    for (name, png) in pictures {
        fs::write(inputs.join(name), png).unwrap();
    }
    let mut command = Command::new(program("nuclei-host"));
    let output =
        command.arg("segment").arg("--model").arg(model).arg("--out").arg(&found).arg(&inputs).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    found
}

/// Captures each scene; the labels must be those that `model` gives on this machine.
fn captures_agree(machine: &mut Machine, scenes: &[(String, Vec<u8>)], model: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let found = segmented(folder.path(), model, scenes);
    for (name, png) in scenes {
        machine.show(name);
        let out = folder.path().join(format!("captured-{name}"));
        let evidence = machine.json(&["capture", "--out", out.to_str().unwrap(), "--json"]).remove(0);
        let file = |key: &str| fs::read(out.join(evidence[key].as_str().unwrap())).unwrap();
        let seen = [&file("picture"), png].map(|png| rgb_samples(&decode_image(png).unwrap()));
        assert!(seen[0] == seen[1], "{name} bit for bit");
        let expected = decode_label_image(&fs::read(found.join(name)).unwrap()).unwrap();
        let least = least_iou(&expected, &decode_label_image(&file("labels")).unwrap());
        println!("{name}: {} nuclei there, {} here, least IoU {least}", evidence["count"], expected.count());
        assert_eq!(evidence["count"], expected.count());
        assert!(expected.count() > 5 && least > 0.99, "{name}");
    }
}

#[test]
fn counts_what_its_camera_sees_as_this_machine_does() {
    let Some(guest) = guest() else { return };
    let scenes = scenes(SCENES);
    let mut machine = Machine::boot(&guest, &scenes);
    machine.start_player();
    machine.show(&scenes[0].0);
    machine.start_station_with(&brightness_model(0.4));
    println!("{}", machine.status());
    let model = machine.path("first.onnx");
    captures_agree(&mut machine, &scenes, &model);

    let live = machine.json(&["live", "--frames", "2", "--json"]);
    assert!(live.iter().all(|frame| frame["count"].as_u64() > Some(5)), "{live:?}");
    println!("status light: {}", machine.gpio.wait_for(&format!("setting output {LIGHT} to 1")));
    for (percent, level) in [("100", 1), ("0", 0)] {
        machine.json(&["station", "set", "illumination", percent, "--json"]);
        println!("lamp: {}", machine.gpio.wait_for(&format!("setting output {LAMP} to {level}")));
    }
}

/// A frame must take less than the two minutes for which nuclei-host waits for a capture: on an idle machine.
#[test]
fn the_model_of_every_station_counts_as_on_this_machine() {
    let Some(guest) = guest() else { return };
    let scenes = scenes(1);
    let mut machine = Machine::boot(&guest, &scenes);
    machine.start_player();
    machine.show(&scenes[0].0);
    machine.start_station();
    machine.plug_camera();
    machine.until_status("the first frame is counted", |status| status["frames"].as_u64() > Some(0));
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware/models/factory.onnx");
    captures_agree(&mut machine, &scenes, &model);
}
