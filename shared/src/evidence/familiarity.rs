//! How far an image and its nuclei are from what the model learned from.
//!
//! Simple measurements of contrast, texture and shape are compared with those of the training photographs. Only
//! deviations to the side on which counts fail are added up: an image that is cleaner than any seen is welcome.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::image::{Channels, Image};
use crate::label_image::LabelImage;
use crate::preprocess::histogram;
use crate::runs::runs;

/// Distance above which an image is unlike the training data.
///
/// Fitted on half of the photographs of the training set. Of the other half, 5 % are farther away; of 27 blood smears,
/// 14 of which served to choose it, all are; so are 70 of 79 simulated images of texture, print, fibers, bubbles, dust
/// and red cells.
pub(super) const MAX_DISTANCE: f32 = 5.0;

/// Number of measurements.
const FEATURES: usize = 10;
/// Width of the background beside nuclei that they are compared with, px.
const RING: usize = 3;
/// Minimum area of a nucleus that is measured, px.
const MIN_AREA: f64 = 12.0;
/// Quantiles of all samples that the contrast is relative to, and their least span.
const QUANTILES: (f32, f32) = (0.005, 0.995);
/// See [`QUANTILES`].
const MIN_SPAN: f64 = 16.0;
/// Least contrast that others are relative to, as a share of the span.
const MIN_CONTRAST: f64 = 0.03;

/// A kind of image that the training set holds.
struct Kind {
    /// Median of each measurement.
    typical: [f32; FEATURES],
    /// Its spread: the standard deviation of a normal distribution with its tenth and ninetieth percentile.
    spread: [f32; FEATURES],
}

/// The side on which each measurement speaks against a count: spread of brightness within a nucleus, between nuclei and
/// of the background, contrast, paleness at the center, raggedness, spread of sizes, elongation, redness, small size.
const SIDES: [f32; FEATURES] = [1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0, -1.0];

/// Nuclei brighter than what surrounds them: fluorescence.
const BRIGHT: Kind = Kind {
    typical: [-1.024, -1.127, -2.158, -0.806, 0.308, -3.500, 0.228, 0.714, 0.000, 2.021],
    spread: [0.263, 0.348, 0.350, 0.239, 0.182, 0.238, 0.060, 0.070, 0.020, 0.586],
};
/// Nuclei darker than what surrounds them, in color: stained tissue. A quarter is added to the spreads,
/// which few photographs state.
const STAINED: Kind = Kind {
    typical: [-1.068, -1.006, -1.276, -1.024, 0.211, -2.834, 0.304, 0.608, 0.375, 2.388],
    spread: [0.163, 0.359, 0.334, 0.247, 0.108, 0.292, 0.077, 0.115, 0.139, 0.407],
};
/// Nuclei darker than what surrounds them, without color: transmitted light. Too few photographs show
/// it to state spreads narrower than those of tissue.
const DARK: Kind = Kind {
    typical: [-1.129, -0.843, -0.519, -1.108, 0.165, -3.180, 0.313, 0.718, 0.000, 2.252],
    spread: [0.163, 0.359, 0.334, 0.247, 0.108, 0.292, 0.077, 0.115, 0.139, 0.407],
};

/// The distance of an image with its nuclei from the training data, in standard deviations; `None` without a nucleus.
pub(super) fn distance(image: &Image, labels: &LabelImage) -> Option<f32> {
    let (features, rises) = match image.channels() {
        Channels::Grey => features(image.samples_hwc().as_chunks::<1>().0, image, labels)?,
        Channels::Rgb => features(image.samples_hwc().as_chunks::<3>().0, image, labels)?,
    };
    let kind = match (image.channels(), rises) {
        (_, true) => &BRIGHT,
        (Channels::Grey, false) => &DARK,
        (Channels::Rgb, false) => &STAINED,
    };
    let excess = |at: usize| {
        let off = SIDES[at] * (features[at] - kind.typical[at]) / kind.spread[at];
        off.max(0.0)
    };
    Some(libm::sqrtf((0..FEATURES).map(|at| excess(at) * excess(at)).sum()))
}

