//! Label images as bytes, every instance kept apart.

use alloc::vec::Vec;
use thiserror::Error;

use crate::label_image::LabelImage;

/// Why bytes are no masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the mask bytes are damaged")]
pub struct MaskCodecError;

/// Encodes a label image as runs.
pub fn encode_masks(labels: &LabelImage) -> Vec<u8> {
    let runs: Vec<(u32, u32)> =
        labels.labels_hw().chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32)).collect();
    postcard::to_allocvec(&(labels.width(), labels.height(), runs)).unwrap_or_default()
}

/// Decodes a label image of at most `max_pixels` pixels.
///
/// # Errors
/// [`MaskCodecError`].
pub fn decode_masks(bytes: &[u8], max_pixels: u32) -> Result<LabelImage, MaskCodecError> {
    let (width, height, runs): (u32, u32, Vec<(u32, u32)>) =
        postcard::from_bytes(bytes).map_err(|_| MaskCodecError)?;
    let total: u64 = runs.iter().map(|&(_, length)| u64::from(length)).sum();
    if total > u64::from(max_pixels) {
        return Err(MaskCodecError);
    }
    let labels_hw =
        runs.into_iter().flat_map(|(label, length)| core::iter::repeat_n(label, length as usize)).collect();
    LabelImage::new(width, height, labels_hw).map_err(|_| MaskCodecError)
}
