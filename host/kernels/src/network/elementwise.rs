//! What is done to maps number by number: normalization with `max(x, 0)`, pooling, skips, and their gradients.

#![allow(clippy::needless_range_loop, reason = "a lane is the same place in several lines")]

use rayon::prelude::*;

use super::convolution::rounded;
use super::lines::{Floats, Map, PICTURES, Precision, Raw, Size, Words};
use super::machine::wide;
use crate::normalisation::{Line, Statistics};

/// The pictures of a batch: groups of sixteen, the last of which need not be full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pictures(pub usize);

impl Pictures {
    pub const fn groups(self) -> usize {
        self.0.div_ceil(PICTURES)
    }

    /// One for each picture of a group, zero for the places after the last.
    fn mask(self, group: usize) -> [f32; PICTURES] {
        std::array::from_fn(|lane| if group * PICTURES + lane < self.0 { 1.0 } else { 0.0 })
    }
}

#[inline(always)]
fn map1(a: &Floats, f: impl Fn(f32) -> f32) -> Floats {
    let mut y = Floats::ZERO;
    for (y, &a) in y.0.iter_mut().zip(&a.0) {
        *y = f(a);
    }
    y
}

#[inline(always)]
fn map2(a: &Floats, b: &Floats, f: impl Fn(f32, f32) -> f32) -> Floats {
    let mut y = Floats::ZERO;
    for (y, (&a, &b)) in y.0.iter_mut().zip(a.0.iter().zip(&b.0)) {
        *y = f(a, b);
    }
    y
}

/// For each channel the sums of `terms` over a run of pixels, given the place of a line and its channel.
#[inline(always)]
fn pixel_sums<const N: usize>(
    pixels: usize,
    channels: usize,
    terms: impl Fn(usize, usize) -> [Floats; N],
) -> Vec<[f32; N]> {
    const BLOCK: usize = 4;
    let mut totals = vec![[0.0; N]; channels];
    wide(
        #[inline(always)]
        || {
            for (block, totals) in totals.chunks_mut(BLOCK).enumerate() {
                let mut sums = [[Floats::ZERO; N]; BLOCK];
                for pixel in 0..pixels {
                    for (c, sums) in sums.iter_mut().enumerate().take(totals.len()) {
                        let channel = block * BLOCK + c;
                        let terms = terms(pixel * channels + channel, channel);
                        for (sum, term) in sums.iter_mut().zip(&terms) {
                            *sum = map2(sum, term, |a, b| a + b);
                        }
                    }
                }
                for (total, sums) in totals.iter_mut().zip(&sums) {
                    for (total, sum) in total.iter_mut().zip(sums) {
                        *total = sum.total() as f32;
                    }
                }
            }
        },
    );
    totals
}

/// The sum of what [`pixel_sums`] gave for each of several runs, in their order, in double precision.
fn total<const N: usize>(runs: &[Vec<[f32; N]>], channels: usize) -> Vec<[f64; N]> {
    let mut totals = vec![[0.0; N]; channels];
    for run in runs {
        for (total, run) in totals.iter_mut().zip(run) {
            for (total, &run) in total.iter_mut().zip(run) {
                *total += f64::from(run);
            }
        }
    }
    totals
}

/// A run's sum and sum of squares for each channel. Places without a picture must hold zeros.
pub fn moments(lines: &[Floats], channels: usize) -> Vec<[f32; 2]> {
    pixel_sums(
        lines.len() / channels,
        channels,
        #[inline(always)]
        |at, _| [lines[at], map2(&lines[at], &lines[at], |a, b| a * b)],
    )
}

/// Mean and variance of every channel, from the [`moments`] of all runs of a map.
pub fn statistics(runs: &[Vec<[f32; 2]>], size: Size, pictures: Pictures) -> Vec<Statistics> {
    let count = (pictures.0 * size.height * size.width) as f64;
    total(runs, size.channels)
        .into_iter()
        .map(|[sum, squares]| {
            let mean = sum / count;
            Statistics { mean: mean as f32, variance: (squares / count - mean * mean).max(0.0) as f32 }
        })
        .collect()
}

