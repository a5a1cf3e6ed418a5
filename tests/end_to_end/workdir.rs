//! A folder in which tests run `nuclei-host`, with generated data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use shared::{Channels, Image, LabelImage, decode_label_image, encode_picture_png};
use tempfile::TempDir;

use crate::fixture::{brightness_model, discs};
use crate::harness::{program, text};

/// A folder with a model, and room for data.
pub struct Workdir(TempDir);

impl Workdir {
    pub fn new() -> Self {
        let workdir = Self(tempfile::tempdir().unwrap());
        workdir.write("model.onnx", &brightness_model(0.4));
        workdir
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn picture(&self, name: &str, width: u32, height: u32) {
        self.write(name, &encode_picture_png(&discs(width, height)).unwrap());
    }

    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new(program("nuclei-host"));
        command.args(words.split_whitespace()).current_dir(self.0.path());
        command
    }

    /// Runs the program with these arguments in the folder, and checks its exit code.
    pub fn run(&self, words: &str, code: i32) -> Output {
        let output = self.command(words).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words}\n{}", stderr(&output));
        output
    }

    pub fn labels(&self, name: &str) -> LabelImage {
        decode_label_image(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    pub fn names_in(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Images of discs in the layout of the Data Science Bowl, with masks of two thirds of the discs, some slightly
    /// off, so that scores vary.
    pub fn bowl(&self, top: &str) {
        for (id, width, height, tint) in [("one", 128, 96, 0), ("two", 64, 160, 30), ("three", 200, 64, 0)] {
            let grey = discs(width, height);
            let samples = grey.samples_hwc().iter().flat_map(|&s| [s, s, s.saturating_sub(tint)]).collect();
            let image = Image::new(width, height, Channels::Rgb, samples).unwrap();
            self.write(&format!("{top}/{id}/images/{id}.png"), &encode_picture_png(&image).unwrap());
            let columns = width / 32;
            for disc in (0..columns * (height / 32)).filter(|disc| disc % 3 != 2) {
                let (x, y) = (disc % columns * 32 + disc % 4, disc / columns * 32);
                let inside = |at: u32| {
                    let (dx, dy) = (
                        (at % width) as f64 - f64::from(x) - 15.5,
                        (at / width) as f64 - f64::from(y) - 15.5,
                    );
                    if dx * dx + dy * dy < 110.0 { 255 } else { 0 }
                };
                let mask =
                    Image::new(width, height, Channels::Grey, (0..width * height).map(inside).collect());
                let mask = encode_picture_png(&mask.unwrap()).unwrap();
                self.write(&format!("{top}/{id}/masks/{disc:03}.png"), &mask);
            }
        }
    }
}

pub fn stderr(output: &Output) -> String {
    text(&output.stderr)
}

pub fn json(output: &Output) -> Value {
    let message = text(&output.stdout);
    assert_eq!(message.lines().count(), 1, "one object on standard output: {message}");
    serde_json::from_str(&message).unwrap()
}

#[track_caller]
pub fn assert_prints(output: &Output, parts: &[&str]) {
    let message = stderr(output);
    for part in parts {
        assert!(message.contains(part), "{part:?} in\n{message}");
    }
}
