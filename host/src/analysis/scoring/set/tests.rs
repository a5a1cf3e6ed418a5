use std::fs;

use shared::{Channels, Image, LabelImage, encode_label_png, encode_picture_png};
use tempfile::TempDir;

use super::*;
use crate::records::label_files::LabelFiles;

/// Images of 2x2 pixels with these labels, and predictions beside; labels of one digit a pixel.
struct Place {
    folder: TempDir,
}

fn labels(text: &str) -> Vec<u8> {
    let labels: Vec<u32> = text.bytes().map(|byte| u32::from(byte - b'0')).collect();
    encode_label_png(&LabelImage::new(labels.len() as u32 / 2, 2, labels).unwrap()).unwrap()
}

impl Place {
    fn new(truth: &[(&str, &str)], predicted: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let picture = encode_picture_png(&Image::black(2, 2, Channels::Grey).unwrap()).unwrap();
        for part in ["truth/images", "truth/labels", "pred"] {
            fs::create_dir_all(folder.path().join(part)).unwrap();
        }
        for (name, text) in truth {
            fs::write(folder.path().join(format!("truth/images/{name}.png")), &picture).unwrap();
            if !text.is_empty() {
                fs::write(folder.path().join(format!("truth/labels/{name}.png")), labels(text)).unwrap();
            }
        }
        for (name, text) in predicted {
            fs::write(folder.path().join(format!("pred/{name}.png")), labels(text)).unwrap();
        }
        Self { folder }
    }

    fn score(&self, options: &ScoreOptions) -> Result<SetResult, String> {
        let dataset = Dataset::open(&self.folder.path().join("truth")).unwrap();
        let files = LabelFiles::open(&self.folder.path().join("pred")).unwrap();
        score_set(&dataset, LabelSource::Files(files), options, &mut |_, _, _| {})
            .map_err(|failure| failure.to_string())
    }
}

fn assert_refused(message: Result<SetResult, String>, parts: &[&str]) {
    let message = message.unwrap_err();
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn scores_every_picture() {
    let place =
        Place::new(&[("a", "1100"), ("b", "1111")], &[("a", "7700"), ("b", "0000"), ("stranger", "0000")]);
    let result = place.score(&ScoreOptions::default()).unwrap();
    let aps: Vec<f64> = result.report.pictures.iter().map(|picture| picture.score.mean_ap()).collect();
    assert_eq!(aps, [1.0, 0.0]);
    assert_eq!(result.report.total.mean_ap, 0.5);
}

#[test]
fn missing_predictions_are_named_and_treated_as_asked() {
    let place = Place::new(&[("a", "1100"), ("b", "1111"), ("c", "0011")], &[("a", "1100")]);
    assert_refused(
        place.score(&ScoreOptions::default()),
        &["2 images of the ground truth have no prediction: b, c", "--subset"],
    );
    for (missing, images, mean_ap) in
        [(MissingPolicy::LeaveOut, 1, 1.0), (MissingPolicy::CountEmpty, 3, 1.0 / 3.0)]
    {
        let result = place.score(&ScoreOptions { missing, ..Default::default() }).unwrap();
        assert_eq!((result.report.total.images, result.report.total.mean_ap), (images, mean_ap));
        assert_eq!(result.missing, ["b", "c"]);
    }
    let none = Place::new(&[("a", "1100")], &[("b", "1100")]);
    let left_out = ScoreOptions { missing: MissingPolicy::LeaveOut, ..Default::default() };
    assert_refused(none.score(&left_out), &["no image is left"]);
}

#[test]
fn a_choice_of_names() {
    let place = Place::new(&[("a", "1100"), ("b", "1111")], &[("b", "1111")]);
    let only = |names: &[&str]| ScoreOptions {
        only: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    };
    assert_eq!(place.score(&only(&["b"])).unwrap().report.total.images, 1);
    assert_refused(place.score(&only(&["b", "x", "y"])), &["no image called x, y"]);
}

#[test]
fn sizes_that_differ_and_damage_are_all_named() {
    let place = Place::new(
        &[("a", "1100"), ("b", "1111"), ("c", "1111")],
        &[("a", "110000"), ("b", "1111"), ("c", "11")],
    );
    fs::write(place.folder.path().join("pred/b.png"), b"text").unwrap();
    assert_refused(
        place.score(&ScoreOptions::default()),
        &[
            "3 predictions cannot be scored",
            "a: the prediction has 3x2 pixels, but the ground truth has 2x2",
            "b.png cannot be used",
            "c: the prediction has 1x2 pixels, but the ground truth has 2x2",
        ],
    );
}

#[test]
fn bad_truth_is_refused_or_skipped() {
    let place = Place::new(
        &[("a", "1100"), ("b", ""), ("c", "110000")],
        &[("a", "1100"), ("b", "1111"), ("c", "0000")],
    );
    assert_refused(
        place.score(&ScoreOptions::default()),
        &[
            "2 of 3 images cannot be used",
            "b.png has no masks",
            "c.png has 3x2 pixels, but its image has 2x2",
            "--skip-bad",
        ],
    );
    let result = place.score(&ScoreOptions { bad: BadTruth::Skip, ..Default::default() }).unwrap();
    assert_eq!((result.report.total.images, result.report.total.mean_ap), (1, 1.0));
    assert_eq!(result.skipped.len(), 2);
}

#[test]
fn pictures_of_one_name_cannot_share_a_prediction() {
    let place = Place::new(&[("a", "1100")], &[("a", "1100")]);
    let more = place.folder.path().join("truth/more");
    fs::create_dir_all(&more).unwrap();
    fs::copy(place.folder.path().join("truth/images/a.png"), more.join("a.png")).unwrap();
    assert_refused(
        place.score(&ScoreOptions::default()),
        &["images/a.png and ", "more/a.png have the same name"],
    );
}
