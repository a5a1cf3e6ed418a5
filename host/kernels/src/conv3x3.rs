//! 3x3 convolutions of stride 1, padded with zeros, and the gradient of their weight.
//!
//! Both keep a block of sums in registers and stream the image past it (Georganas et al., "Anatomy of
//! High-Performance Deep Learning Convolutions on SIMD Architectures", 2018): six output channels by two
//! vectors of pixels forward, four output channels by the three places of a kernel row for the gradient.

#![allow(clippy::needless_range_loop, reason = "sums stay in registers where their places are constants")]

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// The vector at the start of `values`.
#[inline(always)]
fn load<S: Simd>(values: &[f32]) -> S::f32s {
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&values[..S::F32_LANES]))
}

/// Output channels of a block in the forward pass.
const BLOCK: usize = 6;
/// Output channels of a block of the weight's gradient.
const GRADIENT_BLOCK: usize = 4;
/// Pixels that the gradient sums before it leaves the registers: what fits the first cache.
const GRADIENT_PIXELS: usize = 1024;

/// Planes with a border of zeros: one pixel, and more on the right so that rows are whole vectors.
struct Padded {
    values: Vec<f32>,
    plane: usize,
    stride: usize,
}

impl Padded {
    /// `x` is `[planes, height, width]`; rows become a multiple of `vectors` vectors.
    fn new(x: &[f32], [planes, height, width]: [usize; 3], vectors: usize) -> Self {
        let stride = width.next_multiple_of(vectors * Arch::new().dispatch(Lanes)) + 2;
        let plane = (height + 2) * stride;
        let mut values = vec![0.0; planes * plane];
        values.par_chunks_exact_mut(plane).zip(x.par_chunks_exact(height * width)).for_each(|(to, from)| {
            let rows = to.chunks_exact_mut(stride).skip(1);
            rows.zip(from.chunks_exact(width)).for_each(|(to, from)| to[1..=width].copy_from_slice(from));
        });
        Self { values, plane, stride }
    }
}

/// Lanes of a vector on this machine.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// `x` `[n, in, h, w]` and `weight` `[out, in, 3, 3]` to `[n, out, h, w]`.
pub fn conv3x3(x: &[f32], weight: &[f32], [n, input, height, width]: [usize; 4], output: usize) -> Vec<f32> {
    let padded = Padded::new(x, [n * input, height, width], 2);
    let offsets: Vec<usize> =
        (0..input * 9).map(|tap| tap / 9 * padded.plane + tap % 9 / 3 * padded.stride + tap % 3).collect();
    let area = height * width;
    let mut y = vec![0.0; n * output * area];
    y.par_chunks_exact_mut(output * area).zip(padded.values.par_chunks_exact(input * padded.plane)).for_each(
        |(y, x)| {
            for (y, weight) in y.chunks_mut(BLOCK * area).zip(weight.chunks(BLOCK * input * 9)) {
                let task = Forward { x, offsets: &offsets, stride: padded.stride, height, width, y };
                match channels(weight, input) {
                    1 => task.run::<1>(weight),
                    2 => task.run::<2>(weight),
                    3 => task.run::<3>(weight),
                    4 => task.run::<4>(weight),
                    5 => task.run::<5>(weight),
                    _ => task.run::<6>(weight),
                }
            }
        },
    );
    y
}

/// Output channels of a part of a weight.
fn channels(weight: &[f32], input: usize) -> usize {
    weight.len() / (input * 9)
}

/// One image and one block of output channels.
struct Forward<'a> {
    x: &'a [f32],
    /// Where each of a channel's nine taps lies from a pixel, channel after channel.
    offsets: &'a [usize],
    stride: usize,
    height: usize,
    width: usize,
    y: &'a mut [f32],
}

impl Forward<'_> {
    fn run<const O: usize>(self, weight: &[f32]) {
        let taps = self.offsets.len();
        let weight: Vec<[f32; O]> =
            (0..taps).map(|tap| std::array::from_fn(|o| weight[o * taps + tap])).collect();
        Arch::new().dispatch(ForwardBlock { task: self, weight: &weight });
    }
}

struct ForwardBlock<'a, const O: usize> {
    task: Forward<'a>,
    /// For each tap the weights of the block's channels.
    weight: &'a [[f32; O]],
}

impl<const O: usize> WithSimd for ForwardBlock<'_, O> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Forward { x, offsets, stride, height, width, y } = self.task;
        let tile = 2 * S::F32_LANES;
        for row in 0..height {
            for column in (0..width).step_by(tile) {
                let x = &x[row * stride + column..];
                let mut sums = [[simd.splat_f32s(0.0); 2]; O];
                // One loop over all taps: unrolled by row and place, the sums would not fit the registers.
                for (&offset, weights) in offsets.iter().zip(self.weight) {
                    let pixels = &x[offset..offset + 2 * S::F32_LANES];
                    let (left, right) = (load::<S>(pixels), load::<S>(&pixels[S::F32_LANES..]));
                    for o in 0..O {
                        let weight = simd.splat_f32s(weights[o]);
                        sums[o][0] = simd.mul_add_f32s(left, weight, sums[o][0]);
                        sums[o][1] = simd.mul_add_f32s(right, weight, sums[o][1]);
                    }
                }
                let there = tile.min(width - column);
                // Each sum is copied out by a place known when compiled: else all would live in memory.
                for o in 0..O {
                    let (sums, at) = (sums[o], o * height * width + row * width + column);
                    y[at..at + there].copy_from_slice(&bytemuck::cast_slice(&sums)[..there]);
                }
            }
        }
    }
}

