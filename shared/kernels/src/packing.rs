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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_become_channels_in_the_order_of_a_kernels_weights() {
        let (from, to) = (Layout::plain(2, 4, 6), Layout::padded(8, 2, 3));
        let plain_chw: Vec<f32> = (0..from.len()).map(|index| index as f32 + 1.0).collect();
        let mut padded = vec![0.0; to.len()];
        pack(&plain_chw, &from, 2, &mut padded, &to);
        for (channel, y, x) in [(0, 0, 0), (3, 1, 2), (6, 0, 1)] {
            let (source, dy, dx) = (channel / 4, channel / 2 % 2, channel % 2);
            let expected = plain_chw[(source * 4 + 2 * y + dy) * 6 + 2 * x + dx];
            assert_eq!(padded[to.index(channel, y, x)], expected, "{channel} {y} {x}");
        }
        assert_eq!(padded.iter().filter(|&&value| value != 0.0).count(), plain_chw.len());
    }

    #[test]
    fn pack_and_unpack_round_trip() {
        let (plain, padded) = (Layout::plain(3, 5, 17), Layout::padded(3, 5, 17));
        let values: Vec<f32> = (0..plain.len()).map(|index| index as f32).collect();
        let (mut there, mut back) = (vec![0.0; padded.len()], vec![0.0; plain.len()]);
        pack(&values, &plain, 1, &mut there, &padded);
        unpack(&there, &padded, &mut back, &plain);
        assert_eq!(back, values);
    }
}
