use super::*;
use crate::encode::{encode_jpeg, encode_label_png, encode_picture_png};
use ::image::codecs::png::PngEncoder;
use ::image::codecs::tiff::TiffEncoder;
use ::image::{ExtendedColorType, ImageEncoder};
use proptest::prelude::*;
use std::io::Cursor;

/// Color types of the PNG specification, 11.2.1.
const GREY: u8 = 0;
const RGB: u8 = 2;
const PALETTE: u8 = 3;

/// Writes a PNG with rows stored as they are, for layouts that the encoder does not offer.
fn raw_png(width: u32, height: u32, bits: u8, colour_type: u8, palette: &[u8], rows: &[&[u8]]) -> Vec<u8> {
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([bits, colour_type, 0, 0, 0]);
    let filtered: Vec<u8> = rows.iter().flat_map(|row| [&[0], *row].concat()).collect();
    let length = filtered.len() as u16;
    let mut zlib = vec![0x78, 0x01, 1];
    zlib.extend(length.to_le_bytes());
    zlib.extend((!length).to_le_bytes());
    zlib.extend(&filtered);
    let (mut a, mut b) = (1u32, 0u32);
    for &byte in &filtered {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    zlib.extend((b << 16 | a).to_be_bytes());

    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8], data: &[u8]| {
        png.extend((data.len() as u32).to_be_bytes());
        let body = [kind, data].concat();
        png.extend(&body);
        png.extend(crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&body).to_be_bytes());
    };
    chunk(b"IHDR", &header);
    if !palette.is_empty() {
        chunk(b"PLTE", palette);
    }
    chunk(b"IDAT", &zlib);
    chunk(b"IEND", &[]);
    png
}

fn png_of(width: u32, height: u32, layout: ExtendedColorType, samples: &[u8]) -> Vec<u8> {
    let mut png = Vec::new();
    PngEncoder::new(&mut png).write_image(samples, width, height, layout).unwrap();
    png
}

fn tiff_of(width: u32, height: u32, layout: ExtendedColorType, samples: &[u8]) -> Vec<u8> {
    let mut tiff = Cursor::new(Vec::new());
    TiffEncoder::new(&mut tiff).write_image(samples, width, height, layout).unwrap();
    tiff.into_inner()
}

fn bytes_of(samples: &[u16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_ne_bytes()).collect()
}

/// A TIFF header (TIFF 6.0, section 2) with short or long entries and no pixels.
fn tiff_header(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut tiff = b"II\x2a\0\x08\0\0\0".to_vec();
    tiff.extend((entries.len() as u16).to_le_bytes());
    for &(tag, value) in entries {
        tiff.extend(tag.to_le_bytes());
        tiff.extend(4u16.to_le_bytes());
        tiff.extend(1u32.to_le_bytes());
        tiff.extend(value.to_le_bytes());
    }
    tiff.extend([0; 4]);
    tiff
}

