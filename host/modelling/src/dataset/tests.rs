use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use host_console::Failure;
use image::{ExtendedColorType, ImageEncoder as _};
use shared::{Channels, SizeError, encode_label_png, encode_picture_png};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

use super::*;

fn grey(width: u32, height: u32) -> Vec<u8> {
    let samples = (0..width * height).map(|at| (at % 251) as u8).collect();
    encode_picture_png(&Image::new(width, height, Channels::Grey, samples).unwrap()).unwrap()
}

/// The mask of one nucleus, 255 inside.
fn mask(width: u32, height: u32, inside: &[usize]) -> Vec<u8> {
    let samples =
        (0..(width * height) as usize).map(|at| if inside.contains(&at) { 255 } else { 0 }).collect();
    encode_picture_png(&Image::new(width, height, Channels::Grey, samples).unwrap()).unwrap()
}

fn labels(width: u32, height: u32, labels: &[u32]) -> Vec<u8> {
    encode_label_png(&LabelImage::new(width, height, labels.to_vec()).unwrap()).unwrap()
}

fn raw_png(width: u32, height: u32, samples: &[u8], kind: ExtendedColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes).write_image(samples, width, height, kind).unwrap();
    bytes
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut bytes = (data.len() as u32).to_be_bytes().to_vec();
    bytes.extend(kind);
    bytes.extend(data);
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes[4..]);
    bytes.extend(crc.to_be_bytes());
    bytes
}

/// A PNG of 2x1 pixels that shows palette entries 1 and 0: red and blue.
fn palette_png() -> Vec<u8> {
    let adler = {
        let (mut a, mut b) = (1u32, 0u32);
        for byte in [0u32, 1, 0] {
            a = (a + byte) % 65_521;
            b = (b + a) % 65_521;
        }
        (b << 16) | a
    };
    let mut zlib = vec![0x78, 0x01, 1, 3, 0, 252, 255, 0, 1, 0];
    zlib.extend(adler.to_be_bytes());
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    bytes.extend(chunk(b"IHDR", &[0, 0, 0, 2, 0, 0, 0, 1, 8, 3, 0, 0, 0]));
    bytes.extend(chunk(b"PLTE", &[0, 0, 255, 255, 0, 0]));
    bytes.extend(chunk(b"IDAT", &zlib));
    bytes.extend(chunk(b"IEND", &[]));
    bytes
}

/// The header of a PNG that promises an image of this size, and nothing after it.
fn header_png(width: u32, height: u32) -> Vec<u8> {
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([8, 0, 0, 0, 0]);
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    bytes.extend(chunk(b"IHDR", &header));
    bytes.extend(chunk(b"IDAT", &[0x78, 0x01]));
    bytes.extend(chunk(b"IEND", &[]));
    bytes
}

