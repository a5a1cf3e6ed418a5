//! Completes cameras' JPEGs that omit Huffman tables (Motion JPEG) or the end marker.

use ::image::codecs::jpeg::JpegDecoder;
use ::image::{ImageDecoder as _, ImageResult};
use alloc::borrow::Cow;
use alloc::{boxed::Box, vec, vec::Vec};
use std::io::Cursor;

use super::{DecodeError, ImageFileFormat};
use crate::image::checked_pixels;

const START: [u8; 2] = [0xFF, 0xD8];
const END: [u8; 2] = [0xFF, 0xD9];
/// More than the length of the last blocks' codes.
const FILLER_BYTES: usize = 4096;
/// An APP0 segment by which the decoder recognizes Motion JPEG, whose frames omit the tables of ITU-T T.81, K.3.
const MOTION_JPEG: [u8; 16] = *b"\xFF\xE0\x00\x0EAVI1\0\0\0\0\0\0\0\0";

/// The JPEG with all markers that the decoder needs, copied only if one is missing.
///
/// # Errors
/// [`DecodeError::Damaged`] where the end marker is missing and so is a part of the image: the decoder
/// fills what is missing with gray and does not say so.
pub(super) fn completed(bytes: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    let damaged = |source| DecodeError::Damaged { format: ImageFileFormat::Jpeg, source };
    let scan = scan_start(bytes).ok_or_else(|| damaged(None))?;
    let mut whole = Cow::Borrowed(bytes);
    if !has_huffman_tables(&bytes[..scan]) {
        let after_start = START.len();
        whole.to_mut().splice(after_start..after_start, MOTION_JPEG);
    }
    if !ends(&bytes[scan..]) {
        if !is_complete(&whole).map_err(|error| damaged(Some(Box::new(error))))? {
            return Err(damaged(None));
        }
        whole.to_mut().extend(END);
    }
    Ok(whole)
}

/// Whether the last scan of a JPEG without an end marker is complete: then bytes appended after it do not change the
/// image.
fn is_complete(bytes: &[u8]) -> ImageResult<bool> {
    let followed_by = |filler: u8| -> ImageResult<Vec<u8>> {
        let followed = [bytes, &[filler; FILLER_BYTES], &END].concat();
        let decoder = JpegDecoder::new(Cursor::new(&followed[..]))?;
        let (width, height) = decoder.dimensions();
        if checked_pixels(width, height).is_err() {
            return Ok(Vec::new());
        }
        let mut samples = vec![0; decoder.total_bytes() as usize];
        decoder.read_image(&mut samples)?;
        Ok(samples)
    };
    Ok(followed_by(0x00)? == followed_by(0xAA)?)
}

/// Position of the first scan's marker, from the lengths of the segments before it (T.81, B.1.1.4).
fn scan_start(bytes: &[u8]) -> Option<usize> {
    let mut at = START.len();
    loop {
        while *bytes.get(at)? == 0xFF && *bytes.get(at + 1)? == 0xFF {
            at += 1;
        }
        match bytes.get(at..at + 2)? {
            [0xFF, 0xDA] => return Some(at),
            [0xFF, 0x01 | 0xD0..=0xD8] => at += 2,
            [0xFF, _] => {
                let length = u16::from_be_bytes(bytes.get(at + 2..at + 4)?.try_into().ok()?);
                at += 2 + usize::from(length);
            }
            _ => return None,
        }
    }
}

/// Whether a table of Huffman codes (or of the conditioning of an arithmetic coder) is among the segments.
fn has_huffman_tables(head: &[u8]) -> bool {
    let mut at = START.len();
    while let Some([0xFF, marker, high, low]) = head.get(at..at + 4) {
        if matches!(marker, 0xC4 | 0xCC) {
            return true;
        }
        at += 2 + usize::from(u16::from_be_bytes([*high, *low]));
    }
    false
}

/// Whether the end marker follows. Inside a scan `FF` is followed by zero or a restart marker (T.81,
/// B.1.1.5), so that the end marker cannot appear there.
fn ends(scans: &[u8]) -> bool {
    scans.windows(2).any(|pair| pair == END)
}
