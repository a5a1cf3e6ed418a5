use std::fs::{self, File};
use std::io::Write as _;
use std::sync::mpsc::{Receiver, channel};

use shared::{Channels, Image, encode_jpeg, encode_picture_png};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

/// An image that can be recognized by its brightness.
fn png(brightness: u8) -> Vec<u8> {
    encode_picture_png(&Image::new(4, 3, Channels::Grey, vec![brightness; 12]).unwrap()).unwrap()
}

/// Files as the Data Science Bowl lays them out, with what is no image, and a damaged one.
fn dsb_files() -> Vec<(&'static str, Vec<u8>)> {
    let damaged = png(9)[..40].to_vec();
    vec![
        ("c/images/c.png", png(3)),
        ("a/images/a.png", png(1)),
        ("a/masks/0.png", png(255)),
        ("b/images/b.png", damaged),
        ("b/masks/0.png", png(255)),
        ("notes.txt", b"no picture".to_vec()),
    ]
}

fn folder_of(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn zip_of(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ZipWriter::new(File::create(folder.path().join("set.zip")).unwrap());
    for (name, bytes) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap();
    folder
}

fn open(path: &Path, repeat: Repeat) -> (Result<impl Camera + use<>, CameraError>, Receiver<String>) {
    let (sender, warnings) = channel();
    let pacer = FramePacer::new(10.0).unwrap();
    let warn = move |warning: &str| sender.send(warning.to_owned()).unwrap();
    (PictureCamera::open(path, pacer, repeat, warn), warnings)
}

/// The names and brightnesses of the next frames, until the end.
fn source_kind(camera: &mut impl Camera, at_most: usize) -> Vec<(String, u8)> {
    let mut shown = Vec::new();
    while shown.len() < at_most
        && let Grab::Frame(frame) = camera.grab(GrabStrategy::OneByOne).unwrap()
    {
        assert_eq!(frame.skipped, 0, "none is skipped");
        shown.push((frame.source.to_string(), frame.image.samples_hwc()[0]));
    }
    shown
}

fn named(expected: &[(&str, u8)]) -> Vec<(String, u8)> {
    expected.iter().map(|&(name, brightness)| (name.to_owned(), brightness)).collect()
}

#[test]
fn folder_and_zip_show_every_picture_in_order_and_name_a_damaged_one() {
    let (folder, zip) = (folder_of(&dsb_files()), zip_of(&dsb_files()));
    for path in [folder.path().to_owned(), zip.path().join("set.zip")] {
        let (camera, warnings) = open(&path, Repeat::Once);
        let mut camera = camera.unwrap();
        assert_eq!(source_kind(&mut camera, 9), named(&[("a", 1), ("c", 3)]));
        assert!(matches!(camera.grab(GrabStrategy::OneByOne).unwrap(), Grab::Finished), "it stays finished");
        drop(camera);
        let warnings: Vec<String> = warnings.iter().collect();
        let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
        assert!(warning.contains("b/images/b.png") && !warning.contains('\n'), "{warning}");
    }
}

#[test]
fn repeated_pictures_start_over_and_warn_once() {
    let folder = folder_of(&dsb_files());
    let (camera, warnings) = open(folder.path(), Repeat::Forever);
    let mut camera = camera.unwrap();
    assert_eq!(source_kind(&mut camera, 5), named(&[("a", 1), ("c", 3), ("a", 1), ("c", 3), ("a", 1)]));
    drop(camera);
    assert_eq!(warnings.iter().count(), 1);
}

#[test]
fn flat_folders_single_pictures_and_long_names() {
    let long = format!("{}.jpg", "ä".repeat(60));
    let grey = Image::new(4, 3, Channels::Grey, vec![100; 12]).unwrap();
    let folder = folder_of(&[("2.PNG", png(2)), (&long, encode_jpeg(&grey, 95).unwrap())]);
    let (camera, _warnings) = open(folder.path(), Repeat::Once);
    let shown = source_kind(&mut camera.unwrap(), 9);
    assert_eq!(shown[0], ("2".to_owned(), 2));
    assert_eq!(shown[1].0, "ä".repeat(48), "cut to what the wire carries");
    let (camera, _warnings) = open(&folder.path().join("2.PNG"), Repeat::Once);
    assert_eq!(source_kind(&mut camera.unwrap(), 9), named(&[("2", 2)]));
}

#[test]
fn passing_over_wraps_or_ends() {
    let files: Vec<(String, Vec<u8>)> = (1..=5).map(|i| (format!("{i}.png"), png(i))).collect();
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, png)| (name.as_str(), png.clone())).collect();
    let folder = folder_of(&files);
    for (repeat, shown) in [(Repeat::Forever, named(&[("2", 2)])), (Repeat::Once, Vec::new())] {
        let pacer = FramePacer::new(10.0).unwrap();
        let mut camera = PictureCamera::open(folder.path(), pacer, repeat, |_: &str| ()).unwrap();
        camera.skip(6);
        assert_eq!(source_kind(&mut camera, 1), shown, "{repeat:?}");
    }
}

#[test]
fn without_a_readable_picture_there_is_no_camera() {
    let empty = folder_of(&[("readme.txt", Vec::new()), ("a/masks/0.png", png(1))]);
    assert!(matches!(open(empty.path(), Repeat::Once).0, Err(CameraError::NoPictures { .. })));
    let text = empty.path().join("readme.txt");
    assert!(matches!(open(&text, Repeat::Once).0, Err(CameraError::NoZip { .. })));
    assert!(matches!(open(&empty.path().join("gone"), Repeat::Once).0, Err(CameraError::Pictures { .. })));
    let damaged = folder_of(&[("a.png", b"not a picture".to_vec()), ("b.png", Vec::new())]);
    for repeat in [Repeat::Once, Repeat::Forever] {
        let (camera, warnings) = open(damaged.path(), repeat);
        let mut camera = camera.unwrap();
        assert!(
            matches!(camera.grab(GrabStrategy::OneByOne), Err(CameraError::NoPictures { .. })),
            "{repeat:?}"
        );
        drop(camera);
        assert_eq!(warnings.iter().count(), 2);
    }
}
