//! Nuclei as regions of interest for ImageJ, in the layout of its `ij.io.RoiEncoder`: big-endian, a header of
//! 64 bytes, corners, then a second header with the name.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};

use host_modelling::{Corner, Polygon};
use thiserror::Error;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

const HEADER: usize = 64;
/// Version of the format that has composites.
const VERSION: u16 = 227;
const TRACED: u8 = 8;
const RECTANGLE: u8 = 1;

/// Segments of a composite's path, as of `java.awt.geom.PathIterator`.
const MOVE_TO: f32 = 0.0;
const LINE_TO: f32 = 1.0;
const CLOSE: f32 = 4.0;

/// Why nuclei cannot be written for ImageJ.
#[derive(Debug, Error)]
pub enum RoiError {
    /// Offsets are 16 bits.
    #[error("nucleus {label} has {corners} vertices or a position that ImageJ's format cannot represent")]
    Range {
        /// Its label.
        label: u32,
        /// Corners of its outline.
        corners: usize,
    },
    /// The zip cannot be made.
    #[error("the zip cannot be written")]
    Zip(#[from] zip::result::ZipError),
    /// The zip's content cannot be made.
    #[error("the zip cannot be written")]
    Write(#[from] std::io::Error),
}

/// A zip with one region per nucleus, each named for its label.
///
/// # Errors
/// [`RoiError`].
pub fn roi_zip(polygons: &BTreeMap<u32, Vec<Polygon>>) -> Result<Vec<u8>, RoiError> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // Without a time, so that the same nuclei give the same file.
    let options = SimpleFileOptions::DEFAULT.compression_method(CompressionMethod::Deflated);
    for (label, parts) in polygons {
        let name = format!("nucleus-{label:05}");
        zip.start_file(format!("{name}.roi"), options)?;
        let corners = parts.iter().flat_map(|part| std::iter::once(&part.exterior).chain(&part.holes));
        let corners = corners.map(Vec::len).sum();
        let shape = encode_shape(parts).ok_or(RoiError::Range { label: *label, corners })?;
        zip.write_all(&named(shape, &name))?;
    }
    Ok(zip.finish()?.into_inner())
}

/// A traced outline if one ring is enough, else a composite. `None` beyond 16 bits.
fn encode_shape(parts: &[Polygon]) -> Option<Vec<u8>> {
    let bounds = Bounds::of(parts)?;
    match parts {
        [Polygon { exterior, holes }] if holes.is_empty() => traced(exterior, &bounds),
        parts => Some(composite(parts, &bounds)),
    }
}

/// The region with its name.
fn named(mut shape: Vec<u8>, name: &str) -> Vec<u8> {
    let second = shape.len();
    shape[SECOND_AT..SECOND_AT + 4].copy_from_slice(&(second as u32).to_be_bytes());
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    shape.resize(second + HEADER, 0);
    for (at, value) in [(NAME_AT, second + HEADER), (NAME_LENGTH_AT, name.len() / 2)] {
        shape[second + at..second + at + 4].copy_from_slice(&(value as u32).to_be_bytes());
    }
    shape.extend(name);
    shape
}

struct Bounds {
    left: i16,
    top: i16,
    right: i16,
    bottom: i16,
}

impl Bounds {
    fn of(parts: &[Polygon]) -> Option<Self> {
        let axis = |axis: usize| parts.iter().flat_map(|part| &part.exterior).map(move |corner| corner[axis]);
        let short = |value: i32| i16::try_from(value).ok();
        Some(Self {
            left: short(axis(0).min()?)?,
            top: short(axis(1).min()?)?,
            right: short(axis(0).max()?)?,
            bottom: short(axis(1).max()?)?,
        })
    }

    fn header(&self, kind: u8) -> Vec<u8> {
        let mut bytes = b"Iout".to_vec();
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend([kind, 0]);
        for side in [self.top, self.left, self.bottom, self.right] {
            bytes.extend(side.to_be_bytes());
        }
        bytes.resize(HEADER, 0);
        bytes
    }
}

const CORNERS_AT: usize = 16;
const SHAPE_AT: usize = 36;
const SECOND_AT: usize = 60;
/// In the second header.
const NAME_AT: usize = 16;
const NAME_LENGTH_AT: usize = 20;

fn traced(ring: &[Corner], bounds: &Bounds) -> Option<Vec<u8>> {
    let mut bytes = bounds.header(TRACED);
    let count = u16::try_from(ring.len()).ok()?;
    bytes[CORNERS_AT..CORNERS_AT + 2].copy_from_slice(&count.to_be_bytes());
    for (axis, first) in [(0, bounds.left), (1, bounds.top)] {
        for corner in ring {
            bytes.extend(u16::try_from(corner[axis] - i32::from(first)).ok()?.to_be_bytes());
        }
    }
    Some(bytes)
}

fn composite(parts: &[Polygon], bounds: &Bounds) -> Vec<u8> {
    let mut path: Vec<f32> = Vec::new();
    for ring in parts.iter().flat_map(|part| std::iter::once(&part.exterior).chain(&part.holes)) {
        for (at, corner) in ring.iter().enumerate() {
            let segment = if at == 0 { MOVE_TO } else { LINE_TO };
            path.extend([segment, corner[0] as f32, corner[1] as f32]);
        }
        path.push(CLOSE);
    }
    let mut bytes = bounds.header(RECTANGLE);
    bytes[SHAPE_AT..SHAPE_AT + 4].copy_from_slice(&(path.len() as u32).to_be_bytes());
    bytes.extend(path.into_iter().flat_map(f32::to_be_bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square([x, y]: Corner, side: i32) -> Vec<Corner> {
        vec![[x, y], [x + side, y], [x + side, y + side], [x, y + side]]
    }

    #[test]
    fn a_plain_outline_is_traced_and_others_are_composites() {
        let plain = Polygon { exterior: square([5, 300], 2), holes: vec![] };
        let bytes = encode_shape(std::slice::from_ref(&plain)).unwrap();
        let mut expected = b"Iout\x00\xe3\x08\x00\x01\x2c\x00\x05\x01\x2e\x00\x07\x00\x04".to_vec();
        expected.resize(HEADER, 0);
        expected.extend([0, 0, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2]);
        assert_eq!(bytes, expected);
        let named = named(bytes, "µ");
        assert_eq!(named[SECOND_AT..HEADER], 80_u32.to_be_bytes());
        assert_eq!(named[80 + NAME_AT..80 + NAME_AT + 8], [0, 0, 0, 144, 0, 0, 0, 1]);
        assert_eq!(named[144..], [0, 0xb5]);

        let mut hole = square([6, 301], 1);
        hole.reverse();
        let holed = Polygon { exterior: square([5, 300], 3), holes: vec![hole] };
        for (parts, rings) in [(vec![holed.clone()], 2), (vec![plain, holed], 3)] {
            let bytes = encode_shape(&parts).unwrap();
            let floats = rings * (4 * 3 + 1);
            assert_eq!(bytes[6], RECTANGLE);
            assert_eq!(bytes[SHAPE_AT..SHAPE_AT + 4], (floats as u32).to_be_bytes());
            assert_eq!(bytes.len(), HEADER + 4 * floats);
        }
    }

    #[test]
    fn places_beyond_16_bits_are_refused() {
        let far = Polygon { exterior: square([32_767, 0], 1), holes: vec![] };
        let error = roi_zip(&BTreeMap::from([(7, vec![far])])).unwrap_err();
        assert!(matches!(error, RoiError::Range { label: 7, corners: 4 }));
    }
}