type Files<'a> = &'a [(&'a str, Vec<u8>)];

fn folder(files: Files<'_>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn zipped(folder: &TempDir, files: Files<'_>) -> PathBuf {
    let path = folder.path().join("data.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    path
}

fn opened(files: Files<'_>) -> (TempDir, Dataset) {
    let folder = folder(files);
    let dataset = Dataset::open(folder.path()).unwrap();
    (folder, dataset)
}

fn open_error(path: &Path) -> (DatasetError, String) {
    let error = Dataset::open(path).unwrap_err();
    let message = Failure::from(Dataset::open(path).unwrap_err()).to_string();
    assert!(message.contains("next: "), "{message}");
    (error, message)
}

fn bowl() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("b/images/b.png", grey(4, 2)),
        ("b/masks/1.png", mask(4, 2, &[0, 1])),
        ("b/masks/2.png", mask(4, 2, &[6])),
        ("a/images/a.png", grey(3, 3)),
        ("a/masks/x.png", mask(3, 3, &[4])),
    ]
}

#[test]
fn folder_and_zip_hold_the_same() {
    let files = bowl();
    let below: Vec<(String, Vec<u8>)> =
        files.iter().map(|(p, b)| (format!("stage1/{p}"), b.clone())).collect();
    let below: Vec<(&str, Vec<u8>)> = below.iter().map(|(p, b)| (p.as_str(), b.clone())).collect();
    let (_plain, plain) = opened(&files);
    let (_deeper, deeper) = opened(&below);
    let place = tempfile::tempdir().unwrap();
    let zip = Dataset::open(&zipped(&place, &below)).unwrap();
    for dataset in [&plain, &deeper, &zip] {
        assert_eq!(dataset.len(), 2);
        assert_eq!((dataset.name(0), dataset.name(1)), ("a", "b"));
        assert_eq!(dataset.load(1).unwrap(), plain.load(1).unwrap());
        assert_eq!(dataset.digest().unwrap(), plain.digest().unwrap());
    }
    let sample = plain.load(1).unwrap();
    assert_eq!(sample.labels.unwrap().labels_hw(), [1, 1, 0, 0, 0, 0, 2, 0]);
    assert_eq!(sample.warnings, []);
    assert!(zip.file(0).ends_with("data.zip/stage1/a/images/a.png"), "{}", zip.file(0));
}

#[test]
fn packed_pictures_are_those_of_the_data_set() {
    let place = tempfile::tempdir().unwrap();
    let mut files = bowl();
    files.extend([
        ("b/notes.txt", b"not packed".to_vec()),
        ("x.png", grey(2, 2)),
        ("x_masks.png", labels(2, 2, &[0, 1, 2, 0])),
    ]);
    let (_folder, of_folder) = opened(&files);
    let of_zip = Dataset::open(&zipped(&place, &files)).unwrap();
    let bytes = of_folder.pack(&[1, 2]).unwrap();
    assert_eq!(of_zip.pack(&[2, 1]).unwrap(), bytes);
    let path = place.path().join("packed.zip");
    fs::write(&path, bytes).unwrap();
    let packed = Dataset::open(&path).unwrap();
    assert_eq!(packed.len(), 2);
    for (at, of) in [(0, 1), (1, 2)] {
        assert_eq!(packed.load(at).unwrap(), of_folder.load(of).unwrap());
    }
}

#[test]
fn digest_sees_content_and_names_but_not_other_files() {
    let files = bowl();
    let digest = |files: Files<'_>| opened(files).1.digest().unwrap();
    let plain = digest(&files);
    let mut more = files.clone();
    more.push(("notes.csv", b"a,b".to_vec()));
    more.push((".hidden.png", grey(1, 1)));
    assert_eq!(digest(&more), plain);
    let mut other = files.clone();
    other[1].1 = mask(4, 2, &[0, 2]);
    assert_ne!(digest(&other), plain);
    let mut renamed = files.clone();
    renamed[1].0 = "b/masks/0.png";
    assert_ne!(digest(&renamed), plain);
}

#[test]
fn several_threads_read_one_zip() {
    let place = tempfile::tempdir().unwrap();
    let dataset = Dataset::open(&zipped(&place, &bowl())).unwrap();
    let alone: Vec<Sample> = (0..2).map(|at| dataset.load(at).unwrap()).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for at in [0, 1, 1, 0, 1] {
                    assert_eq!(dataset.load(at).unwrap(), alone[at]);
                }
            });
        }
    });
}

#[test]
fn pairs_and_single_files() {
    let truth = labels(2, 2, &[0, 5, 5, 9]);
    let (folder, dataset) = opened(&[("x.png", grey(2, 2)), ("x_masks.png", truth), ("y.png", grey(2, 2))]);
    assert_eq!(dataset.len(), 2);
    assert_eq!(dataset.load(0).unwrap().labels.unwrap().labels_hw(), [0, 1, 1, 2]);
    assert_eq!(dataset.load(1).unwrap().labels, None);
    let error = dataset.load_with_truth(1).unwrap_err();
    assert!(matches!(error, SampleError::NoTruth { .. }));
    assert!(error.line().contains("y.png has no masks; put its masks"), "{}", error.line());

    let single = Dataset::open(&folder.path().join("x.png")).unwrap();
    assert_eq!((single.len(), single.name(0)), (1, "x"));
    assert_eq!(single.load(0).unwrap(), dataset.load(0).unwrap());
}

#[test]
fn places_that_hold_no_data() {
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(open_error(empty.path()).0, DatasetError::Empty { .. }));
    assert!(matches!(open_error(&empty.path().join("none")).0, DatasetError::NotFound { .. }));
    assert!(matches!(open_error(&zipped(&empty, &[])).0, DatasetError::Empty { .. }));

    let notes = folder(&[("notes.txt", b"text".to_vec()), ("masks/a.png", mask(1, 1, &[0]))]);
    let (error, message) = open_error(notes.path());
    assert!(matches!(error, DatasetError::NoPictures { files: 2, .. }));
    assert!(message.contains("<id>/images/<id>.png"), "{message}");
    assert!(matches!(open_error(&notes.path().join("notes.txt")).0, DatasetError::NotData { .. }));

    let pair = folder(&[("a_masks.png", labels(1, 1, &[0]))]);
    assert!(matches!(open_error(&pair.path().join("a_masks.png")).0, DatasetError::Truth { .. }));
}

