//! Batch normalisation with `max(x, 0)`, a channel at a time: what a channel holds stays in the cache.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::train::normalisation::EPSILON;

/// A channel's mean and variance over a batch, the variance not corrected for its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Statistics {
    /// Mean.
    pub mean: f32,
    /// Variance.
    pub variance: f32,
}

impl Statistics {
    fn inverse_deviation(self) -> f32 {
        (f64::from(self.variance) + EPSILON).sqrt().recip() as f32
    }

    fn line(self, scale: f32, shift: f32) -> Line {
        let factor = scale * self.inverse_deviation();
        Line { factor, offset: shift - self.mean * factor }
    }
}

/// The gradients of input, scale and shift.
pub(super) struct Gradients {
    /// `[n, c, h, w]`.
    pub x: Vec<f32>,
    /// `[c]`.
    pub scale: Vec<f32>,
    /// `[c]`.
    pub shift: Vec<f32>,
}

/// `max(scale (x - mean) / deviation + shift, 0)` for `x` `[n, c, h, w]`, and each channel's statistics.
pub(super) fn forward(
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    [_, c, h, w]: [usize; 4],
) -> (Vec<f32>, Vec<Statistics>) {
    let area = h * w;
    let mut y = vec![0.0; x.len()];
    let statistics = planes_mut(&mut y, c, area)
        .into_par_iter()
        .enumerate()
        .map(|(channel, mut y)| {
            let x = planes(x, channel, c, area);
            let statistics = Arch::new().dispatch(Measure { x: &x });
            let line = statistics.line(scale[channel], shift[channel]);
            Arch::new().dispatch(Apply { x: &x, line, y: &mut y });
            statistics
        })
        .collect();
    (y, statistics)
}

/// The gradients, from that of the result, `grad` `[n, c, h, w]`.
pub(super) fn backward(
    grad: &[f32],
    x: &[f32],
    statistics: &[Statistics],
    [scale, shift]: [&[f32]; 2],
    [n, c, h, w]: [usize; 4],
) -> Gradients {
    let area = h * w;
    let count = (n * area) as f32;
    let mut dx = vec![0.0; x.len()];
    let sums: Vec<[f32; 2]> = planes_mut(&mut dx, c, area)
        .into_par_iter()
        .enumerate()
        .map(|(channel, mut dx)| {
            let (x, grad) = (planes(x, channel, c, area), planes(grad, channel, c, area));
            let (statistics, inverse) = (statistics[channel], statistics[channel].inverse_deviation());
            let line = statistics.line(scale[channel], shift[channel]);
            let [shift_sum, product] = Arch::new().dispatch(Sums { x: &x, grad: &grad, line });
            let scale_sum = inverse * (product - statistics.mean * shift_sum);
            // dx = factor (g - shift_sum / count - standard scale_sum / count): linear in g and in x.
            let slope = -line.factor * inverse * scale_sum / count;
            let constant = -line.factor * shift_sum / count - slope * statistics.mean;
            Arch::new().dispatch(Spread { x: &x, grad: &grad, line, slope, constant, dx: &mut dx });
            [scale_sum, shift_sum]
        })
        .collect();
    Gradients {
        x: dx,
        scale: sums.iter().map(|sums| sums[0]).collect(),
        shift: sums.iter().map(|sums| sums[1]).collect(),
    }
}

/// A channel's plane of every picture.
fn planes(x: &[f32], channel: usize, channels: usize, area: usize) -> Vec<&[f32]> {
    x.chunks_exact(area).skip(channel).step_by(channels).collect()
}

/// For each channel its plane of every picture, to write to.
fn planes_mut(x: &mut [f32], channels: usize, area: usize) -> Vec<Vec<&mut [f32]>> {
    let mut planes: Vec<Vec<&mut [f32]>> = (0..channels).map(|_| Vec::new()).collect();
    for (index, plane) in x.chunks_exact_mut(area).enumerate() {
        planes[index % channels].push(plane);
    }
    planes
}

/// `max(factor x + offset, 0)`.
#[derive(Clone, Copy)]
struct Line {
    factor: f32,
    offset: f32,
}

impl Line {
    #[inline(always)]
    fn at(self, x: f32) -> f32 {
        x * self.factor + self.offset
    }
}

/// Sums that run side by side, so that additions need not wait for each other.
const SUMS: usize = 32;

/// The sum of `term` over a plane, or over two of one length.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f64 {
    let mut sums = [0.0; SUMS];
    let (a, b) = (a.chunks_exact(SUMS), b.chunks_exact(SUMS));
    let rest = a.remainder().iter().zip(b.remainder()).map(|(&a, &b)| f64::from(term(a, b))).sum::<f64>();
    for (a, b) in a.zip(b) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += term(a, b);
        }
    }
    rest + sums.iter().copied().map(f64::from).sum::<f64>()
}

struct Measure<'a> {
    x: &'a [&'a [f32]],
}

impl WithSimd for Measure<'_> {
    type Output = Statistics;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Statistics {
        let count: usize = self.x.iter().map(|x| x.len()).sum();
        let mut total = 0.0;
        for x in self.x {
            total += sum(x, x, |x, _| x);
        }
        let mean = (total / count as f64) as f32;
        let mut total = 0.0;
        for x in self.x {
            total += sum(x, x, |x, _| (x - mean) * (x - mean));
        }
        Statistics { mean, variance: (total / count as f64) as f32 }
    }
}

struct Apply<'a, 'b> {
    x: &'a [&'a [f32]],
    line: Line,
    y: &'a mut [&'b mut [f32]],
}

impl WithSimd for Apply<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            for (y, &x) in y.iter_mut().zip(*x) {
                *y = self.line.at(x).max(0.0);
            }
        }
    }
}

/// The sums of `g` and of `g x`, where `g` is the gradient that `max` let through.
struct Sums<'a> {
    x: &'a [&'a [f32]],
    grad: &'a [&'a [f32]],
    line: Line,
}

impl WithSimd for Sums<'_> {
    type Output = [f32; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [f32; 2] {
        let Self { x, grad, line } = self;
        let mut totals = [0.0; 2];
        for (x, grad) in x.iter().zip(grad) {
            totals[0] += sum(x, grad, |x, grad| if line.at(x) > 0.0 { grad } else { 0.0 });
            totals[1] += sum(x, grad, |x, grad| if line.at(x) > 0.0 { grad * x } else { 0.0 });
        }
        totals.map(|total| total as f32)
    }
}

struct Spread<'a, 'b> {
    x: &'a [&'a [f32]],
    grad: &'a [&'a [f32]],
    line: Line,
    slope: f32,
    constant: f32,
    dx: &'a mut [&'b mut [f32]],
}

impl WithSimd for Spread<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, grad, line, slope, constant, dx } = self;
        for ((dx, x), grad) in dx.iter_mut().zip(x).zip(grad) {
            for ((dx, &x), &grad) in dx.iter_mut().zip(*x).zip(*grad) {
                let passed = if line.at(x) > 0.0 { grad } else { 0.0 };
                *dx = line.factor * passed + (slope * x + constant);
            }
        }
    }
}