/// The gradient of the weight, `[out, in, 3, 3]`, from `x` `[n, in, h, w]` and `grad` `[n, out, h, w]`.
pub fn conv3x3_weight_gradient(
    x: &[f32],
    grad: &[f32],
    [n, input, height, width]: [usize; 4],
    output: usize,
) -> Vec<f32> {
    let x = Padded::new(x, [n * input, height, width], 1);
    let grad = Padded::new(grad, [n * output, height, width], 1);
    let mut gradient = vec![0.0; output * input * 9];
    gradient.par_chunks_mut(GRADIENT_BLOCK * input * 9).enumerate().for_each(|(block, gradient)| {
        let task = Gradient {
            x: &x,
            grad: &grad,
            first: block * GRADIENT_BLOCK,
            shape: [n, input, output],
            height,
            width: x.stride - 2,
            gradient,
        };
        let arch = Arch::new();
        match channels(task.gradient, input) {
            1 => arch.dispatch(GradientBlock::<1>(task)),
            2 => arch.dispatch(GradientBlock::<2>(task)),
            3 => arch.dispatch(GradientBlock::<3>(task)),
            _ => arch.dispatch(GradientBlock::<4>(task)),
        }
    });
    gradient
}

struct Gradient<'a> {
    x: &'a Padded,
    grad: &'a Padded,
    /// First output channel of the block.
    first: usize,
    /// Images, input and output channels.
    shape: [usize; 3],
    height: usize,
    width: usize,
    /// The block's part, `[block, in, 3, 3]`.
    gradient: &'a mut [f32],
}

struct GradientBlock<'a, const O: usize>(Gradient<'a>);

impl<const O: usize> WithSimd for GradientBlock<'_, O> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Gradient { x, grad, first, shape: [n, input, output], height, width, gradient } = self.0;
        let stride = x.stride;
        let rows = n * height;
        let chunk = (GRADIENT_PIXELS / width).max(1);
        for from in (0..rows).step_by(chunk) {
            for channel in 0..input {
                for ky in 0..3 {
                    let mut sums = [[simd.splat_f32s(0.0); 3]; O];
                    for row in from..rows.min(from + chunk) {
                        let (picture, row) = (row / height, row % height);
                        let at = (picture * input + channel) * x.plane + (row + ky) * stride;
                        let x = &x.values[at..at + stride];
                        let at = (picture * output + first) * grad.plane + (row + 1) * stride + 1;
                        let mut grads: [&[f32]; O] = [&[]; O];
                        for o in 0..O {
                            grads[o] = &grad.values[at + o * grad.plane..at + o * grad.plane + width];
                        }
                        let mut column = 0;
                        while column + S::F32_LANES <= width {
                            let pixels = &x[column..column + S::F32_LANES + 2];
                            let places =
                                [load::<S>(pixels), load::<S>(&pixels[1..]), load::<S>(&pixels[2..])];
                            for o in 0..O {
                                let grad = load::<S>(&grads[o][column..]);
                                for kx in 0..3 {
                                    sums[o][kx] = simd.mul_add_f32s(places[kx], grad, sums[o][kx]);
                                }
                            }
                            column += S::F32_LANES;
                        }
                    }
                    for o in 0..O {
                        let at = (o * input + channel) * 9 + ky * 3;
                        for kx in 0..3 {
                            gradient[at + kx] += simd.reduce_sum_f32s(sums[o][kx]);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, seed: f32) -> Vec<f32> {
        (0..count).map(|i| ((i as f32 + seed) * 12.9898).sin()).collect()
    }

    /// Calls `visit` with the places in `x`, `weight` and `y` of every product of the definition.
    fn products([n, input, h, w]: [usize; 4], output: usize, mut visit: impl FnMut(usize, usize, usize)) {
        for at in 0..n * output * h * w {
            let (column, row) = (at % w, at / w % h);
            let (o, picture) = (at / (w * h) % output, at / (w * h * output));
            for tap in 0..input * 9 {
                let (channel, ky, kx) = (tap / 9, tap % 9 / 3, tap % 3);
                let (y, x) = ((row + ky).wrapping_sub(1), (column + kx).wrapping_sub(1));
                if y < h && x < w {
                    visit(((picture * input + channel) * h + y) * w + x, o * input * 9 + tap, at);
                }
            }
        }
    }

    #[test]
    fn values_and_gradients_are_the_sums_of_the_definition() {
        for (shape, output) in [
            ([1, 1, 1, 1], 1),
            ([2, 3, 5, 7], 4),
            ([3, 7, 4, 33], 13),
            ([1, 2, 40, 16], 6),
            ([2, 5, 9, 64], 11),
        ] {
            let [n, input, h, w] = shape;
            let (x, weight) = (values(n * input * h * w, 0.3), values(output * input * 9, 5.0));
            let grad = values(n * output * h * w, 2.0);
            let (mut y, mut gradient) = (vec![0.0; grad.len()], vec![0.0; weight.len()]);
            products(shape, output, |from, tap, to| {
                y[to] += x[from] * weight[tap];
                gradient[tap] += x[from] * grad[to];
            });
            for (what, slow, fast) in [
                ("values", y, conv3x3(&x, &weight, shape, output)),
                ("gradients", gradient, conv3x3_weight_gradient(&x, &grad, shape, output)),
            ] {
                assert_eq!(slow.len(), fast.len());
                for (slow, fast) in slow.iter().zip(&fast) {
                    assert!((slow - fast).abs() < 1e-3, "{what} of {shape:?}: {fast} is not {slow}");
                }
            }
        }
    }
}
