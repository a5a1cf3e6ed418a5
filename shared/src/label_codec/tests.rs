use super::*;
use proptest::prelude::*;

fn labels(width: u32, height: u32, label: impl Fn(u32, u32) -> u32) -> LabelImage {
    let labels_hw =
        (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| label(x, y)).collect();
    LabelImage::new(width, height, labels_hw).unwrap()
}

/// Discs on a grid, some of which touch; numbered in rows.
fn discs(width: u32, height: u32, pitch: u32) -> LabelImage {
    let columns = width / pitch;
    labels(width, height, |x, y| {
        let (i, j) = (x / pitch, y / pitch);
        let radius = pitch * (4 + (i + 2 * j) % 3) / 12;
        let (dx, dy) = ((x % pitch).abs_diff(pitch / 2), (y % pitch).abs_diff(pitch / 2));
        if i < columns && dx * dx + dy * dy < radius * radius { 1 + j * columns + i } else { 0 }
    })
}

fn round_trip_bytes(image: &LabelImage) -> usize {
    let bytes = encode_labels(image);
    assert_eq!(bytes, encode_labels(image));
    assert_eq!(decode_labels(&bytes, image.width() * image.height()).as_ref(), Ok(image));
    bytes.len()
}

#[test]
fn label_codec_round_trips() {
    let cases = [
        ("one background pixel", labels(1, 1, |_, _| 0)),
        ("one nucleus pixel", labels(1, 1, |_, _| u32::MAX)),
        ("one row", labels(300, 1, |x, _| x / 7)),
        ("one column", labels(1, 300, |_, y| y / 7 % 3)),
        ("background", labels(700, 300, |_, _| 0)),
        ("all one nucleus", labels(300, 300, |_, _| 3)),
        ("discs", discs(320, 256, 24)),
        ("every pixel another", labels(40, 30, |x, y| 40 * y + x)),
        ("every pixel another, downwards", labels(40, 30, |x, y| u32::MAX - 40 * y - x)),
        ("chequers", labels(33, 31, |x, y| (x + y) % 2)),
        ("stripes", labels(64, 64, |x, y| (x + 3 * y) / 5 % 4)),
        ("not connected", labels(90, 60, |x, y| [0, 7, 0, 9, 2, 0][(x / 10 + y / 10) as usize % 6])),
        ("numbered backwards", {
            let mut image = discs(200, 200, 20);
            image.labels_hw_mut().iter_mut().filter(|l| **l > 0).for_each(|l| *l = 1_000_000 - *l);
            image
        }),
        ("noise", labels(97, 89, |x, y| (x * x * 31 + y * y * y * 17 + x * y) % 11)),
        ("wider than tall", labels(32_768, 2, |x, _| x % 1000 / 500)),
    ];
    for (name, image) in cases {
        assert!(round_trip_bytes(&image) > 2, "{name}");
    }
}

#[test]
fn discs_cost_few_bytes() {
    let image = discs(640, 480, 32);
    let bytes = round_trip_bytes(&image);
    let objects = image.count() as usize;
    assert!(bytes < 14 * objects, "{bytes} bytes for {objects} discs");
    let empty = round_trip_bytes(&labels(640, 480, |_, _| 0));
    assert!(empty < 64, "{empty} bytes for no nucleus");
}

/// Written by a Python script that follows the description of the format, and deflated by zlib at level 9.
#[test]
fn bytes_of_version_2_stay_readable() {
    let written = "0230280b65630e4d2e4c2e0483fac2fa5e860036a66418bf9e41918511c203b2dfb3b031a0296e6064634351cd8aac9a\
        03a21a68243b48982190850148330000";
    let bytes: Vec<u8> = (0..written.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&written[at..at + 2], 16).unwrap())
        .collect();
    assert_eq!(decode_labels(&bytes, 48 * 40), Ok(discs(48, 40, 16)));
}

