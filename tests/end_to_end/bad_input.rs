//! Missing, damaged or unusual data: reported in one line if unusable, counted equally by host and station otherwise.

use std::fs;

use image::{ImageBuffer, Luma};
use serde_json::Value;
use shared::{Channels, Image, LabelImage, decode_label_image, encode_label_png, encode_picture_png};

use crate::fixture::discs;
use crate::harness::{Harness, text};
use crate::workdir::{Workdir, assert_prints, json, stderr};

/// The commands that read a data set with ground truth; none may leave a file behind when it fails.
const READERS: [&str; 3] = [
    "train --epochs 1 --backend cpu --out new.onnx --run run --data",
    "score --model model.onnx --truth",
    "split --out part.zip --data",
];

/// The discs with 16 bits per sample, which stretch to the 8-bit image.
fn sixteen_bits(width: u32, height: u32) -> Vec<u8> {
    let samples = discs(width, height).samples_hwc().iter().map(|&sample| u16::from(sample) * 100).collect();
    let picture = ImageBuffer::<Luma<u16>, Vec<u16>>::from_raw(width, height, samples).unwrap();
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// The discs as a PNG whose samples are numbers of a palette that runs from black to white.
fn with_palette(width: u32, height: u32) -> Vec<u8> {
    const HEADER: std::ops::Range<usize> = 12..29;
    const COLOUR_TYPE: usize = 25;
    let checksum = |bytes: &[u8]| crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(bytes).to_be_bytes();
    let mut png = encode_picture_png(&discs(width, height)).unwrap();
    png[COLOUR_TYPE] = 3;
    let header_checksum = checksum(&png[HEADER]);
    png[HEADER.end..HEADER.end + 4].copy_from_slice(&header_checksum);
    let mut palette = b"PLTE".to_vec();
    palette.extend((0..=255u8).flat_map(|level| [level; 3]));
    let chunk = [&768u32.to_be_bytes()[..], &palette, &checksum(&palette)].concat();
    png.splice(HEADER.end + 4..HEADER.end + 4, chunk);
    png
}

#[test]
fn data_sets_without_a_picture() {
    let workdir = Workdir::new();
    fs::create_dir(workdir.path("empty")).unwrap();
    workdir.write("words/notes.txt", b"no picture");
    zip::ZipWriter::new(fs::File::create(workdir.path("empty.zip")).unwrap()).finish().unwrap();
    for (data, message) in [
        ("empty", "error: empty is empty"),
        ("empty.zip", "error: empty.zip is empty"),
        ("words", "error: words contains 1 files, but no PNG, TIFF or JPEG image"),
        ("nowhere", "error: nowhere does not exist"),
    ] {
        for command in READERS {
            let output = workdir.run(&format!("{command} {data}"), 1);
            let lines = stderr(&output);
            assert_eq!(lines.lines().count(), 2, "{lines}");
            assert!(lines.starts_with(message) && lines.contains("\n next: "), "{lines}");
        }
        let output = workdir.run(&format!("segment --model model.onnx --out found {data}"), 1);
        assert_prints(&output, &[&message.replace("error: ", "not segmented: ")]);
        assert!(output.stdout.is_empty());
    }
    assert_eq!(workdir.names_in("."), ["empty", "empty.zip", "model.onnx", "words"]);
}

#[test]
fn truth_that_is_missing_or_of_another_size() {
    let workdir = Workdir::new();
    workdir.bowl("truth");
    fs::remove_dir_all(workdir.path("truth/one/masks")).unwrap();
    workdir.picture("truth/two/masks/odd.png", 5, 7);
    for command in READERS {
        let output = workdir.run(&format!("{command} truth"), 1);
        assert_prints(&output, &["one.png has no masks", "put its masks into masks/"]);
    }
    for command in &READERS[1..] {
        let output = workdir.run(&format!("{command} truth"), 1);
        assert_prints(
            &output,
            &["odd.png has 5x7 pixels, but its image has 64x160; annotate this image again"],
        );
    }
    assert!(!workdir.path("new.onnx").exists() && !workdir.path("part.zip").exists());
}

#[test]
fn overlapping_masks_give_a_warning_and_every_nucleus_counts() {
    let workdir = Workdir::new();
    workdir.picture("truth/a/images/a.png", 64, 32);
    for (name, columns) in [("1", 0..20), ("2", 18..40), ("3", 18..40)] {
        let inside = |at: u32| if columns.contains(&(at % 64)) { 255 } else { 0 };
        let mask = Image::new(64, 32, Channels::Grey, (0..64 * 32).map(inside).collect()).unwrap();
        workdir.write(&format!("truth/a/masks/{name}.png"), &encode_picture_png(&mask).unwrap());
    }
    let output = workdir.run("score --truth truth --model model.onnx --json --per-image", 0);
    assert_prints(
        &output,
        &["a.png: 704 pixels are in more than one mask", "3.png is covered by other masks"],
    );
    assert_eq!(json(&output)["per_image"][0]["true_count"], 2);
}

#[test]
fn odd_pictures_are_counted_alike_by_host_and_station() {
    let workdir = Workdir::new();
    workdir.picture("odd/a_plain.png", 320, 96);
    workdir.write("odd/b_sixteen.png", &sixteen_bits(320, 96));
    workdir.write("odd/c_palette.PNG", &with_palette(320, 96));
    workdir.picture("odd/d_dot.png", 1, 1);
    workdir.write("odd/deep/er/e name with spaces.png", &encode_picture_png(&discs(64, 64)).unwrap());
    workdir.picture("odd/f_strip.png", 20_000, 64);
    workdir.write("odd/g_text.png", b"no picture");
    let found = workdir.run("segment --model model.onnx --out found odd --json", 1);
    assert_prints(&found, &["g_text.png cannot be used: the data is not PNG, TIFF, JPEG, BMP or WebP"]);
    let found = json(&found);
    let counts: Vec<(&Value, u64)> = found["pictures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|picture| (&picture["name"], picture["nuclei"].as_u64().unwrap()))
        .collect();
    let expected = [
        ("a_plain", 30),
        ("b_sixteen", 30),
        ("c_palette", 30),
        ("d_dot", 0),
        ("e name with spaces", 4),
        ("f_strip", 1250),
    ];
    assert_eq!(counts.len(), expected.len());
    assert!(
        counts.iter().zip(expected).all(|(&(name, count), of)| (name, count) == (&of.0.into(), of.1)),
        "{counts:?}"
    );

    let pictures = workdir.path("odd");
    let bench = Harness::new(&format!("kind = \"pictures\"\npath = {pictures:?}\nframes_per_second = 20.0"));
    bench.flash("model.onnx", &fs::read(workdir.path("model.onnx")).unwrap());
    let captures = bench.path("captures");
    let output = bench.run(&["capture", "--all", "--out", captures.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for (name, _) in expected {
        let labels = |folder: &std::path::Path| {
            decode_label_image(&fs::read(folder.join(name).with_extension("png")).unwrap()).unwrap()
        };
        assert_eq!(labels(&captures), labels(&workdir.path("found")), "{name}");
    }
}

#[test]
fn a_picture_of_twenty_thousand_pixels_a_side_is_refused_by_its_header() {
    let workdir = Workdir::new();
    let wide = LabelImage::background(20_000, 1).unwrap();
    let mut png = encode_label_png(&wide).unwrap();
    png[20..24].copy_from_slice(&20_000_u32.to_be_bytes());
    let checksum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    workdir.write("huge.png", &png);
    workdir.picture("small.png", 32, 32);
    let output = workdir.run("segment --model model.onnx --out found huge.png small.png", 1);
    assert_prints(
        &output,
        &["huge.png cannot be used: 20000x20000 pixels are over the limit", "split the image"],
    );
    assert_eq!(workdir.names_in("found"), ["judgements.jsonl", "small.png"]);
}
