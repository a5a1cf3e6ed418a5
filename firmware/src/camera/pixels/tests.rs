use shared::encode_jpeg;

use super::*;

/// Bytes that differ from place to place.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(next).collect()
}

/// A pixel at a time, in floating point, from the definition in ITU-R BT.601.
fn slow_pixel(bytes: &[u8], layout: PixelLayout, x: usize, y: usize) -> Vec<f64> {
    let row = &bytes[y * layout.stride as usize..];
    match layout.format {
        PixelFormat::Grey => vec![f64::from(row[x])],
        PixelFormat::Rgb3 => (0..3).map(|c| f64::from(row[3 * x + c])).collect(),
        PixelFormat::Bgr3 => (0..3).map(|c| f64::from(row[3 * x + 2 - c])).collect(),
        PixelFormat::Yuyv => {
            let pair = &row[x / 2 * 4..];
            let luma = (f64::from(pair[x % 2 * 2]) - 16.0) * 255.0 / 219.0;
            let (cb, cr) = (f64::from(pair[1]) - 128.0, f64::from(pair[3]) - 128.0);
            let (kr, kb) = (0.299, 0.114);
            let kg = 1.0 - kr - kb;
            let wide = 2.0 * 255.0 / 224.0;
            let red = luma + wide * (1.0 - kr) * cr;
            let blue = luma + wide * (1.0 - kb) * cb;
            let green = luma - wide * (1.0 - kb) * cb * kb / kg - wide * (1.0 - kr) * cr * kr / kg;
            vec![red, green, blue]
        }
        PixelFormat::Mjpg => unreachable!("compressed"),
    }
}

#[test]
fn every_raw_format_equals_the_slow_reference() {
    for format in [PixelFormat::Rgb3, PixelFormat::Bgr3, PixelFormat::Yuyv, PixelFormat::Grey] {
        for (width, height, padding) in
            [(1, 1, 0), (2, 3, 0), (5, 4, 3), (64, 48, 0), (63, 17, 64), (640, 2, 1)]
        {
            let row = format.row_bytes(width as usize) as u32;
            let layout = PixelLayout { format, width, height, stride: row + padding };
            let bytes = noise(layout.stride as usize * height as usize);
            let image = convert(&bytes, layout).unwrap();
            assert_eq!((image.width(), image.height()), (width, height));
            let channels = image.channels().count();
            for (at, samples) in image.samples_hwc().chunks_exact(channels).enumerate() {
                let (x, y) = (at % width as usize, at / width as usize);
                let expected = slow_pixel(&bytes, layout, x, y);
                assert_eq!(samples.len(), expected.len(), "{layout:?}");
                for (sample, expected) in samples.iter().zip(expected) {
                    let error = f64::from(*sample) - expected.clamp(0.0, 255.0);
                    assert!(error.abs() <= 2.0, "{layout:?} at {x},{y}: {sample} for {expected}");
                }
            }
        }
    }
}

#[test]
fn yuyv_knows_black_white_and_colours() {
    let cases = [
        ([16, 128, 235, 128], [[0, 0, 0], [255, 255, 255]]),
        ([0, 128, 255, 128], [[0, 0, 0], [255, 255, 255]]),
        ([81, 90, 81, 240], [[255, 0, 0], [255, 0, 0]]),
        ([145, 54, 145, 34], [[0, 255, 0], [0, 255, 0]]),
        ([41, 240, 41, 110], [[0, 0, 255], [0, 0, 255]]),
    ];
    for (pair, expected) in cases {
        let found = yuyv_pair(pair);
        let far = found.as_flattened().iter().zip(expected.as_flattened()).any(|(a, b)| a.abs_diff(*b) > 2);
        assert!(!far, "{pair:?}: {found:?}");
    }
}

#[test]
fn no_stride_means_close_rows() {
    let bytes = noise(6 * 4);
    let layout = |stride| PixelLayout { format: PixelFormat::Rgb3, width: 2, height: 4, stride };
    assert_eq!(convert(&bytes, layout(0)).unwrap(), convert(&bytes, layout(6)).unwrap());
}

#[test]
fn the_last_row_needs_no_padding_and_nothing_less() {
    let layout = PixelLayout { format: PixelFormat::Grey, width: 3, height: 2, stride: 8 };
    assert!(convert(&noise(11), layout).is_ok());
    assert!(matches!(convert(&noise(10), layout), Err(ConvertError::Short { expected: 11, actual: 10 })));
    assert!(matches!(
        convert(&noise(64), PixelLayout { stride: 2, ..layout }),
        Err(ConvertError::Stride { stride: 2, row: 3 })
    ));
    assert!(matches!(convert(&[], PixelLayout { width: 0, ..layout }), Err(ConvertError::Size(_))));
}

fn gradient() -> Image {
    let samples = (0..32 * 16).flat_map(|i| [(i % 32 * 8) as u8, (i / 32 * 16) as u8, 90]).collect();
    Image::new(32, 16, Channels::Rgb, samples).unwrap()
}

const JPEG_LAYOUT: PixelLayout = PixelLayout { format: PixelFormat::Mjpg, width: 32, height: 16, stride: 0 };

#[test]
fn jpeg_frames_are_decoded_with_bytes_after_their_end() {
    let image = gradient();
    let mut jpeg = encode_jpeg(&image, 95).unwrap();
    jpeg.extend([0; 100]);
    let decoded = convert(&jpeg, JPEG_LAYOUT).unwrap();
    let worst = decoded.samples_hwc().iter().zip(image.samples_hwc()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst.unwrap() <= 12, "{worst:?}");
    assert!(matches!(convert(&jpeg[..40], JPEG_LAYOUT), Err(ConvertError::Jpeg(_))));
    assert!(matches!(convert(&[], JPEG_LAYOUT), Err(ConvertError::Jpeg(_))));
}

/// Many cameras leave the Huffman tables out, as motion JPEG always uses the standard ones.
#[test]
fn jpeg_frames_without_huffman_tables_are_decoded() {
    let whole = encode_jpeg(&gradient(), 95).unwrap();
    let mut bare = whole[..2].to_vec();
    bare.extend([0xff, 0xe0, 0, 16]);
    bare.extend(b"AVI1\0\0\0\0\0\0\0\0\0\0");
    let mut at = 2;
    while whole[at + 1] != 0xda {
        let length = usize::from(u16::from_be_bytes([whole[at + 2], whole[at + 3]])) + 2;
        if ![0xc4, 0xe0].contains(&whole[at + 1]) {
            bare.extend(&whole[at..at + length]);
        }
        at += length;
    }
    bare.extend(&whole[at..]);
    assert!(bare.len() + 300 < whole.len());
    assert_eq!(convert(&bare, JPEG_LAYOUT).unwrap(), convert(&whole, JPEG_LAYOUT).unwrap());
}