#[test]
fn chains_that_leave_the_image_are_damage() {
    let coded = |chained: &[u8]| [&[VERSION, 8, 2][..], &compress_to_vec(chained, 6)].concat();
    let code = |left: u8, right: u8| 1 + 15 * (left + 7) + (right + 7);
    let decoded = decode_labels(&coded(&[9, 2, 5, END]), 16).unwrap();
    assert_eq!(decoded.labels_hw(), [[0; 8], [0, 5, 5, 5, 0, 0, 0, 0]].concat());
    let cases: [(&str, &[u8]); 8] = [
        ("starts below the image", &[16, 0, 0, END]),
        ("runs over the row's end", &[5, 3, 0, END]),
        ("runs below the image", &[9, 0, 0, code(0, 0), END]),
        ("moves over the row's end", &[6, 1, 0, code(0, 1), END]),
        ("covers more than the image", &[0, 7, 0, code(0, 0), END, 0, 0, 0, END]),
        ("has no end", &[0, 0, 0]),
        ("has no label", &[0, 0]),
        ("has a number past 32 bits", &[0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, END]),
    ];
    for (name, chained) in cases {
        assert_eq!(decode_labels(&coded(chained), 16), Err(LabelCodecError::Damaged), "{name}");
    }
    assert_eq!(decode_labels(&coded(&[END; 4 * 16 * 16 + 4]), 16), Err(LabelCodecError::Damaged), "too long");
}

#[test]
fn bad_headers_are_named() {
    use LabelCodecError::{Damaged, Header, TooManyPixels, Version};
    let good = encode_labels(&discs(60, 50, 15));
    assert_eq!(decode_labels(&good, 3000).map(|l| l.count()), Ok(16));
    assert_eq!(decode_labels(&good, 2999), Err(TooManyPixels { pixels: 3000, most: 2999 }));
    for (bytes, error) in [
        (vec![], Header),
        (vec![1, 1, 1], Version { found: 1 }),
        (vec![2, 0x80], Header),
        (vec![2, 5], Header),
        (vec![2, 0x85, 0, 5], Header),
        (vec![2, 0, 5], LabelCodecError::Size(SizeError::Empty { width: 0, height: 5 })),
        (
            vec![2, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 1],
            LabelCodecError::Size(SizeError::TooLarge { width: u32::MAX, height: 1 }),
        ),
        (good[..10].to_vec(), Damaged),
    ] {
        assert_eq!(decode_labels(&bytes, u32::MAX), Err(error), "{bytes:?}");
    }
}

prop_compose! {
    /// Rectangles thrown over each other, with labels from a small or a large range.
    fn thrown()(
        width in 1u32..70,
        height in 1u32..50,
        most in prop_oneof![Just(3u32), Just(40), Just(u32::MAX)],
        boxes in prop::collection::vec((0u32..70, 0u32..50, 1u32..25, 1u32..25, any::<u32>()), 0..30),
    ) -> LabelImage {
        labels(width, height, |x, y| {
            let covers = |b: &&(u32, u32, u32, u32, u32)| {
                (b.0..b.0 + b.2).contains(&x) && (b.1..b.1 + b.3).contains(&y)
            };
            boxes.iter().rev().find(covers).map_or(0, |b| b.4 % most)
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rectangles_round_trip(image in thrown()) {
        round_trip_bytes(&image);
    }

    #[test]
    fn noise_round_trip(width in 1u32..40, pixels in prop::collection::vec(any::<u32>(), 40..400), most in 1u32..6) {
        let height = pixels.len() as u32 / width;
        let image = labels(width, height, |x, y| pixels[(y * width + x) as usize] % most);
        round_trip_bytes(&image);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_labels(&bytes, 10_000);
        let _ = decode_labels(&[&[VERSION, 90, 80], &bytes[..]].concat(), 10_000);
    }

    #[test]
    fn mutations_never_panic(at in any::<prop::sample::Index>(), value: u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = encode_labels(&discs(90, 70, 14));
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(image) = decode_labels(&bytes, 1 << 16) {
            prop_assert_eq!(decode_labels(&encode_labels(&image), 1 << 16), Ok(image));
        }
        bytes.truncate(cut.index(bytes.len()));
        let _ = decode_labels(&bytes, 1 << 16);
    }
}