/// Fills a map's inside with what `value` gives for a row, a pixel and a channel.
pub fn fill(map: &mut Map, pictures: Pictures, value: impl Fn(usize, usize, usize) -> Floats + Sync) {
    let (size, precision, units, row_lines) = (map.size, map.precision, map.units(), map.row());
    let height = size.height;
    let inside = |at: usize| {
        let (group, row) = (at / (height + 2), at % (height + 2));
        (1..=height).contains(&row).then(|| (group, group * height + row - 1))
    };
    let rows = map.by_channel.par_chunks_exact_mut(row_lines).enumerate();
    match precision {
        Precision::F32 => rows.for_each(|(at, to)| {
            let Some((group, row)) = inside(at) else { return };
            let mask = Floats(pictures.mask(group));
            wide(
                #[inline(always)]
                || {
                    let to = &mut to[units..units + size.width * units];
                    for (pixel, to) in to.chunks_exact_mut(units).enumerate() {
                        for (channel, to) in to.iter_mut().enumerate() {
                            let y = map2(&value(row, pixel, channel), &mask, |y, mask| y * mask);
                            to.0 = y.0.map(f32::to_bits);
                        }
                    }
                },
            );
        }),
        Precision::Bf16 => {
            rows.zip(map.by_picture.par_chunks_exact_mut(row_lines)).for_each(|((at, to), by_picture)| {
                let Some((group, row)) = inside(at) else { return };
                let mask = Floats(pictures.mask(group));
                wide(
                    #[inline(always)]
                    || {
                        let inside = units..units + size.width * units;
                        let to = to[inside.clone()].chunks_exact_mut(units);
                        let by_picture = by_picture[inside].chunks_exact_mut(units);
                        for (pixel, (to, by_picture)) in to.zip(by_picture).enumerate() {
                            for (unit, (to, by_picture)) in to.iter_mut().zip(by_picture).enumerate() {
                                let a = map2(&value(row, pixel, 2 * unit), &mask, |y, mask| y * mask);
                                let b = if 2 * unit + 1 < size.channels {
                                    map2(&value(row, pixel, 2 * unit + 1), &mask, |y, mask| y * mask)
                                } else {
                                    Floats::ZERO
                                };
                                store_pair(&a, &b, to, by_picture);
                            }
                        }
                    },
                );
            });
        }
    }
}

/// Stores two channels in both orders.
#[inline(always)]
fn store_pair(a: &Floats, b: &Floats, by_channel: &mut Words, by_picture: &mut Words) {
    let (mut low, mut high) = ([0_u32; PICTURES], [0_u32; PICTURES]);
    for lane in 0..PICTURES {
        low[lane] = rounded(a.0[lane]) >> 16;
        high[lane] = rounded(b.0[lane]) & 0xffff_0000;
    }
    for lane in 0..PICTURES {
        by_channel.0[lane] = low[lane] | high[lane];
    }
    for lane in 0..PICTURES / 2 {
        by_picture.0[lane] = low[2 * lane] | low[2 * lane + 1] << 16;
        by_picture.0[PICTURES / 2 + lane] = high[2 * lane] >> 16 | high[2 * lane + 1];
    }
}

/// `max(line(z), 0)` for every number.
pub fn apply(z: &Raw, lines: &[Line], pictures: Pictures, map: &mut Map) {
    let channels = z.size.channels;
    fill(
        map,
        pictures,
        #[inline(always)]
        |row, pixel, channel| relu(&z.row(row)[pixel * channels + channel], lines[channel]),
    );
}

/// The sum of two normalized maps.
pub fn join([a, b]: [&Raw; 2], lines: [&[Line]; 2], pictures: Pictures, map: &mut Map) {
    let channels = a.size.channels;
    fill(
        map,
        pictures,
        #[inline(always)]
        |row, pixel, channel| {
            let at = pixel * channels + channel;
            let (a, b) = (relu(&a.row(row)[at], lines[0][channel]), relu(&b.row(row)[at], lines[1][channel]));
            map2(&a, &b, |a, b| a + b)
        },
    );
}

/// The greatest of each 2x2 square of a normalized map.
pub fn pool(z: &Raw, lines: &[Line], pictures: Pictures, map: &mut Map) {
    let channels = z.size.channels;
    fill(
        map,
        pictures,
        #[inline(always)]
        |row, pixel, channel| {
            let at = 2 * pixel * channels + channel;
            let (upper, lower) = (z.row(2 * row), z.row(2 * row + 1));
            let (line, right) = (lines[channel], at + channels);
            let (a, b) = (relu(&upper[at], line), relu(&upper[right], line));
            let (c, d) = (relu(&lower[at], line), relu(&lower[right], line));
            map2(&map2(&a, &b, f32::max), &map2(&c, &d, f32::max), f32::max)
        },
    );
}

#[inline(always)]
fn relu(z: &Floats, line: Line) -> Floats {
    map1(z, |z| (z * line.factor + line.offset).max(0.0))
}

