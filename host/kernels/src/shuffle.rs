//! Space-to-depth and depth-to-space: four channels of a pixel to the four pixels of a 2x2 square, and back.

use rayon::prelude::*;

/// `x` `[n, 4 c, h, w]` to `[n, c, 2 h, 2 w]`: channel `4 k + 2 dy + dx` becomes the pixels `(2 y + dy,
/// 2 x + dx)` of channel `k`. The inverse of [`space_to_depth`].
///
/// # Panics
/// When `x` has another length, or channels are not a multiple of 4.
pub fn depth_to_space(x: &[f32], [n, channels, height, width]: [usize; 4]) -> Vec<f32> {
    assert_eq!(x.len(), n * channels * height * width, "a whole batch");
    assert_eq!(channels % 4, 0, "four channels for each of the result's");
    let area = height * width;
    let mut y = vec![0.0; x.len()];
    y.par_chunks_exact_mut(4 * area).zip(x.par_chunks_exact(4 * area)).for_each(|(y, x)| {
        for (row, y) in y.chunks_exact_mut(2 * width).enumerate() {
            let plane = 2 * (row % 2) * area + row / 2 * width;
            let (left, right) = (&x[plane..plane + width], &x[plane + area..plane + area + width]);
            for ((y, &left), &right) in y.chunks_exact_mut(2).zip(left).zip(right) {
                y.copy_from_slice(&[left, right]);
            }
        }
    });
    y
}

/// `x` `[n, c, h, w]` to `[n, 4 c, h / 2, w / 2]`. The inverse of [`depth_to_space`].
///
/// # Panics
/// When `x` has another length, or a side is odd.
pub fn space_to_depth(x: &[f32], [n, channels, height, width]: [usize; 4]) -> Vec<f32> {
    assert_eq!(x.len(), n * channels * height * width, "a whole batch");
    assert!(height % 2 == 0 && width % 2 == 0, "even sides");
    let (area, half) = (height * width, width / 2);
    let mut y = vec![0.0; x.len()];
    y.par_chunks_exact_mut(area).zip(x.par_chunks_exact(area)).for_each(|(y, x)| {
        for (row, x) in x.chunks_exact(width).enumerate() {
            let plane = 2 * (row % 2) * (area / 4) + row / 2 * half;
            let (left, right) = y[plane..].split_at_mut(area / 4);
            for ((x, left), right) in x.chunks_exact(2).zip(&mut left[..half]).zip(&mut right[..half]) {
                (*left, *right) = (x[0], x[1]);
            }
        }
    });
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_definition_and_come_back() {
        let shape @ [n, channels, height, width] = [2, 8, 3, 5];
        let x: Vec<f32> = (0..n * channels * height * width).map(|i| i as f32).collect();
        let y = depth_to_space(&x, shape);
        for (at, &value) in x.iter().enumerate() {
            let (column, row) = (at % width, at / width % height);
            let (channel, picture) = (at / (width * height) % channels, at / (width * height * channels));
            let (k, dy, dx) = (channel / 4, channel % 4 / 2, channel % 2);
            let to = ((picture * channels / 4 + k) * 2 * height + 2 * row + dy) * 2 * width + 2 * column + dx;
            assert_eq!(y[to], value);
        }
        assert_eq!(space_to_depth(&y, [n, channels / 4, 2 * height, 2 * width]), x);
    }
}
