//! 2x2 max pooling and its gradient.

use rayon::prelude::*;

/// `x` `[n, c, h, w]` to `[n, c, h / 2, w / 2]`.
///
/// # Panics
/// When `x` has another length, or a side is odd.
pub fn max_pool(x: &[f32], [n, channels, height, width]: [usize; 4]) -> Vec<f32> {
    check(x, [n, channels, height, width]);
    let mut y = vec![0.0; x.len() / 4];
    y.par_chunks_exact_mut(width / 2).zip(x.par_chunks_exact(2 * width)).for_each(|(y, rows)| {
        for (y, [a, b, c, d]) in y.iter_mut().zip(squares(rows, width)) {
            *y = a.max(b).max(c).max(d);
        }
    });
    y
}

/// The gradient of [`max_pool`]'s input: that of each square goes to its greatest value, the first of equals.
///
/// # Panics
/// When `x` or `grad` has another length, or a side is odd.
pub fn max_pool_gradient(grad: &[f32], x: &[f32], [n, channels, height, width]: [usize; 4]) -> Vec<f32> {
    check(x, [n, channels, height, width]);
    assert_eq!(grad.len() * 4, x.len(), "a gradient for each square");
    let mut dx = vec![0.0; x.len()];
    dx.par_chunks_exact_mut(2 * width)
        .zip(x.par_chunks_exact(2 * width))
        .zip(grad.par_chunks_exact(width / 2))
        .for_each(|((dx, rows), grad)| {
            let (upper, lower) = dx.split_at_mut(width);
            let dx = upper.chunks_exact_mut(2).zip(lower.chunks_exact_mut(2));
            for (((upper, lower), &grad), [a, b, c, d]) in dx.zip(grad).zip(squares(rows, width)) {
                let greatest = a.max(b).max(c).max(d);
                match () {
                    () if a == greatest => upper[0] = grad,
                    () if b == greatest => upper[1] = grad,
                    () if c == greatest => lower[0] = grad,
                    () => lower[1] = grad,
                }
            }
        });
    dx
}

fn check(x: &[f32], [n, channels, height, width]: [usize; 4]) {
    assert_eq!(x.len(), n * channels * height * width, "a whole batch");
    assert!(height.is_multiple_of(2) && width.is_multiple_of(2), "even sides");
}

/// The squares of two rows, each row by row.
fn squares(rows: &[f32], width: usize) -> impl Iterator<Item = [f32; 4]> {
    let (upper, lower) = rows.split_at(width);
    upper.chunks_exact(2).zip(lower.chunks_exact(2)).map(|(u, l)| [u[0], u[1], l[0], l[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_gradients_follow_the_greatest() {
        let x = [1.0, 2.0, 5.0, 5.0, 4.0, 3.0, 5.0, 0.0, -1.0, -2.0, 0.0, 0.0, -3.0, -4.0, 0.0, 7.0];
        let shape = [1, 2, 2, 4];
        assert_eq!(max_pool(&x, shape), [4.0, 5.0, -1.0, 7.0]);
        let dx = max_pool_gradient(&[10.0, 20.0, 30.0, 40.0], &x, shape);
        let mut expected = [0.0; 16];
        (expected[4], expected[2], expected[8], expected[15]) = (10.0, 20.0, 30.0, 40.0);
        assert_eq!(dx, expected);
    }
}
