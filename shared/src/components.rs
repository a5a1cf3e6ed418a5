//! Connected components of a mask.

use alloc::{vec, vec::Vec};

/// Numbers the 4-connected components of a mask `[height, width]` as `1..=n` in raster order of
/// their first pixel; gives the labels and `n`.
pub fn components(mask_hw: &[bool], width: usize) -> (Vec<u32>, u32) {
    let mut labels_hw = vec![0u32; mask_hw.len()];
    let mut stack = Vec::new();
    let mut count = 0;
    for start in 0..mask_hw.len() {
        if !mask_hw[start] || labels_hw[start] != 0 {
            continue;
        }
        count += 1;
        labels_hw[start] = count;
        stack.push(start);
        while let Some(at) = stack.pop() {
            for neighbour in neighbours(at, width, mask_hw.len()) {
                if mask_hw[neighbour] && labels_hw[neighbour] == 0 {
                    labels_hw[neighbour] = count;
                    stack.push(neighbour);
                }
            }
        }
    }
    (labels_hw, count)
}

/// Indices of the four neighbours that lie inside a picture of `pixels` pixels.
pub(crate) fn neighbours(at: usize, width: usize, pixels: usize) -> impl Iterator<Item = usize> {
    let x = at % width;
    [
        (at >= width).then(|| at - width),
        (x > 0).then(|| at - 1),
        (x + 1 < width).then(|| at + 1),
        (at + width < pixels).then(|| at + width),
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagonal_neighbours_are_apart() {
        let mask = [1, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0, 0].map(|m| m == 1);
        let (labels, count) = components(&mask, 4);
        assert_eq!(count, 3);
        assert_eq!(labels, [1, 1, 0, 2, 0, 0, 2, 2, 0, 3, 0, 0]);
    }

    #[test]
    fn rows_do_not_wrap() {
        let (labels, count) = components(&[false, false, true, true, false, false], 3);
        assert_eq!((labels, count), (vec![0, 0, 1, 2, 0, 0], 2));
    }
}