#[test]
fn layouts_become_grey_or_rgb() {
    use ExtendedColorType::{L8, L16, La8, Rgb8, Rgb16, Rgba8, Rgba16};
    struct Case {
        name: &'static str,
        bytes: Vec<u8>,
        channels: Channels,
        samples: Vec<u8>,
    }
    let rgba_grey = [5, 5, 5, 255, 9, 9, 9, 0];
    let rgba = [5, 6, 5, 255, 9, 9, 9, 0];
    let case =
        |name, bytes, channels, samples: &[u8]| Case { name, bytes, channels, samples: samples.to_vec() };
    let (grey, rgb) = (Channels::Grey, Channels::Rgb);
    for case in [
        case("grey", png_of(2, 1, L8, &[0, 200]), grey, &[0, 200]),
        case("grey with alpha", png_of(2, 1, La8, &[1, 9, 200, 8]), grey, &[1, 200]),
        case("rgb", png_of(1, 1, Rgb8, &[1, 2, 3]), rgb, &[1, 2, 3]),
        case("rgb that is grey", png_of(1, 2, Rgb8, &[7, 7, 7, 8, 8, 8]), grey, &[7, 8]),
        case("rgba that is grey", png_of(2, 1, Rgba8, &rgba_grey), grey, &[5, 9]),
        case("rgba", png_of(2, 1, Rgba8, &rgba), rgb, &[5, 6, 5, 9, 9, 9]),
        case("1x1", png_of(1, 1, L8, &[3]), grey, &[3]),
        case(
            "one bit",
            raw_png(9, 1, 1, GREY, &[], &[&[0b1010_0000, 0x80]]),
            grey,
            &[255, 0, 255, 0, 0, 0, 0, 0, 255],
        ),
        case("two bits", raw_png(4, 1, 2, GREY, &[], &[&[0b00_01_10_11]]), grey, &[0, 85, 170, 255]),
        case("four bits", raw_png(2, 1, 4, GREY, &[], &[&[0x1F]]), grey, &[17, 255]),
        case("palette", raw_png(2, 1, 8, PALETTE, &[1, 2, 3, 4, 5, 6], &[&[1, 0]]), rgb, &[4, 5, 6, 1, 2, 3]),
        case(
            "two-bit palette of greys",
            raw_png(2, 2, 2, PALETTE, &[1, 1, 1, 4, 4, 4], &[&[0x40], &[0x10]]),
            grey,
            &[4, 1, 1, 4],
        ),
        case("16 bits", png_of(3, 1, L16, &bytes_of(&[256, 32_896, 65_535])), grey, &[0, 128, 255]),
        case("12 bits in 16", png_of(3, 1, L16, &bytes_of(&[0, 2048, 4095])), grey, &[0, 128, 255]),
        case("10 bits in 16", tiff_of(2, 1, L16, &bytes_of(&[512, 600])), grey, &[0, 88]),
        case("8 bits in 16", png_of(2, 1, L16, &bytes_of(&[0, 255])), grey, &[0, 255]),
        case("dark 8 bits in 16", png_of(2, 1, L16, &bytes_of(&[0, 3])), grey, &[0, 3]),
        case("16-bit rgb", tiff_of(1, 1, Rgb16, &bytes_of(&[4096, 8191, 1])), rgb, &[128, 255, 0]),
        case(
            "alpha does not set the depth",
            png_of(1, 1, Rgba16, &bytes_of(&[1, 2, 3, 65_535])),
            rgb,
            &[1, 2, 3],
        ),
        case("tiff", tiff_of(2, 1, L8, &[4, 5]), grey, &[4, 5]),
        case("rgba tiff", tiff_of(1, 1, Rgba8, &[4, 5, 6, 7]), rgb, &[4, 5, 6]),
    ] {
        let image = decode_image(&case.bytes).unwrap_or_else(|e| panic!("{}: {e:?}", case.name));
        assert_eq!(image.channels(), case.channels, "{}", case.name);
        assert_eq!(image.samples_hwc(), case.samples, "{}", case.name);
    }
}

#[test]
fn jpeg_of_grey_and_colour() {
    let colour = Image::new(16, 8, Channels::Rgb, [200, 40, 90].repeat(128)).unwrap();
    let decoded = decode_image(&encode_jpeg(&colour, 95).unwrap()).unwrap();
    assert_eq!((decoded.width(), decoded.height(), decoded.channels()), (16, 8, Channels::Rgb));
    assert!(decoded.samples_hwc().iter().zip(colour.samples_hwc()).all(|(a, b)| a.abs_diff(*b) < 6));
}