/// Adds the gradient of a pooled map to that of what it was made of: each square's goes to its greatest value, the
/// first of equals.
pub fn unpool(grad: &Raw, z: &Raw, lines: &[Line], to: &mut Raw) {
    let (channels, row_lines) = (z.size.channels, z.size.row());
    to.lines.par_chunks_exact_mut(2 * row_lines).enumerate().for_each(|(row, to)| {
        wide(
            #[inline(always)]
            || {
                let (upper, lower) = (z.row(2 * row), z.row(2 * row + 1));
                let (to_upper, to_lower) = to.split_at_mut(row_lines);
                let grad = grad.row(row).chunks_exact(channels).enumerate();
                let grad = grad.flat_map(|(pixel, grad)| {
                    grad.iter().enumerate().map(move |(channel, grad)| (pixel, channel, grad))
                });
                for (pixel, channel, grad) in grad {
                    let left = 2 * pixel * channels + channel;
                    let right = left + channels;
                    let line = lines[channel];
                    let (a, b) = (relu(&upper[left], line), relu(&upper[right], line));
                    let (c, d) = (relu(&lower[left], line), relu(&lower[right], line));
                    let greatest = map2(&map2(&a, &b, f32::max), &map2(&c, &d, f32::max), f32::max);
                    let mut rest = *grad;
                    share(&a, &greatest, &mut rest, &mut to_upper[left]);
                    share(&b, &greatest, &mut rest, &mut to_upper[right]);
                    share(&c, &greatest, &mut rest, &mut to_lower[left]);
                    share(&d, &greatest, &mut rest, &mut to_lower[right]);
                }
            },
        );
    });
}

/// Adds what is left of a gradient where a value is the greatest, and leaves nothing of it there.
#[inline(always)]
fn share(value: &Floats, greatest: &Floats, rest: &mut Floats, to: &mut Floats) {
    for lane in 0..PICTURES {
        let share = if value.0[lane] == greatest.0[lane] { rest.0[lane] } else { 0.0 };
        to.0[lane] += share;
        rest.0[lane] -= share;
    }
}

/// The gradients of scale and shift, and that of a normalization's input as a map.
pub fn normalise_gradient(
    grad: &Raw,
    z: &Raw,
    (lines, statistics): (&[Line], &[Statistics]),
    pictures: Pictures,
    map: &mut Map,
) -> Vec<[f32; 2]> {
    let count = (pictures.0 * z.size.height * z.size.width) as f32;
    let (size, channels) = (z.size, z.size.channels);
    let rows: Vec<Vec<[f32; 2]>> = (0..pictures.groups() * z.size.height)
        .into_par_iter()
        .map(|row| {
            let (grad, z) = (grad.row(row), z.row(row));
            pixel_sums(
                size.width,
                channels,
                #[inline(always)]
                |at, channel| {
                    let passed = passed(&grad[at], &z[at], lines[channel]);
                    [passed, map2(&passed, &z[at], |g, z| g * z)]
                },
            )
        })
        .collect();
    let gradients: Vec<[f32; 2]> = total(&rows, channels)
        .iter()
        .zip(statistics)
        .map(|(&[shift, product], statistics)| {
            let inverse = f64::from(statistics.inverse_deviation());
            [(inverse * (product - f64::from(statistics.mean) * shift)) as f32, shift as f32]
        })
        .collect();
    // dx = factor (g - shift / count - standard scale / count): linear in g and in z.
    let inputs: Vec<Line> = gradients
        .iter()
        .zip(lines)
        .zip(statistics)
        .map(|((&[scale, shift], line), statistics)| {
            let factor = -line.factor * statistics.inverse_deviation() * scale / count;
            Line { factor, offset: -line.factor * shift / count - factor * statistics.mean }
        })
        .collect();
    fill(
        map,
        pictures,
        #[inline(always)]
        |row, pixel, channel| {
            let at = pixel * channels + channel;
            let (z, line, input) = (&z.row(row)[at], lines[channel], inputs[channel]);
            let passed = passed(&grad.row(row)[at], z, line);
            map2(&passed, z, |g, z| line.factor * g + (input.factor * z + input.offset))
        },
    );
    gradients
}

/// The gradient where `max(line(z), 0)` lets it through.
#[inline(always)]
fn passed(grad: &Floats, z: &Floats, line: Line) -> Floats {
    map2(grad, z, |grad, z| if z * line.factor + line.offset > 0.0 { grad } else { 0.0 })
}