/// Sums over the pixels of a nucleus.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    area: f64,
    x: f64,
    y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
    value: f64,
    squared: f64,
    /// Pixels and values of the inner quarter, and of the part halfway to the outline.
    inner: (f64, f64),
    outer: (f64, f64),
}

impl Sums {
    fn covariance(&self) -> (f64, f64, f64) {
        let (x, y) = (self.x / self.area, self.y / self.area);
        let pixel = 1.0 / 12.0;
        (
            self.xx / self.area - x * x + pixel,
            self.yy / self.area - y * y + pixel,
            self.xy / self.area - x * y,
        )
    }

    /// The ellipse of the same moments: what fraction of it the nucleus fills, and its lesser over its greater axis.
    fn fill_and_aspect(&self) -> (f64, f64) {
        let (xx, yy, xy) = self.covariance();
        let root = libm::sqrt((xx * yy - xy * xy).max(1e-6));
        let half = 0.5 * (xx + yy);
        let greater = half + libm::sqrt((half * half - root * root).max(0.0));
        let lesser = (xx + yy - greater).max(1e-6);
        (self.area / (4.0 * core::f64::consts::PI * root), libm::sqrt(lesser / greater))
    }
}

/// The measurements, and whether nuclei are brighter than what surrounds them.
fn features<const CHANNELS: usize>(
    pixels: &[[u8; CHANNELS]],
    image: &Image,
    labels: &LabelImage,
) -> Option<([f32; FEATURES], bool)> {
    let width = labels.width() as usize;
    let (low, span) = range(image.samples_hwc());
    let ring = ring(labels);
    let (mut inside, mut beside) = ([0_u64; CHANNELS], [0_u64; CHANNELS]);
    let (mut nuclear, mut near) = (0_u64, 0_u64);
    for ((pixel, &label), &is_near) in pixels.iter().zip(labels.labels_hw()).zip(&ring) {
        if label != 0 {
            nuclear += 1;
            inside.iter_mut().zip(pixel).for_each(|(sum, &sample)| *sum += u64::from(sample));
        } else if is_near {
            near += 1;
            beside.iter_mut().zip(pixel).for_each(|(sum, &sample)| *sum += u64::from(sample));
        }
    }
    if nuclear == 0 || near == 0 {
        return None;
    }
    let unit = |sample: f64| ((sample - low) / span).clamp(0.0, 1.0);
    let inside = inside.map(|sum| unit(sum as f64 / nuclear as f64));
    let beside = beside.map(|sum| unit(sum as f64 / near as f64));
    let difference = |channel: usize| inside[channel] - beside[channel];
    let channel = (0..CHANNELS).max_by(|&a, &b| difference(a).abs().total_cmp(&difference(b).abs()))?;
    let contrast = difference(channel).abs();
    let rises = difference(channel) > 0.0;
    let table: Vec<f64> = (0..256).map(|sample| unit(f64::from(sample))).collect();
    let value = |at: usize| table[usize::from(pixels[at][channel])];

    let (sums, background) = object_sums(labels, width, value);
    let large: Vec<&Sums> = sums.values().filter(|sums| sums.area >= MIN_AREA).collect();
    let total: f64 = large.iter().map(|sums| sums.area).sum();
    if total == 0.0 {
        return None;
    }
    let weighted = |of: &dyn Fn(&Sums) -> f64| large.iter().map(|s| s.area * of(s)).sum::<f64>() / total;
    let relative = contrast.max(MIN_CONTRAST);
    let level = |s: &Sums| s.value / s.area;
    let variance_within = weighted(&|s| (s.squared / s.area - level(s) * level(s)).max(0.0));
    let mean_level = weighted(&level);
    let variance_between = weighted(&|s| (level(s) - mean_level) * (level(s) - mean_level));
    let sign = if rises { 1.0 } else { -1.0 };
    let part = |(count, sum): (f64, f64)| if count > 0.0 { sum / count } else { 0.0 };
    let radii: Vec<f64> = {
        let mut radii: Vec<f64> = sums.values().map(|s| libm::sqrt(s.area / core::f64::consts::PI)).collect();
        radii.sort_unstable_by(f64::total_cmp);
        radii
    };
    let mean_radius = radii.iter().sum::<f64>() / radii.len() as f64;
    let radius_variance =
        radii.iter().map(|r| (r - mean_radius) * (r - mean_radius)).sum::<f64>() / radii.len() as f64;
    let share = |variance: f64| libm::log(libm::sqrt(variance) / relative + 0.03);
    let redness = if CHANNELS == 3 { inside[CHANNELS - 1] - inside[0] } else { 0.0 };
    let measured = [
        share(variance_within),
        share(variance_between),
        share(background),
        libm::log(contrast + 0.01),
        weighted(&|s| sign * (part(s.inner) - part(s.outer))) / relative,
        libm::log((1.01 - weighted(&|s| s.fill_and_aspect().0)).max(1e-3)),
        libm::sqrt(radius_variance) / mean_radius,
        weighted(&|s| s.fill_and_aspect().1),
        redness,
        libm::log(radii[radii.len() / 2]),
    ];
    Some((measured.map(|value| value as f32), rises))
}