#[test]
fn labels_are_taken_as_they_are() {
    use ExtendedColorType::{L8, L16};
    for (name, bytes, labels) in [
        ("8 bits", png_of(3, 1, L8, &[0, 1, 255]), [0, 1, 255]),
        ("16 bits", png_of(3, 1, L16, &bytes_of(&[0, 1, 65_535])), [0, 1, 65_535]),
        ("8-bit tiff", tiff_of(3, 1, L8, &[2, 1, 0]), [2, 1, 0]),
        ("16-bit tiff", tiff_of(3, 1, L16, &bytes_of(&[300, 0, 7])), [300, 0, 7]),
        ("one bit", raw_png(3, 1, 1, GREY, &[], &[&[0b0110_0000]]), [0, 1, 1]),
        ("two bits", raw_png(3, 1, 2, GREY, &[], &[&[0b01_10_11_00]]), [1, 2, 3]),
        ("four bits", raw_png(3, 1, 4, GREY, &[], &[&[0x1E, 0xF0]]), [1, 14, 15]),
    ] {
        assert_eq!(decode_label_image(&bytes).unwrap().labels_hw(), labels, "{name}");
    }
}

#[test]
fn what_cannot_be_labels_is_refused() {
    let image = Image::new(2, 1, Channels::Grey, vec![1, 2]).unwrap();
    for (bytes, expected) in [
        (png_of(1, 1, ExtendedColorType::Rgb8, &[1, 2, 3]), "in colour"),
        (raw_png(2, 1, 8, PALETTE, &[1, 1, 1, 4, 4, 4], &[&[1, 0]]), "drawn from a palette"),
        (encode_jpeg(&image, 90).unwrap(), "lossy"),
    ] {
        let error = decode_label_image(&bytes).unwrap_err();
        assert!(matches!(error, DecodeError::NotLabels { found, .. } if found == expected), "{error}");
    }
}

#[test]
fn masks_are_whatever_is_not_black() {
    use ExtendedColorType::{L8, L16, Rgba8};
    for (name, bytes) in [
        ("grey", png_of(2, 2, L8, &[0, 255, 1, 0])),
        ("16 bits", png_of(2, 2, L16, &bytes_of(&[0, 1, 256, 0]))),
        ("rgba", png_of(2, 2, Rgba8, &[0, 0, 0, 255, 9, 0, 0, 0, 0, 0, 1, 255, 0, 0, 0, 0])),
        ("one bit", raw_png(2, 2, 1, GREY, &[], &[&[0x40], &[0x80]])),
        ("palette", raw_png(2, 2, 8, PALETTE, &[0, 0, 0, 0, 1, 0], &[&[0, 1], &[1, 0]])),
    ] {
        let mask = decode_mask(&bytes).unwrap();
        assert_eq!((mask.width, mask.height), (2, 2), "{name}");
        assert_eq!(mask.inside_hw, [false, true, true, false], "{name}");
    }
}

#[test]
fn undecodable_images_are_named() {
    for bytes in [&b""[..], b"P", b"hello, this is text", b"GIF89a\x01\0\x01\0\0\0\0", &[0; 64]] {
        assert!(matches!(decode_image(bytes), Err(DecodeError::UnknownFormat)), "{bytes:?}");
    }
}

#[test]
fn cut_files_are_damaged() {
    let samples = (0..40u32 * 30).map(|i| (i * i % 253) as u8).collect();
    let image = Image::new(40, 30, Channels::Grey, samples).unwrap();
    for (format, bytes) in [
        (ImageFileFormat::Png, encode_picture_png(&image).unwrap()),
        (ImageFileFormat::Tiff, tiff_of(40, 30, ExtendedColorType::L8, image.samples_hwc())),
        (ImageFileFormat::Jpeg, encode_jpeg(&image, 90).unwrap()),
    ] {
        assert!(decode_image(&bytes).is_ok());
        // The last chunk of a PNG says only that it was the last.
        for kept in [12, bytes.len() / 2, bytes.len() - 20] {
            match decode_image(&bytes[..kept]) {
                Err(DecodeError::Damaged { format: found, .. }) => assert_eq!(found, format),
                other => panic!("{kept} bytes of a {format}: {other:?}"),
            }
        }
    }
    let mut flipped = encode_picture_png(&image).unwrap();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    assert!(matches!(decode_image(&flipped), Err(DecodeError::Damaged { .. })));
}

