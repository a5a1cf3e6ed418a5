//! From a camera image to the network's input: contrast, color order, size.

use alloc::{vec, vec::Vec};
use serde::{Deserialize, Serialize};

use crate::image::{Channels, Image};
use crate::parallel::{ParallelFor, Sequential};
use crate::units::Scale;

/// How samples of 0 to 255 become network input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Scaling {
    /// `x / 255`, as the classic tutorial does.
    UnitRange,
    /// Contrast stretch of each image: the `low` and `high` quantiles of all its samples become 0
    /// and 1, the rest is clamped. The span is at least `min_span`, so that noise is not blown up.
    Stretch {
        /// Quantile that becomes 0, 0 to 1.
        low: f32,
        /// Quantile that becomes 1, 0 to 1.
        high: f32,
        /// Least span of samples, 1 to 255.
        min_span: u8,
    },
}

impl Scaling {
    /// The stretch that the shipped models are trained with.
    pub const STRETCH: Self = Self::Stretch { low: 0.005, high: 0.995, min_span: 16 };

    /// The network input for each sample value of this image.
    pub fn table(self, image: &Image) -> [f32; 256] {
        self.table_by(image, &Sequential)
    }

    fn table_by(self, image: &Image, threads: &impl ParallelFor) -> [f32; 256] {
        let (low, span) = match self {
            Self::UnitRange => (0, 255),
            Self::Stretch { low, high, min_span } => {
                let (low, high) = quantiles(image, low, high, threads);
                (low, (high - low).max(u32::from(min_span.max(1))))
            }
        };
        core::array::from_fn(|sample| {
            let above = sample as f32 - low as f32;
            (above / span as f32).clamp(0.0, 1.0)
        })
    }
}

/// Minimum samples per thread.
const PART: usize = 1 << 16;

/// The sample values at two quantiles of all samples of a picture.
fn quantiles(image: &Image, low: f32, high: f32, threads: &impl ParallelFor) -> (u32, u32) {
    let parts = image.samples_hwc().chunks(PART);
    let mut histograms = vec![[0; 256]; parts.len()];
    threads.for_each(histograms.iter_mut().zip(parts).collect(), |(counts, samples)| {
        *counts = histogram(samples);
    });
    let histogram: [u32; 256] =
        core::array::from_fn(|value| histograms.iter().map(|counts| counts[value]).sum());
    let total = image.samples_hwc().len() as f32;
    let value_at = |quantile: f32| {
        let rank = (quantile * total) as u64;
        let mut seen = 0u64;
        histogram.iter().position(|&n| {
            seen += u64::from(n);
            seen > rank
        })
    };
    (value_at(low).unwrap_or(255) as u32, value_at(high).unwrap_or(255) as u32)
}

/// Histogram of the values.
pub(crate) fn histogram(samples: &[u8]) -> [u32; 256] {
    // Neighbors are often equal, and one would wait until the other is counted: they take turns.
    let mut turns = [[0u32; 256]; 4];
    let (fours, rest) = samples.as_chunks::<4>();
    for samples in fours.iter().map(<[u8; 4]>::as_slice).chain([rest]) {
        for (histogram, &sample) in turns.iter_mut().zip(samples) {
            histogram[usize::from(sample)] += 1;
        }
    }
    core::array::from_fn(|value| turns.iter().map(|turn| turn[value]).sum())
}

/// Planes of numbers, `[planes, height, width]`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Planes {
    width: usize,
    height: usize,
    values_chw: Vec<f32>,
}

impl Planes {
    /// Planes of zeros.
    pub fn zeros(planes: usize, width: usize, height: usize) -> Self {
        Self { width, height, values_chw: vec![0.0; planes * width * height] }
    }

    /// Wraps values laid out `[planes, height, width]`.
    ///
    /// # Panics
    /// When the values do not fill whole planes.
    pub fn new(width: usize, height: usize, values_chw: Vec<f32>) -> Self {
        assert_eq!(values_chw.len() % (width * height), 0, "whole planes");
        Self { width, height, values_chw }
    }

    /// The image's values as the network's, one plane for gray and three (red, green, blue) for color.
    pub fn from_image(image: &Image, scaling: Scaling) -> Self {
        Self::from_image_within(image, scaling, Vec::new(), &Sequential)
    }