#[test]
fn bad_pictures_are_all_named_and_left_out_only_when_asked() {
    let (_folder, dataset) = opened(&[
        ("a.png", grey(1, 1)),
        ("b.png", grey(2, 1)),
        ("b_masks.png", labels(2, 1, &[1, 1])),
        ("c.png", b"no picture".to_vec()),
    ]);
    let threads = std::num::NonZeroUsize::new(3).unwrap();
    let message = Failure::from(dataset.load_all(BadTruth::Refuse, threads).unwrap_err()).to_string();
    for part in ["2 of 3 images", "a.png has no masks; put", "c.png cannot be used: the data", "--skip-bad"] {
        assert!(message.contains(part), "{message}");
    }
    let samples = dataset.load_all(BadTruth::Skip, threads).unwrap();
    assert_eq!(samples.iter().map(|sample| sample.name.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn knows_where_its_files_lie() {
    let (folder, dataset) = opened(&[("images/a.png", grey(1, 1)), ("labels/a.png", labels(1, 1, &[1]))]);
    fs::create_dir_all(folder.path().join("out")).unwrap();
    for (path, expected) in [
        ("images", true),
        ("labels", true),
        ("images/../labels", true),
        ("out", false),
        ("", false),
        ("none", false),
    ] {
        assert_eq!(dataset.has_files_in(&folder.path().join(path)), expected, "{path}");
    }
    let single = Dataset::open(&folder.path().join("images/a.png")).unwrap();
    assert!(single.has_files_in(&folder.path().join("images")));
    assert!(!single.has_files_in(folder.path()));
}

#[test]
fn a_zip_that_is_cut_or_none() {
    let place = tempfile::tempdir().unwrap();
    let path = zipped(&place, &bowl());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let (error, message) = open_error(&path);
    assert!(matches!(error, DatasetError::NotZip { .. }));
    assert!(message.contains("data.zip is not a zip, or is truncated"), "{message}");
    fs::write(&path, b"text").unwrap();
    assert!(matches!(open_error(&path).0, DatasetError::NotZip { .. }));
}

#[test]
fn a_damaged_entry_spoils_itself_alone() {
    let place = tempfile::tempdir().unwrap();
    let path = zipped(&place, &bowl());
    let mut bytes = fs::read(&path).unwrap();
    let name = b"a/images/a.png";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    bytes[at + name.len() + 5] ^= 0xFF;
    fs::write(&path, &bytes).unwrap();
    let dataset = Dataset::open(&path).unwrap();
    let error = dataset.load(0).unwrap_err();
    assert!(error.line().contains("data.zip/a/images/a.png"), "{}", error.line());
    assert!(dataset.load(1).is_ok());
}

#[test]
fn truth_of_another_size() {
    let (_folder, dataset) = opened(&[("a/images/a.png", grey(3, 3)), ("a/masks/x.png", mask(3, 4, &[4]))]);
    let error = dataset.load(0).unwrap_err();
    assert!(matches!(
        error,
        SampleError::TruthSize { width: 3, height: 4, image_width: 3, image_height: 3, .. }
    ));
    assert!(
        error.line().contains("x.png has 3x4 pixels, but its image has 3x3; annotate this image again"),
        "{}",
        error.line()
    );
    let (_folder, dataset) = opened(&[("a.png", grey(2, 1)), ("a_masks.png", labels(1, 2, &[1, 0]))]);
    assert!(matches!(dataset.load(0).unwrap_err(), SampleError::TruthSize { .. }));
}

#[test]
fn odd_masks_are_used_with_a_warning() {
    let (_folder, dataset) = opened(&[
        ("a/images/a.png", grey(4, 1)),
        ("a/masks/1.png", mask(4, 1, &[0, 1, 2])),
        ("a/masks/2.png", mask(4, 1, &[2, 3])),
        ("a/masks/3.png", mask(4, 1, &[])),
        ("a/masks/4.png", mask(4, 1, &[2, 3])),
    ]);
    let sample = dataset.load(0).unwrap();
    assert_eq!(sample.labels.unwrap().labels_hw(), [1, 1, 2, 2]);
    let message: Vec<String> = sample.warnings.iter().map(ToString::to_string).collect();
    assert!(message[0].contains("a.png: 2 pixels are in more than one mask"), "{message:?}");
    assert!(message[1].contains("3.png is empty"), "{message:?}");
    assert!(message[2].contains("4.png is covered"), "{message:?}");
    assert_eq!(message.len(), 3);
}

#[test]
fn pictures_of_every_depth_and_size() {
    let sixteen: Vec<u8> = [0u16, 1000, 4095, 2048].iter().flat_map(|v| v.to_ne_bytes()).collect();
    let (_folder, dataset) = opened(&[
        ("a16.png", raw_png(2, 2, &sixteen, ExtendedColorType::L16)),
        ("b_palette.png", palette_png()),
        ("c_dot.png", grey(1, 1)),
        ("d_strip.png", grey(20_000, 100)),
        ("e_rgba.png", raw_png(1, 1, &[9, 8, 7, 0], ExtendedColorType::Rgba8)),
    ]);
    let image = |at| dataset.load_image(at).unwrap().image;
    assert_eq!((image(0).channels(), image(0).samples_hwc()), (Channels::Grey, &[0, 62, 255, 128][..]));
    assert_eq!((image(1).channels(), image(1).samples_hwc()), (Channels::Rgb, &[255, 0, 0, 0, 0, 255][..]));
    assert_eq!((image(2).width(), image(2).height()), (1, 1));
    assert_eq!((image(3).width(), image(3).height()), (20_000, 100));
    assert_eq!(image(4).samples_hwc(), [9, 8, 7]);
}

#[test]
fn a_picture_over_the_limit_is_refused_by_its_header() {
    let (_folder, dataset) = opened(&[("wide.png", header_png(20_000, 20_000))]);
    let error = dataset.load(0).unwrap_err();
    let size = DecodeError::Size(SizeError::TooLarge { width: 20_000, height: 20_000 });
    assert_eq!(error.line().split("; ").next().unwrap(), {
        let file = dataset.file(0);
        format!("{file} cannot be used: {size}")
    });
    assert!(error.line().ends_with("split the image into parts"), "{}", error.line());
}

#[test]
fn files_that_are_no_pictures_or_no_labels() {
    let colour = raw_png(1, 1, &[1, 2, 3], ExtendedColorType::Rgb8);
    let (_folder, dataset) = opened(&[
        ("a.png", b"no picture".to_vec()),
        ("b.png", grey(20, 20)[..60].to_vec()),
        ("c.png", grey(1, 1)),
        ("c_masks.png", colour),
        ("d.png", Vec::new()),
        ("e.png", grey(2, 1)),
        ("e_masks.png", palette_png()),
    ]);
    for (at, expected) in [
        (0, "a.png cannot be used: the data is not PNG, TIFF, JPEG, BMP or WebP; download or save"),
        (1, "b.png cannot be used: the PNG is damaged or incomplete"),
        (2, "c_masks.png cannot be used: a label image must be a grayscale PNG or TIFF"),
        (3, "d.png cannot be used: the data is not PNG"),
        (4, "e_masks.png cannot be used: a label image must be a grayscale PNG or TIFF"),
    ] {
        let line = dataset.load(at).unwrap_err().line();
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn a_mask_of_all_nuclei_is_refused_or_split() {
    let mask = labels(5, 1, &[255, 255, 0, 255, 0]);
    let (_folder, dataset) = opened(&[
        ("a.png", grey(5, 1)),
        ("a_masks.png", mask),
        ("b.png", grey(2, 1)),
        ("b_masks.png", labels(2, 1, &[255, 0])),
    ]);
    let error = dataset.load(0).unwrap_err();
    assert!(matches!(error, SampleError::BinaryMask { components: 2, .. }), "{error}");
    assert!(error.line().contains("--split-components"), "{}", error.line());
    assert_eq!(dataset.load(1).unwrap().labels.unwrap().labels_hw(), [1, 0], "one nucleus is a label image");
    let split = dataset.with_binary_masks(BinaryMasks::SplitComponents);
    assert_eq!(split.load(0).unwrap().labels.unwrap().labels_hw(), [1, 1, 0, 2, 0]);
}

#[test]
fn an_empty_masks_folder_means_no_nuclei() {
    let (folder, _) = opened(&[("n/images/n.png", grey(2, 1))]);
    std::fs::create_dir(folder.path().join("n/masks")).unwrap();
    let dataset = Dataset::open(folder.path()).unwrap();
    assert_eq!(dataset.load_with_truth(0).unwrap().labels.count(), 0);
}

#[test]
fn entries_that_lead_out_of_a_zip_are_named() {
    for name in ["../a.png", "x/../../a.png", "/etc/a.png", "..\\..\\a.png", "C:\\a.png", "images/.."] {
        let place = TempDir::new().unwrap();
        let (error, message) = open_error(&zipped(&place, &[("good.png", grey(2, 1)), (name, grey(2, 1))]));
        assert!(matches!(&error, DatasetError::LeadsOut { entry, .. } if entry == name), "{name}: {message}");
        assert!(message.contains(name), "{message}");
    }
    let place = TempDir::new().unwrap();
    let dataset = Dataset::open(&zipped(&place, &[("./a..b.png", grey(2, 1))])).unwrap();
    assert_eq!(dataset.name(0), "a..b");
}

#[test]
fn pipes_and_devices_are_no_data() {
    let folder = TempDir::new().unwrap();
    for name in ["pipe.png", "pipe.zip", "pipe"] {
        let pipe = folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(matches!(open_error(&pipe).0, DatasetError::NotData { .. }), "{name}");
    }
    assert!(matches!(open_error(Path::new("/dev/zero")).0, DatasetError::NotData { .. }));
    // Within a folder they are no files.
    assert!(matches!(open_error(folder.path()).0, DatasetError::Empty { .. }));
}