#[test]
fn wide_pictures_are_read_and_oversize_headers_refused() {
    let wide = Image::black(20_000, 3, Channels::Grey).unwrap();
    assert_eq!(decode_image(&encode_picture_png(&wide).unwrap()).unwrap(), wide);

    for (width, height) in [(20_000, 20_000), (32_769, 1), (1, 40_000)] {
        let png = raw_png(width, height, 16, RGB, &[], &[]);
        let tiff = tiff_header(&[
            (256, width),
            (257, height),
            (258, 8),
            (259, 1),
            (262, 1),
            (273, 8),
            (277, 1),
            (278, height),
            (279, width.saturating_mul(height)),
        ]);
        for bytes in [png, tiff] {
            let error = decode_image(&bytes).unwrap_err();
            let expected = SizeError::TooLarge { width, height };
            assert!(matches!(error, DecodeError::Size(size) if size == expected), "{error:?}");
        }
    }
    for (width, height) in [(0, 5), (5, 0), (u32::MAX, u32::MAX), (0x7fff_ffff, 0x7fff_ffff)] {
        assert!(decode_image(&raw_png(width, height, 16, RGB, &[], &[])).is_err());
    }
}

#[test]
fn floating_point_is_read_by_its_quantiles() {
    let tiff = tiff_of(1, 1, ExtendedColorType::Rgb32F, &float_bytes(&[0.1, 0.25, 0.3]));
    let image = decode_image(&tiff).unwrap();
    assert_eq!((image.channels(), image.samples_hwc()), (Channels::Rgb, &[0, 191, 255][..]));
    assert!((image.value_scale().value(255.0) - 0.3).abs() < 1e-6);
}

