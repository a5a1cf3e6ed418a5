//! What is done to maps number by number: normalization with `max(x, 0)`, pooling, skips, and their gradients.

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
    let mut y = [0.0; PICTURES];
    for lane in 0..PICTURES {
        y[lane] = f(a.0[lane]);
    }
    Floats(y)
}

#[inline(always)]
fn map2(a: &Floats, b: &Floats, f: impl Fn(f32, f32) -> f32) -> Floats {
    let mut y = [0.0; PICTURES];
    for lane in 0..PICTURES {
        y[lane] = f(a.0[lane], b.0[lane]);
    }
    Floats(y)
}

/// For each channel the sums of `terms` over the map's rows, in double precision, in the order of rows.
fn channel_sums<const N: usize>(
    size: Size,
    rows: usize,
    terms: impl Fn(usize, usize, usize) -> [Floats; N] + Sync,
) -> Vec<[f64; N]> {
    const BLOCK: usize = 4;
    let of_rows: Vec<Vec<[f32; N]>> = (0..rows)
        .into_par_iter()
        .map(|row| {
            let mut totals = vec![[0.0; N]; size.channels];
            wide(
                #[inline(always)]
                || {
                    for (block, totals) in totals.chunks_mut(BLOCK).enumerate() {
                        let mut sums = [[Floats::ZERO; N]; BLOCK];
                        for pixel in 0..size.width {
                            for (c, sums) in sums.iter_mut().enumerate().take(totals.len()) {
                                let channel = block * BLOCK + c;
                                let terms = terms(row, pixel * size.channels + channel, channel);
                                for n in 0..N {
                                    sums[n] = map2(&sums[n], &terms[n], |a, b| a + b);
                                }
                            }
                        }
                        for (total, sums) in totals.iter_mut().zip(&sums) {
                            *total = std::array::from_fn(|n| sums[n].total() as f32);
                        }
                    }
                },
            );
            totals
        })
        .collect();
    let mut totals = vec![[0.0; N]; size.channels];
    for row in &of_rows {
        for (total, row) in totals.iter_mut().zip(row) {
            for n in 0..N {
                total[n] += f64::from(row[n]);
            }
        }
    }
    totals
}

/// Mean and variance of every channel. Places without a picture must hold zeros.
pub fn statistics(z: &Raw, pictures: Pictures) -> Vec<Statistics> {
    let count = (pictures.0 * z.size.height * z.size.width) as f64;
    let sums = channel_sums(z.size, pictures.groups() * z.size.height, |row, at, _| {
        let z = &z.row(row)[at];
        [*z, map1(z, |z| z * z)]
    });
    sums.into_iter()
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
            let square = [&upper[at], &upper[at + channels], &lower[at], &lower[at + channels]];
            let [a, b, c, d] = square.map(|z| relu(z, lines[channel]));
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
                for (at, grad) in grad.row(row).iter().enumerate() {
                    let channel = at % channels;
                    let left = (at - channel) * 2 + channel;
                    let right = left + channels;
                    let line = lines[channel];
                    let [a, b, c, d] =
                        [&upper[left], &upper[right], &lower[left], &lower[right]].map(|z| relu(z, line));
                    let greatest = map2(&map2(&a, &b, f32::max), &map2(&c, &d, f32::max), f32::max);
                    let mut rest = *grad;
                    let mut share = |value: &Floats, to: &mut Floats| {
                        for lane in 0..PICTURES {
                            let share = if value.0[lane] == greatest.0[lane] { rest.0[lane] } else { 0.0 };
                            to.0[lane] += share;
                            rest.0[lane] -= share;
                        }
                    };
                    share(&a, &mut to_upper[left]);
                    share(&b, &mut to_upper[right]);
                    share(&c, &mut to_lower[left]);
                    share(&d, &mut to_lower[right]);
                }
            },
        );
    });
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
    let channels = z.size.channels;
    let sums = channel_sums(
        z.size,
        pictures.groups() * z.size.height,
        #[inline(always)]
        |row, at, channel| {
            let z = &z.row(row)[at];
            let passed = passed(&grad.row(row)[at], z, lines[channel]);
            [passed, map2(&passed, z, |g, z| g * z)]
        },
    );
    let gradients: Vec<[f32; 2]> = sums
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