/// The sums of each nucleus, and the variance of the background.
fn object_sums(
    labels: &LabelImage,
    width: usize,
    value: impl Fn(usize) -> f64,
) -> (BTreeMap<u32, Sums>, f64) {
    let mut sums = BTreeMap::<u32, Sums>::new();
    let (mut count, mut total, mut squared) = (0.0, 0.0, 0.0);
    for (y, row) in labels.labels_hw().chunks_exact(width).enumerate() {
        for (run, label) in runs(row) {
            let pixels = run.map(|x| (x as f64, value(y * width + x)));
            if label == 0 {
                for (_, value) in pixels {
                    count += 1.0;
                    total += value;
                    squared += value * value;
                }
                continue;
            }
            let (sums, y) = (sums.entry(label).or_default(), y as f64);
            for (x, value) in pixels {
                sums.area += 1.0;
                sums.x += x;
                sums.y += y;
                sums.xx += x * x;
                sums.yy += y * y;
                sums.xy += x * y;
                sums.value += value;
                sums.squared += value * value;
            }
        }
    }
    for (y, row) in labels.labels_hw().chunks_exact(width).enumerate() {
        for (run, label) in runs(row) {
            let Some(sums) = sums.get_mut(&label) else { continue };
            let (xx, yy, xy) = sums.covariance();
            let scale = 1.0 / (4.0 * (xx * yy - xy * xy).max(1e-6));
            let (middle, down) = (sums.x / sums.area, y as f64 - sums.y / sums.area);
            for x in run {
                let across = x as f64 - middle;
                // 1 at the outline of the ellipse of the same moments.
                let far = scale * (yy * across * across - 2.0 * xy * across * down + xx * down * down);
                let part = match far {
                    far if far < 0.25 => &mut sums.inner,
                    far if (0.4..0.8).contains(&far) => &mut sums.outer,
                    _ => continue,
                };
                part.0 += 1.0;
                part.1 += value(y * width + x);
            }
        }
    }
    let mean = total / f64::max(count, 1.0);
    (sums, (squared / f64::max(count, 1.0) - mean * mean).max(0.0))
}

/// The sample at the lower quantile, and the span up to the upper one.
fn range(samples: &[u8]) -> (f64, f64) {
    let histogram = histogram(samples);
    let at = |quantile: f32| {
        let rank = (quantile * samples.len() as f32) as u64;
        let mut seen = 0;
        let found = histogram.iter().position(|&count| {
            seen += u64::from(count);
            seen > rank
        });
        found.unwrap_or(255) as f64
    };
    let (low, high) = (at(QUANTILES.0), at(QUANTILES.1));
    (low, (high - low).max(MIN_SPAN))
}