fn float_bytes(samples: &[f32]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_ne_bytes()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn damage_never_panics(which in 0usize..4, at in any::<prop::sample::Index>(), value: u8, cut in any::<prop::sample::Index>()) {
        let image = Image::new(9, 7, Channels::Rgb, (0..189).collect()).unwrap();
        let mut bytes = match which {
            0 => encode_picture_png(&image).unwrap(),
            1 => encode_jpeg(&image, 80).unwrap(),
            2 => tiff_of(9, 7, ExtendedColorType::Rgb8, image.samples_hwc()),
            _ => encode_label_png(&LabelImage::new(9, 7, (0..63).collect()).unwrap()).unwrap(),
        };
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = decode_image(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        let _ = (decode_image(&bytes), decode_label_image(&bytes), decode_mask(&bytes));
    }
}

/// The tags of a page, and its pixels.
type RawPage<'a> = (&'a [(u16, u32)], &'a [u8]);

/// A TIFF of uncompressed little-endian pages, for layouts that the encoder does not offer.
fn raw_tiff(pages: &[RawPage<'_>], tables: &[(u16, &[u16])]) -> Vec<u8> {
    let mut tiff = b"II\x2a\0\0\0\0\0".to_vec();
    let mut link = 4;
    for (tags, samples) in pages {
        let strip = tiff.len() as u32;
        tiff.extend(*samples);
        let tables: Vec<(u16, u32, u32)> = tables
            .iter()
            .map(|&(tag, values)| {
                let at = tiff.len() as u32;
                tiff.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                (tag, values.len() as u32, at)
            })
            .collect();
        let mut entries: Vec<(u16, u16, u32, u32)> =
            tags.iter().map(|&(tag, value)| (tag, 4, 1, value)).collect();
        entries.extend([(259, 4, 1, 1), (273, 4, 1, strip), (279, 4, 1, samples.len() as u32)]);
        entries.extend(tables.into_iter().map(|(tag, count, at)| (tag, 3, count, at)));
        entries.sort_unstable();
        let directory = tiff.len() as u32;
        tiff[link..link + 4].copy_from_slice(&directory.to_le_bytes());
        tiff.extend((entries.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in entries {
            tiff.extend(tag.to_le_bytes());
            tiff.extend(kind.to_le_bytes());
            tiff.extend(count.to_le_bytes());
            tiff.extend(value.to_le_bytes());
        }
        link = tiff.len();
        tiff.extend([0; 4]);
    }
    tiff
}

/// Width, length, bits, photometric interpretation, samples a pixel, rows of a strip, sample format.
fn tags(width: u32, height: u32, bits: u32, photometric: u32, samples: u32, format: u32) -> Vec<(u16, u32)> {
    let shape = [(256, width), (257, height), (258, bits), (262, photometric), (277, samples)];
    shape.into_iter().chain([(278, height), (339, format)]).collect()
}

#[test]
fn a_palette_that_is_a_ramp_only_colours_the_intensity() {
    let zeros = [0_u16; 256];
    let ramp: Vec<u16> = (0..256).map(|value| value * 257).collect();
    let blue = [&zeros[..], &zeros, &ramp].concat();
    let tiff = raw_tiff(&[(&tags(3, 1, 8, 3, 1, 1), &[0, 40, 255])], &[(320, &blue)]);
    let image = decode_image(&tiff).unwrap();
    assert_eq!((image.channels(), image.samples_hwc()), (Channels::Grey, &[0, 40, 255][..]));
    // One that falls is an image's colors.
    let falling: Vec<u16> = ramp.iter().rev().copied().collect();
    let odd = [&falling[..], &zeros, &ramp].concat();
    let tiff = raw_tiff(&[(&tags(2, 1, 8, 3, 1, 1), &[0, 200])], &[(320, &odd)]);
    let image = decode_image(&tiff).unwrap();
    assert_eq!((image.channels(), image.samples_hwc()), (Channels::Rgb, &[255, 0, 0, 55, 0, 200][..]));
    // As labels its indices count.
    assert_eq!(decode_label_image(&tiff).unwrap().labels_hw(), [0, 200]);
}

#[test]
fn white_at_zero_inverts_images_and_leaves_labels() {
    let tiff = raw_tiff(&[(&tags(3, 1, 8, 0, 1, 1), &[0, 1, 255])], &[]);
    assert_eq!(decode_image(&tiff).unwrap().samples_hwc(), [255, 254, 0]);
    assert_eq!(decode_label_image(&tiff).unwrap().labels_hw(), [0, 1, 255]);
}

#[test]
fn labels_of_many_kinds_of_number() {
    let numbers = [0_i32, 7, 70_000];
    let bytes = |of: fn(i32) -> [u8; 4]| numbers.iter().flat_map(|&n| of(n)).collect::<Vec<u8>>();
    let cases = [
        (1, bytes(i32::to_le_bytes)),
        (2, bytes(i32::to_le_bytes)),
        (3, bytes(|n| (n as f32).to_le_bytes())),
    ];
    for (format, samples) in cases {
        let tiff = raw_tiff(&[(&tags(3, 1, 32, 1, 1, format), &samples)], &[]);
        assert_eq!(decode_label_image(&tiff).unwrap().labels_hw(), [0, 7, 70_000], "sample format {format}");
    }
    for (name, samples, format) in
        [("negative", (-1_i32).to_le_bytes(), 2), ("half", 0.5_f32.to_le_bytes(), 3)]
    {
        let tiff = raw_tiff(&[(&tags(1, 1, 32, 1, 1, format), &samples)], &[]);
        assert!(matches!(decode_label_image(&tiff), Err(DecodeError::NotLabels { .. })), "{name}");
    }
}

#[test]
fn planes_are_chosen_and_reported() {
    let page = tags(2, 1, 8, 1, 1, 1);
    let tiff = raw_tiff(&[(&page, &[10, 20]), (&page, &[30, 5]), (&tags(1, 1, 8, 1, 1, 1), &[99])], &[]);
    let read = |plane: &str| {
        let selection = PlaneSelection { plane: plane.parse().unwrap(), channel: None };
        decode_plane(&tiff, &selection).map(|decoded| decoded.image.samples_hwc().to_vec())
    };
    let first = decode_plane(&tiff, &PlaneSelection::default()).unwrap();
    assert_eq!(first.image.samples_hwc(), [10, 20]);
    assert_eq!(first.planes.unwrap().planes, 2, "a page of another size is no plane");
    assert_eq!((read("2").unwrap(), read("max").unwrap()), (vec![30, 5], vec![30, 20]));
    assert!(matches!(read("3"), Err(DecodeError::Plane(PlaneError::Plane { planes: 2, .. }))));
    let png = png_of(1, 1, ExtendedColorType::L8, &[1]);
    let second = PlaneSelection { plane: "2".parse().unwrap(), channel: None };
    assert!(matches!(decode_plane(&png, &second), Err(DecodeError::Plane(_))));
}

#[test]
fn the_only_channel_with_a_signal_is_read() {
    let pixel = |at: u32| if at % 50 < 5 { [0, 3, 110] } else { [0, 2, 12] };
    let image = Image::new(100, 10, Channels::Rgb, (0..1000).flat_map(pixel).collect()).unwrap();
    let decoded = decode_image(&encode_picture_png(&image).unwrap()).unwrap();
    assert_eq!((decoded.channels(), decoded.samples_hwc()[0]), (Channels::Grey, 110));
    // On a bright ground nothing is a channel of its own.
    let pixel = |at: u32| if at % 50 < 5 { [200, 200, 90] } else { [200, 200, 210] };
    let image = Image::new(100, 10, Channels::Rgb, (0..1000).flat_map(pixel).collect()).unwrap();
    assert_eq!(decode_image(&encode_picture_png(&image).unwrap()).unwrap().channels(), Channels::Rgb);
}

#[test]
fn cameras_jpegs_are_read_without_tables_and_end_mark() {
    let samples = (0..64u32 * 48).map(|i| ((i % 64) * 3 + (i / 64) * 2) as u8).collect();
    let image = Image::new(64, 48, Channels::Grey, samples).unwrap();
    let jpeg = encode_jpeg(&image, 90).unwrap();
    let whole = decode_image(&jpeg).unwrap();
    assert_eq!(decode_image(&jpeg[..jpeg.len() - 2]).unwrap(), whole);
    assert_eq!(decode_image(&[&jpeg[..], &[0; 700]].concat()).unwrap(), whole);
    for cut in [3, 40, jpeg.len() / 3] {
        let cut = decode_image(&jpeg[..jpeg.len() - 2 - cut]);
        assert!(matches!(cut, Err(DecodeError::Damaged { .. })), "{cut:?}");
    }
    let mut bare = jpeg[..2].to_vec();
    let mut at = 2;
    while jpeg[at + 1] != 0xDA {
        let length = 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if jpeg[at + 1] != 0xC4 {
            bare.extend(&jpeg[at..at + length]);
        }
        at += length;
    }
    bare.extend(&jpeg[at..]);
    assert!(bare.len() < jpeg.len());
    assert_eq!(decode_image(&bare).unwrap(), whole);
}

#[test]
fn microscopes_own_files_are_named() {
    for (bytes, word) in [
        (&b"\xDA\xCE\xBE\x0A\0\0"[..], "ND2"),
        (b"ZISRAWFILE\0\0", "CZI"),
        (b"\x70\0\0\0\x01\0\0\0\x2A\0", "LIF"),
    ] {
        let error = decode_image(bytes).unwrap_err();
        assert!(
            matches!(error, DecodeError::Proprietary { .. }) && error.to_string().contains(word),
            "{error}"
        );
    }
}
