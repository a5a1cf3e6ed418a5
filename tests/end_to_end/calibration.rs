//! Pixel size and flat field, each with who measured it, when and how.

use std::fs;
use std::process::Output;

use serde_json::Value;
use shared::{Channels, FlatField, Image, decode_image, encode_picture_png};

use crate::fixture::{brightness_model, discs};
use crate::harness::{Harness, json_lines, text};

/// A ruling of dark lines, 25 pixels apart, a little turned.
fn ruling() -> Vec<u8> {
    let (sin, cos) = 2_f64.to_radians().sin_cos();
    let sample = |at: u32| {
        let (x, y) = (f64::from(at % 640), f64::from(at / 640));
        let across = (x * cos + y * sin) / 25.0;
        if (across - across.round()).abs() < 0.08 { 40 } else { 190 }
    };
    let samples = (0..640 * 480).map(sample).collect();
    encode_picture_png(&Image::new(640, 480, Channels::Grey, samples).unwrap()).unwrap()
}

/// A host whose calibrations are stored in the test's folder.
fn run(bench: &Harness, words: &str) -> Output {
    let arguments: Vec<&str> = words.split_whitespace().collect();
    let mut command = bench.host(&arguments);
    command.current_dir(bench.folder.path()).env("XDG_CONFIG_HOME", bench.path("config"));
    command.output().unwrap()
}

#[track_caller]
fn done(bench: &Harness, words: &str) -> Vec<Value> {
    let output = run(bench, words);
    assert_eq!(output.status.code(), Some(0), "{words}: {}", text(&output.stderr));
    json_lines(&output)
}

#[test]
fn a_micrometer_gives_the_pixel_size_and_records_say_who_measured_it() {
    let bench = Harness::simulated();
    bench.write("ruling.png", &ruling());
    let measured =
        &done(&bench, "station calibrate --micrometer ruling.png --spacing-um 10 --by ana --json")[0];
    let size = measured["um_per_px"].as_f64().unwrap();
    assert!((size / 0.4 - 1.0).abs() < 2e-3, "{measured}");
    assert!(measured["uncertainty_um_per_px"].as_f64().unwrap() < 1e-3 && measured["station"] == "bench");
    assert_eq!(done(&bench, "station settings --json")[0]["pixel_size_um"], measured["um_per_px"]);
    let frame = &done(&bench, "live --json --frames 1")[0];
    assert_eq!(frame["pixel_size_um"], measured["um_per_px"]);
    let kept = &frame["calibration"]["pixel_size"];
    assert_eq!((&kept["by"], &kept["how"]), (&"ana".into(), &measured["how"]), "{frame}");
    assert!(
        kept["how"].as_str().unwrap().starts_with("stage micrometer, 10 µm per division: 25.0"),
        "{kept}"
    );
    let protocol = shared::wire::PROTOCOL_VERSION.into();
    assert_eq!((&frame["station"], &frame["versions"]["protocol"]), (&"bench".into(), &protocol));

    let typed = text(&run(&bench, "station calibrate --um-per-px 0.325 --by ben").stdout);
    assert!(typed.contains("0.325 µm per pixel, typed") && typed.contains("pixel_size = 0.325"), "{typed}");
    assert_eq!(done(&bench, "live --json --frames 1")[0]["calibration"]["pixel_size"]["by"], "ben");
    // A size other than the measured one has no origin.
    done(&bench, "station set pixel-size 0.65 --json");
    let frame = &done(&bench, "live --json --frames 1")[0];
    assert_eq!((&frame["calibration"]["pixel_size"], &frame["pixel_size_um"]), (&Value::Null, &0.65.into()));

    bench.write("nuclei.png", &encode_picture_png(&Image::black(320, 240, Channels::Grey).unwrap()).unwrap());
    let output = run(&bench, "station calibrate --micrometer nuclei.png --by ana");
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains("shows no clear ruling") && message.contains("nothing was set"), "{message}");
    assert_eq!(run(&bench, "station calibrate --by ana").status.code(), Some(2));
    assert_eq!(run(&bench, "station calibrate --bright a --by ana").status.code(), Some(2));
}

