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

fn comes_back(image: &LabelImage) -> usize {
    let bytes = encode_labels(image);
    assert_eq!(bytes, encode_labels(image));
    assert_eq!(decode_labels(&bytes, image.width() * image.height()).as_ref(), Ok(image));
    bytes.len()
}

#[test]
fn whatever_goes_in_comes_out() {
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
        assert!(comes_back(&image) > 2, "{name}");
    }
}

#[test]
fn discs_cost_few_bytes() {
    let image = discs(640, 480, 32);
    let bytes = comes_back(&image);
    let objects = image.count() as usize;
    assert!(bytes < 9 * objects, "{bytes} bytes for {objects} discs");
    let empty = comes_back(&labels(640, 480, |_, _| 0));
    assert!(empty < 64, "{empty} bytes for no nucleus");
}

#[test]
fn bytes_of_version_1_stay() {
    let expected =
        "01302808617b4d0c92dcf1d8f4be098e7e91b73716374253ed50d99a92b1f8a84eeb31e03a3e6895f05a1e787740";
    let bytes = encode_labels(&discs(48, 40, 16));
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text, expected);
}

#[test]
fn bad_headers_are_named() {
    use LabelCodecError::{Damaged, Header, TooManyPixels, Version};
    let good = encode_labels(&discs(60, 50, 15));
    assert_eq!(decode_labels(&good, 3000).map(|l| l.count()), Ok(16));
    assert_eq!(decode_labels(&good, 2999), Err(TooManyPixels { pixels: 3000, most: 2999 }));
    for (bytes, error) in [
        (vec![], Header),
        (vec![2, 1, 1], Version { found: 2 }),
        (vec![1, 0x80], Header),
        (vec![1, 5], Header),
        (vec![1, 0x85, 0, 5], Header),
        (vec![1, 0, 5], LabelCodecError::Size(SizeError::Empty { width: 0, height: 5 })),
        (
            vec![1, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 1],
            LabelCodecError::Size(SizeError::TooLarge { width: u32::MAX, height: 1 }),
        ),
        ([&good[..], &[0]].concat(), Damaged),
        ([&good[..], &[7; 9]].concat(), Damaged),
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
    fn round_trip(image in thrown()) {
        comes_back(&image);
    }

    #[test]
    fn noise_round_trip(width in 1u32..40, pixels in prop::collection::vec(any::<u32>(), 40..400), most in 1u32..6) {
        let height = pixels.len() as u32 / width;
        let image = labels(width, height, |x, y| pixels[(y * width + x) as usize] % most);
        comes_back(&image);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_labels(&bytes, 10_000);
        let _ = decode_labels(&[&[1, 90, 80], &bytes[..]].concat(), 10_000);
    }

    #[test]
    fn mutations_are_survived(at in any::<prop::sample::Index>(), value: u8, cut in any::<prop::sample::Index>()) {
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