    /// The same, in memory that planes had before, see [`Planes::into_values`].
    pub(crate) fn from_image_within(
        image: &Image,
        scaling: Scaling,
        memory: Vec<f32>,
        threads: &impl ParallelFor,
    ) -> Self {
        let table = scaling.table_by(image, threads);
        let channels = image.channels().count();
        let (width, height) = (image.width() as usize, image.height() as usize);
        let mut values_chw = memory;
        values_chw.resize(channels * width * height, 0.0);
        match image.channels() {
            Channels::Grey => {
                look_up(&table, image.samples_hwc().as_chunks::<1>().0, &mut values_chw, threads);
            }
            Channels::Rgb => {
                look_up(&table, image.samples_hwc().as_chunks::<3>().0, &mut values_chw, threads);
            }
        }
        Self { width, height, values_chw }
    }

    /// The values, `[planes, height, width]`.
    pub fn into_values(self) -> Vec<f32> {
        self.values_chw
    }

    /// Values across.
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Values down.
    pub const fn height(&self) -> usize {
        self.height
    }

    /// Number of planes.
    pub fn count(&self) -> usize {
        self.values_chw.len() / (self.width * self.height)
    }

    /// One plane, `[height, width]`.
    pub fn plane(&self, index: usize) -> &[f32] {
        let size = self.width * self.height;
        &self.values_chw[index * size..(index + 1) * size]
    }

    /// One plane, to write to.
    pub fn plane_mut(&mut self, index: usize) -> &mut [f32] {
        let size = self.width * self.height;
        &mut self.values_chw[index * size..(index + 1) * size]
    }

    /// Every plane, to write to.
    pub(crate) fn planes_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.values_chw.chunks_exact_mut(self.width * self.height)
    }

    /// Resized with a triangle filter, widened when shrinking so that nothing aliases
    /// (bilinear interpolation when growing). Pixel centers lie at half-integers.
    #[must_use]
    pub fn resized(&self, width: usize, height: usize) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let (across, down) = (Taps::new(self.width, width), Taps::new(self.height, height));
        let mut resized = Self::zeros(self.count(), width, height);
        let mut rows = vec![0.0; self.height * width];
        for index in 0..self.count() {
            for (source, row) in self.plane(index).chunks_exact(self.width).zip(rows.chunks_exact_mut(width))
            {
                for (value, (first, weights)) in row.iter_mut().zip(across.iter()) {
                    *value = source[first..].iter().zip(weights).map(|(s, w)| s * w).sum();
                }
            }
            for (target, (first, weights)) in
                resized.plane_mut(index).chunks_exact_mut(width).zip(down.iter())
            {
                for (row, &weight) in rows[first * width..].chunks_exact(width).zip(weights) {
                    for (value, &source) in target.iter_mut().zip(row) {
                        *value += weight * source;
                    }
                }
            }
        }
        resized
    }
}

/// Puts the table's values for the samples of pixels, `[height, width, channels]`, into planes.
fn look_up<const CHANNELS: usize>(
    table: &[f32; 256],
    pixels: &[[u8; CHANNELS]],
    values_chw: &mut [f32],
    threads: &impl ParallelFor,
) {
    let planes = values_chw.chunks_exact_mut(pixels.len()).enumerate();
    let parts = planes.flat_map(|(channel, plane)| {
        plane.chunks_mut(PART).zip(pixels.chunks(PART)).map(move |(values, pixels)| (channel, values, pixels))
    });
    threads.for_each(parts.collect(), |(channel, values, pixels)| {
        for (value, pixel) in values.iter_mut().zip(pixels) {
            *value = table[usize::from(pixel[channel])];
        }
    });
}

/// For each target sample the first source sample and the weights of it and its followers.
struct Taps {
    firsts: Vec<usize>,
    weights: Vec<f32>,
    width: usize,
}

impl Taps {
    fn new(source: usize, target: usize) -> Self {
        let ratio = source as f32 / target as f32;
        let support = ratio.max(1.0);
        let width = (libm::ceilf(support) as usize * 2 + 1).min(source);
        let mut firsts = Vec::with_capacity(target);
        let mut weights = Vec::with_capacity(target * width);
        for index in 0..target {
            let centre = (index as f32 + 0.5) * ratio;
            let first = (libm::floorf(centre - support).max(0.0) as usize).min(source - width);
            let start = weights.len();
            weights.extend((first..first + width).map(|tap| {
                let distance = libm::fabsf(tap as f32 + 0.5 - centre) / support;
                (1.0 - distance).max(0.0)
            }));
            let sum: f32 = weights[start..].iter().sum();
            weights[start..].iter_mut().for_each(|weight| *weight /= sum);
            firsts.push(first);
        }
        Self { firsts, weights, width }
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.firsts.iter().copied().zip(self.weights.chunks_exact(self.width))
    }
}