#[test]
fn the_station_takes_the_micrometers_picture_itself() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ruling.png"), ruling()).unwrap();
    let path = folder.path().to_str().unwrap();
    let bench = Harness::new(&format!("kind = \"pictures\"\npath = {path:?}\nframes_per_second = 20.0"));
    let measured = &done(&bench, "station calibrate --micrometer --spacing-um 50 --by ana --json")[0];
    assert!((measured["um_per_px"].as_f64().unwrap() / 2.0 - 1.0).abs() < 2e-3, "{measured}");
    let settings = &done(&bench, "station settings --json")[0];
    assert_eq!((&settings["acquisition"], &settings["masks"]), (&"continuous".into(), &true.into()));
}

/// A camera image under light that falls off to the right, with a dark signal of 10.
fn seen(specimen: &Image) -> Vec<u8> {
    let width = specimen.width();
    let sample = |(at, &sample): (u32, &u8)| {
        let light = 1.0 - 0.75 * f64::from(at % width) / f64::from(width);
        (10.0 + light * f64::from(sample)) as u8
    };
    let samples = (0..).zip(specimen.samples_hwc()).map(sample).collect();
    encode_picture_png(&Image::new(width, specimen.height(), Channels::Grey, samples).unwrap()).unwrap()
}

#[test]
fn a_flat_field_makes_the_station_count_what_the_light_hid() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("sample");
    fs::create_dir(&path).unwrap();
    let specimen = discs(320, 192);
    fs::write(path.join("field.png"), seen(&specimen)).unwrap();
    let camera = format!("kind = \"pictures\"\npath = {path:?}\nframes_per_second = 20.0");
    let mut bench = Harness::new(&camera);
    bench.flash("model.onnx", &brightness_model(0.4));
    let even = |value| Image::new(320, 192, Channels::Grey, vec![value; 320 * 192]).unwrap();
    for (kind, value) in [("bright", 200), ("dark", 0)] {
        fs::create_dir(bench.path(kind)).unwrap();
        for at in 0..3 {
            bench.write(&format!("{kind}/{at}.png"), &seen(&even(value)));
        }
    }
    let made = &done(&bench, "station calibrate --bright bright --dark dark --by ana --json")[0];
    assert_eq!((&made["bright_frames"], &made["dark_frames"]), (&3.into(), &3.into()));
    assert!(made["least_light"].as_f64().unwrap() < 0.6, "{made}");
    done(&bench, "capture --out before --json");

    let settings = fs::read_to_string(bench.path("station.toml")).unwrap();
    let file = bench.path("flat-field.nff");
    fs::write(bench.path("station.toml"), format!("flat_field = {file:?}\n{settings}")).unwrap();
    bench.restart_station();
    bench.wait_until_ready();
    let after = &done(&bench, "capture --out after --json")[0];
    let counts = |name: &str| {
        let evidence = fs::read_to_string(bench.path(name).join("evidence.jsonl")).unwrap();
        serde_json::from_str::<Value>(&evidence).unwrap()["count"].as_u64().unwrap()
    };
    assert!(counts("before") < 55, "{}", counts("before"));
    assert_eq!(counts("after"), 60);
    let flat_field = &after["calibration"]["flat_field"];
    assert_eq!((&flat_field["sha256"], &flat_field["by"]), (&made["sha256"], &"ana".into()), "{after}");

    // The captured image is the corrected one, and the host corrects as the station does.
    let read = |path: std::path::PathBuf| decode_image(&fs::read(path).unwrap()).unwrap();
    let mut corrected = read(path.join("field.png"));
    FlatField::decode(&fs::read(&file).unwrap()).unwrap().correct(&mut corrected).unwrap();
    assert_eq!(read(bench.path("after/pictures/field.png")), corrected);
    let sample = path.to_str().unwrap();
    let words = format!("segment --model model.onnx --flat-field flat-field.nff --out found {sample}");
    let mut command = std::process::Command::new(crate::harness::program("nuclei-host"));
    let output = command.args(words.split_whitespace()).current_dir(bench.folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        fs::read(bench.path("found/field.png")).unwrap(),
        fs::read(bench.path("after/field.png")).unwrap()
    );
}
