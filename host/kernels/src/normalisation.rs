//! Batch normalization with `max(x, 0)`, a channel at a time: what a channel holds stays in the cache.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Added to the variance.
pub const EPSILON: f64 = 1e-5;

/// A channel's mean and variance over a batch, the variance not corrected for its number.
#[derive(Debug, Clone, Copy)]
pub struct Statistics {
    /// Mean.
    pub mean: f32,
    /// Variance.
    pub variance: f32,
}

impl Statistics {
    pub(crate) fn inverse_deviation(self) -> f32 {
        (f64::from(self.variance) + EPSILON).sqrt().recip() as f32
    }

    pub(crate) fn line(self, scale: f32, shift: f32) -> Line {
        let factor = scale * self.inverse_deviation();
        Line { factor, offset: shift - self.mean * factor }
    }
}

/// The gradients of input, scale and shift.
#[derive(Debug, Clone)]
pub struct NormalisationGradients {
    /// `[n, c, h, w]`.
    pub x: Vec<f32>,
    /// `[c]`.
    pub scale: Vec<f32>,
    /// `[c]`.
    pub shift: Vec<f32>,
}

/// `max(scale (x - mean) / deviation + shift, 0)` by the batch's own mean and deviation, for `x` `[n, c, h, w]`, and
/// each channel's statistics.
pub fn normalise(
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
pub fn normalise_gradients(
    grad: &[f32],
    x: &[f32],
    statistics: &[Statistics],
    [scale, shift]: [&[f32]; 2],
    [n, c, h, w]: [usize; 4],
) -> NormalisationGradients {
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
    NormalisationGradients {
        x: dx,
        scale: sums.iter().map(|sums| sums[0]).collect(),
        shift: sums.iter().map(|sums| sums[1]).collect(),
    }
}

/// A channel's plane of every image.
fn planes(x: &[f32], channel: usize, channels: usize, area: usize) -> Vec<&[f32]> {
    x.chunks_exact(area).skip(channel).step_by(channels).collect()
}

/// For each channel its plane of every image, to write to.
fn planes_mut(x: &mut [f32], channels: usize, area: usize) -> Vec<Vec<&mut [f32]>> {
    let mut planes: Vec<Vec<&mut [f32]>> = (0..channels).map(|_| Vec::new()).collect();
    for (index, plane) in x.chunks_exact_mut(area).enumerate() {
        planes[index % channels].push(plane);
    }
    planes
}

/// `max(factor x + offset, 0)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub(crate) factor: f32,
    pub(crate) offset: f32,
}

impl Line {
    #[inline(always)]
    fn at(self, x: f32) -> f32 {
        x * self.factor + self.offset
    }
}

/// Parallel partial sums, so that additions need not wait for each other.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, seed: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 1.7 + seed).sin() * 2.0 + 0.3).collect()
    }

    /// The definition, in double precision.
    fn slow(x: &[f32], scale: &[f32], shift: &[f32], [n, c, h, w]: [usize; 4]) -> Vec<f64> {
        let area = h * w;
        let mut y = vec![0.0; x.len()];
        for channel in 0..c {
            let places: Vec<usize> = (0..n)
                .flat_map(|picture| (0..area).map(move |at| (picture * c + channel) * area + at))
                .collect();
            let count = places.len() as f64;
            let mean = places.iter().map(|&at| f64::from(x[at])).sum::<f64>() / count;
            let variance = places.iter().map(|&at| (f64::from(x[at]) - mean).powi(2)).sum::<f64>() / count;
            for at in places {
                let standard = (f64::from(x[at]) - mean) / (variance + EPSILON).sqrt();
                y[at] = (standard * f64::from(scale[channel]) + f64::from(shift[channel])).max(0.0);
            }
        }
        y
    }

    #[test]
    fn values_are_the_definition_and_gradients_its_slope() {
        let shape @ [n, c, h, w] = [2, 3, 5, 9];
        let mut x = values(n * c * h * w, 0.4);
        let (mut scale, mut shift) = (vec![0.7, -1.2, 1.5], vec![0.3, 0.1, -0.2]);
        let (y, statistics) = normalise(&x, &scale, &shift, shape);
        for (a, b) in y.iter().zip(slow(&x, &scale, &shift, shape)) {
            assert!((f64::from(*a) - b).abs() < 1e-4);
        }
        let grad = values(x.len(), 2.0);
        let gradients = normalise_gradients(&grad, &x, &statistics, [&scale, &shift], shape);
        let loss = |x: &[f32], scale: &[f32], shift: &[f32]| -> f64 {
            slow(x, scale, shift, shape).iter().zip(&grad).map(|(y, &g)| y * f64::from(g)).sum()
        };
        let close = |measured: f64, slope: f32, what: &str| {
            assert!((measured - f64::from(slope)).abs() < 0.02, "{what}: {slope} is not {measured}");
        };
        let step = 1e-3_f32;
        for at in (0..x.len()).step_by(7) {
            let here = x[at];
            x[at] = here + step;
            let above = loss(&x, &scale, &shift);
            x[at] = here - step;
            let below = loss(&x, &scale, &shift);
            x[at] = here;
            close((above - below) / 2e-3, gradients.x[at], "input");
        }
        for channel in 0..c {
            for (which, slope) in [(0, gradients.scale[channel]), (1, gradients.shift[channel])] {
                let mut at_offset = |offset: f32| {
                    if which == 0 {
                        scale[channel] += offset
                    } else {
                        shift[channel] += offset
                    }
                    let loss = loss(&x, &scale, &shift);
                    if which == 0 {
                        scale[channel] -= offset
                    } else {
                        shift[channel] -= offset
                    }
                    loss
                };
                close((at_offset(step) - at_offset(-step)) / 2e-3, slope, "parameter");
            }
        }
    }
}
