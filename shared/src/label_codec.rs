//! Lossless coding of label images, at about eleven bytes per nucleus.
//!
//! Pixels are coded row by row, each as a few yes-or-no questions whose answers an adaptive
//! arithmetic coder stores in as many bits as they surprise (Rissanen and Langdon, "Universal
//! modeling and coding", 1981), as JBIG2 (ITU-T T.88) does for two-level images:
//!
//! 1. Where all that is near bears one label, how many pixels until that changes?
//! 2. Elsewhere: does the pixel bear its western neighbor's label? The context is the outline of
//!    that label, followed from this pixel up through three rows: how far it moved from one to the
//!    next, up to four pixels either way.
//! 3. If not: the northern, north-eastern or north-western neighbor's, or background?
//! 4. If not: the lowest label not used yet, or how far above it; or one from before.
//!
//! The answers to 2 and 3 start from odds counted on real nuclei, then follow the image. All is integer
//! arithmetic, so that bytes are equal everywhere.
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 1 | version, 1 |
//! | 1 to 5 | width, LEB128 |
//! | 1 to 5 | height, LEB128 |
//! | rest | range coder |

mod guess;
mod outline;
mod prior;
mod range_coder;
mod walk;

use alloc::{vec, vec::Vec};
use thiserror::Error;

use crate::image::{SizeError, checked_pixels};
use crate::label_image::LabelImage;
use range_coder::{RangeDecoder, RangeEncoder};
use walk::{Senseless, Walk};

const VERSION: u8 = 1;

/// Why bytes are no label image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LabelCodecError {
    /// The bytes end before the size is known.
    #[error("the label bytes end inside their header")]
    Header,
    /// Another version of the codec wrote them.
    #[error("the label bytes are of version {found}, expected {VERSION}")]
    Version {
        /// The version they claim.
        found: u8,
    },
    /// The size is out of range.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// More pixels than asked for.
    #[error("the label image has {pixels} pixels, expected at most {most}")]
    TooManyPixels {
        /// Pixels that the header announces.
        pixels: u32,
        /// Most that may be decoded.
        most: u32,
    },
    /// The pixels end too soon, go on too long or contradict themselves.
    #[error("the label bytes are damaged")]
    Damaged,
}

/// Encodes a label image, whatever its labels; the same image always gives the same bytes.
///
/// Labels that are connected, and 1, 2, 3 ... in the order in which rows meet them, cost least.
pub fn encode_labels(labels: &LabelImage) -> Vec<u8> {
    let mut header = vec![VERSION];
    push_leb128(&mut header, labels.width());
    push_leb128(&mut header, labels.height());
    let mut encoder = RangeEncoder::new(header);
    let mut walk = Walk::new(labels.width());
    let mut scratch = Vec::with_capacity(labels.width() as usize);
    for row in labels.labels_hw().chunks_exact(labels.width() as usize) {
        scratch.clear();
        scratch.extend_from_slice(row);
        // Writing what is there makes sense.
        let _ = walk.row(&mut encoder, &mut scratch);
    }
    encoder.finish()
}

/// Decodes a label image of at most `max_pixels` pixels; memory is taken only when the header fits.
///
/// # Errors
/// [`LabelCodecError`] where the bytes contradict themselves. Other damage gives other masks: what
/// carries the bytes, packet or file, has its own checksum.
pub fn decode_labels(bytes: &[u8], max_pixels: u32) -> Result<LabelImage, LabelCodecError> {
    let (&version, rest) = bytes.split_first().ok_or(LabelCodecError::Header)?;
    if version != VERSION {
        return Err(LabelCodecError::Version { found: version });
    }
    let (width, rest) = take_leb128(rest).ok_or(LabelCodecError::Header)?;
    let (height, rest) = take_leb128(rest).ok_or(LabelCodecError::Header)?;
    let pixels = checked_pixels(width, height)?;
    if pixels > max_pixels as usize {
        return Err(LabelCodecError::TooManyPixels { pixels: pixels as u32, most: max_pixels });
    }
    let mut labels_hw = vec![0; pixels];
    let mut decoder = RangeDecoder::new(rest);
    let mut walk = Walk::new(width);
    for row in labels_hw.chunks_exact_mut(width as usize) {
        walk.row(&mut decoder, row).map_err(|Senseless| LabelCodecError::Damaged)?;
        if decoder.is_overrun() {
            return Err(LabelCodecError::Damaged);
        }
    }
    if decoder.has_surplus() {
        return Err(LabelCodecError::Damaged);
    }
    Ok(LabelImage::new(width, height, labels_hw)?)
}

fn push_leb128(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number in its shortest form.
fn take_leb128(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(5) {
        number |= u64::from(byte & 0x7F) << (7 * i);
        if byte < 0x80 {
            let shortest = i == 0 || byte != 0;
            return u32::try_from(number).ok().filter(|_| shortest).map(|n| (n, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests;