/// Which pixels are at most [`RING`] steps from a nucleus or within one.
fn ring(labels: &LabelImage) -> Vec<bool> {
    let width = labels.width() as usize;
    let mut near: Vec<bool> = labels.labels_hw().iter().map(|&label| label != 0).collect();
    for _ in 0..RING {
        let before = near.clone();
        let line = |y: usize| &before[y * width..][..width];
        let rows = before.len() / width;
        for (y, row) in near.chunks_exact_mut(width).enumerate() {
            let (above, at, below) = (line(y.saturating_sub(1)), line(y), line((y + 1).min(rows - 1)));
            for ((near, &above), &below) in row.iter_mut().zip(above).zip(below) {
                *near |= above | below;
            }
            row[1..].iter_mut().zip(at).for_each(|(near, &left)| *near |= left);
            row.iter_mut().zip(&at[1..]).for_each(|(near, &right)| *near |= right);
        }
    }
    near
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::super::scene::{HEIGHT, Scene, WIDTH};
    use super::*;

    fn distance_of(scene: Scene) -> f32 {
        let (samples, labels) = scene.draw();
        let image = Image::new(WIDTH as u32, HEIGHT as u32, Channels::Grey, samples).unwrap();
        distance(&image, &labels).unwrap()
    }

    #[test]
    fn clear_nuclei_are_familiar_and_patches_of_noise_are_not() {
        for scene in [
            Scene::PLAIN,
            Scene { nuclei: 3, ..Scene::PLAIN },
            Scene { contrast: 30.0, ..Scene::PLAIN },
            Scene { radius: 20.0, nuclei: 4, noise: 4.0, ..Scene::PLAIN },
        ] {
            let found = distance_of(scene);
            assert!(found < MAX_DISTANCE, "{scene:?}: {found}");
        }
        let noise = distance_of(Scene { contrast: 1.0, noise: 4.0, ground: 40.0, ..Scene::PLAIN });
        assert!(noise > MAX_DISTANCE, "{noise}");
    }

    #[test]
    fn without_nuclei_or_background_there_is_no_distance() {
        let (samples, _) = Scene::PLAIN.draw();
        let image = Image::new(WIDTH as u32, HEIGHT as u32, Channels::Grey, samples).unwrap();
        for label in [0, 1] {
            let labels = vec![label; WIDTH * HEIGHT];
            let labels = LabelImage::new(WIDTH as u32, HEIGHT as u32, labels).unwrap();
            assert_eq!(distance(&image, &labels), None);
        }
    }

    #[test]
    fn a_ring_surrounds_a_nucleus() {
        let mut labels = vec![0; 11 * 11];
        labels[5 * 11 + 5] = 9;
        let near = ring(&LabelImage::new(11, 11, labels).unwrap());
        let expected = |at: usize| (at % 11).abs_diff(5) + (at / 11).abs_diff(5) <= RING;
        assert!(near.iter().enumerate().all(|(at, &near)| near == expected(at)));
    }

    #[test]
    fn red_cells_are_unlike_stained_nuclei() {
        let (samples, labels) = Scene { ground: 0.0, contrast: 255.0, noise: 0.0, ..Scene::PLAIN }.draw();
        let image = |nucleus: [f32; 3]| {
            let rgb = samples.iter().flat_map(|&sample| {
                let share = f32::from(sample) / 255.0;
                nucleus.map(|dark| (235.0 - share * (235.0 - dark)) as u8)
            });
            Image::new(WIDTH as u32, HEIGHT as u32, Channels::Rgb, rgb.collect()).unwrap()
        };
        let purple = distance(&image([110.0, 60.0, 160.0]), &labels).unwrap();
        let red = distance(&image([205.0, 120.0, 110.0]), &labels).unwrap();
        assert!(purple < MAX_DISTANCE && red > MAX_DISTANCE, "{purple} {red}");
    }
}
