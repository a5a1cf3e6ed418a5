//! From tract's form to that of the kernels, and back.

use crate::layout::Layout;

/// Copies row-major `[channels, height, width]` into the padded form. With `block` 2, the four pixels of each 2x2
/// square become channels, `[channel, y, x]`: a convolution of such squares is then one of points.
///
/// # Panics
/// When the lengths do not fit the layouts.
pub fn pack(plain_chw: &[f32], from: &Layout, block: usize, padded: &mut [f32], to: &Layout) {
    assert_eq!((plain_chw.len(), padded.len()), (from.len(), to.len()));
    assert_eq!(from.channels() * block * block, to.channels());
    for y in 0..to.height() {
        for channel in 0..to.channels() {
            let (source, place) = (channel / (block * block), channel % (block * block));
            let start = from.index(source, y * block + place / block, place % block);
            let row = &mut padded[to.index(channel, y, 0)..][..to.width()];
            if block == 1 {
                row.copy_from_slice(&plain_chw[start..start + to.width()]);
            } else {
                let pixels = plain_chw[start..].chunks(block);
                row.iter_mut().zip(pixels).for_each(|(to, from)| *to = from[0]);
            }
        }
    }
}

/// Copies the padded form into row-major `[channels, height, width]`.
///
/// # Panics
/// When the lengths do not fit the layouts.
pub fn unpack(padded: &[f32], from: &Layout, plain_chw: &mut [f32], to: &Layout) {
    assert_eq!((padded.len(), plain_chw.len()), (from.len(), to.len()));
    for channel in 0..to.channels() {
        for y in 0..to.height() {
            let row = &padded[from.index(channel, y, 0)..][..to.width()];
            plain_chw[to.index(channel, y, 0)..][..to.width()].copy_from_slice(row);
        }
    }
}