/// A side of an image after resizing by `scale`: rounded, at least 1.
pub fn scaled_side(side: u32, scale: Scale) -> usize {
    (libm::roundf(side as f32 * scale.get()) as usize).max(1)
}

/// The image as RGB whatever it was: gray is repeated.
pub fn rgb_samples(image: &Image) -> Vec<u8> {
    match image.channels() {
        Channels::Rgb => image.samples_hwc().to_vec(),
        Channels::Grey => image.samples_hwc().iter().flat_map(|&grey| [grey; 3]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretch_maps_quantiles_and_spares_noise() {
        let samples: Vec<u8> = (0..200).map(|i| if i < 100 { 20 } else { 120 }).collect();
        let image = Image::new(20, 10, Channels::Grey, samples).unwrap();
        let table = Scaling::STRETCH.table(&image);
        assert_eq!((table[20], table[120], table[70]), (0.0, 1.0, 0.5));
        let flat = Image::new(2, 1, Channels::Grey, vec![7, 8]).unwrap();
        assert_eq!(Scaling::STRETCH.table(&flat)[8], 1.0 / 16.0);
        assert_eq!(Scaling::UnitRange.table(&flat)[255], 1.0);
    }

    #[test]
    fn planes_keep_colour_order() {
        let image = Image::new(1, 1, Channels::Rgb, vec![255, 0, 51]).unwrap();
        let planes = Planes::from_image(&image, Scaling::UnitRange);
        assert_eq!([planes.plane(0)[0], planes.plane(1)[0], planes.plane(2)[0]], [1.0, 0.0, 0.2]);
    }

    #[test]
    fn resizing_keeps_constants_and_means() {
        for (source, target) in [(7, 3), (3, 7), (1, 5), (5, 1), (256, 97), (2, 2)] {
            let flat = Planes::new(source, source, vec![0.25; source * source]).resized(target, target);
            assert!(flat.plane(0).iter().all(|v| (v - 0.25).abs() < 1e-6), "{source} to {target}");
        }
        let ramp = Planes::new(8, 1, (0..8).map(|i| i as f32).collect()).resized(4, 1);
        let mean: f32 = ramp.plane(0).iter().sum::<f32>() / 4.0;
        assert!((mean - 3.5).abs() < 0.05, "{:?}", ramp.plane(0));
    }

    #[test]
    fn growing_is_bilinear() {
        let grown = Planes::new(2, 1, vec![0.0, 1.0]).resized(4, 1);
        assert_eq!(grown.plane(0), [0.0, 0.25, 0.75, 1.0]);
    }

    #[test]
    fn resizing_equals_the_triangle_filter_summed_pixel_by_pixel() {
        for (width, height, to_width, to_height) in
            [(13, 9, 5, 4), (5, 4, 13, 9), (31, 7, 8, 16), (3, 3, 1, 1)]
        {
            let values: Vec<f32> = (0..2 * width * height).map(|i| (i * 7919 % 101) as f32 / 100.0).collect();
            let picture = Planes::new(width, height, values);
            let resized = picture.resized(to_width, to_height);
            let weight = |tap: usize, index: usize, source: usize, target: usize| {
                let ratio = source as f32 / target as f32;
                let distance = (tap as f32 + 0.5 - (index as f32 + 0.5) * ratio) / ratio.max(1.0);
                (1.0 - distance.abs()).max(0.0)
            };
            for plane in 0..2 {
                for (at, got) in resized.plane(plane).iter().enumerate() {
                    let (mut sum, mut weights) = (0.0, 0.0);
                    for (source, value) in picture.plane(plane).iter().enumerate() {
                        let w = weight(source % width, at % to_width, width, to_width)
                            * weight(source / width, at / to_width, height, to_height);
                        sum += w * value;
                        weights += w;
                    }
                    assert!((got - sum / weights).abs() < 1e-5, "{width}x{height}, plane {plane}, {at}");
                }
            }
        }
    }
}
