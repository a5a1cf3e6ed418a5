//! How far an image and its nuclei are from what the model learned from.
//!
//! Simple measurements of contrast, texture and shape are compared with those of the training photographs. Only
//! deviations to the side on which counts fail are added up: an image that is cleaner than any seen is welcome.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use crate::image::{Channels, Image};
use crate::label_image::LabelImage;
use crate::runs::runs;

/// Distance above which an image is unlike the training data.
///
/// Fitted on half of the photographs of the training set; `nuclei-host segment` states the judgement of any folder.
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
struct ImageKind {
    /// Median of each measurement.
    typical: [f32; FEATURES],
    /// Its spread: the standard deviation of a normal distribution with its tenth and ninetieth percentile.
    spread: [f32; FEATURES],
}

/// The side on which each measurement speaks against a count: spread of brightness within a nucleus, between nuclei and
/// of the background, contrast, paleness at the center, raggedness, spread of sizes, elongation, redness, small size.
const SIDES: [f32; FEATURES] = [1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0, -1.0];

/// Nuclei brighter than what surrounds them: fluorescence.
const BRIGHT: ImageKind = ImageKind {
    typical: [-1.024, -1.127, -2.158, -0.806, 0.308, -3.500, 0.228, 0.714, 0.000, 2.021],
    spread: [0.263, 0.348, 0.350, 0.239, 0.182, 0.238, 0.060, 0.070, 0.020, 0.586],
};
/// Nuclei darker than what surrounds them, in color: stained tissue. A quarter is added to the spreads,
/// which few photographs state.
const STAINED: ImageKind = ImageKind {
    typical: [-1.068, -1.006, -1.276, -1.024, 0.211, -2.834, 0.304, 0.608, 0.375, 2.388],
    spread: [0.163, 0.359, 0.334, 0.247, 0.108, 0.292, 0.077, 0.115, 0.139, 0.407],
};
/// Nuclei darker than what surrounds them, without color: transmitted light. Too few photographs show
/// it to state spreads narrower than those of tissue.
const DARK: ImageKind = ImageKind {
    typical: [-1.129, -0.843, -0.519, -1.108, 0.165, -3.180, 0.313, 0.718, 0.000, 2.252],
    spread: [0.163, 0.359, 0.334, 0.247, 0.108, 0.292, 0.077, 0.115, 0.139, 0.407],
};

/// The distance of an image with its nuclei from the training data, in standard deviations; `None` without a nucleus.
pub(super) fn distance(image: &Image, labels: &LabelImage) -> Option<f32> {
    let (features, rises) = match image.channels() {
        Channels::Grey => features(image.samples_hwc().as_chunks::<1>().0, labels)?,
        Channels::Rgb => features(image.samples_hwc().as_chunks::<3>().0, labels)?,
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

/// NucleusSums over the pixels of a nucleus.
#[derive(Debug, Clone, Copy, Default)]
struct NucleusSums {
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

impl NucleusSums {
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
    labels: &LabelImage,
) -> Option<([f32; FEATURES], bool)> {
    let width = labels.width() as usize;
    let histograms = Histograms::of(pixels, labels);
    let (low, span) = histograms.range();
    let unit: [f64; 256] = core::array::from_fn(|sample| ((sample as f64 - low) / span).clamp(0.0, 1.0));
    let nuclear = Moments::of(&histograms.nuclear, &unit)?;
    let near = Moments::of(&histograms.near, &unit)?;
    let difference = |channel: usize| nuclear[channel].mean - near[channel].mean;
    let channel = (0..CHANNELS).max_by(|&a, &b| difference(a).abs().total_cmp(&difference(b).abs()))?;
    let contrast = difference(channel).abs();
    let rises = difference(channel) > 0.0;
    let background = Moments::of(&histograms.background(), &unit)?[channel].variance;

    let sums = object_sums(labels, width, |at| unit[usize::from(pixels[at][channel])]);
    let large: Vec<&NucleusSums> = sums.values().filter(|sums| sums.area >= MIN_AREA).collect();
    let total: f64 = large.iter().map(|sums| sums.area).sum();
    if total == 0.0 {
        return None;
    }
    let weighted =
        |of: &dyn Fn(&NucleusSums) -> f64| large.iter().map(|s| s.area * of(s)).sum::<f64>() / total;
    let relative = contrast.max(MIN_CONTRAST);
    let level = |s: &NucleusSums| s.value / s.area;
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
    // Of what glows, the color is that of its dye or of its channel, and says nothing.
    let redness = if CHANNELS == 3 && !rises { nuclear[CHANNELS - 1].mean - nuclear[0].mean } else { 0.0 };
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

/// The sums of each nucleus.
fn object_sums(
    labels: &LabelImage,
    width: usize,
    value: impl Fn(usize) -> f64,
) -> BTreeMap<u32, NucleusSums> {
    let mut sums = BTreeMap::<u32, NucleusSums>::new();
    for (y, row) in labels.labels_hw().chunks_exact(width).enumerate() {
        for (run, label) in runs(row).filter(|&(_, label)| label != 0) {
            let (sums, down) = (sums.entry(label).or_default(), y as f64);
            for x in run {
                let (across, value) = (x as f64, value(y * width + x));
                sums.area += 1.0;
                sums.x += across;
                sums.y += down;
                sums.xx += across * across;
                sums.yy += down * down;
                sums.xy += across * down;
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
    sums
}

/// How many samples of each value a kind of pixels has, per channel.
type Counts<const CHANNELS: usize> = [[u32; 256]; CHANNELS];

/// The samples of nuclei, of the background beside them, and of the rest.
struct Histograms<const CHANNELS: usize> {
    nuclear: Counts<CHANNELS>,
    near: Counts<CHANNELS>,
    far: Counts<CHANNELS>,
}

impl<const CHANNELS: usize> Histograms<CHANNELS> {
    fn of(pixels: &[[u8; CHANNELS]], labels: &LabelImage) -> Self {
        // Neighbors are often equal, and one would wait until the other is counted: two take turns.
        let mut turns = [[[[0_u32; 256]; CHANNELS]; 4]; 2];
        let near = ring(labels);
        let kinds = labels
            .labels_hw()
            .iter()
            .zip(&near)
            .map(|(&label, &near)| usize::from(label != 0) + 2 * usize::from(near));
        for (at, (pixel, kind)) in pixels.iter().zip(kinds).enumerate() {
            let counts = &mut turns[at % 2][kind];
            counts.iter_mut().zip(pixel).for_each(|(counts, &sample)| counts[usize::from(sample)] += 1);
        }
        let [first, second] = turns;
        // What is in a nucleus is also within its ring.
        let [far, _, near, nuclear] = core::array::from_fn(|kind| added(&first[kind], &second[kind]));
        Self { nuclear, near, far }
    }

    /// Of all that is no nucleus.
    fn background(&self) -> Counts<CHANNELS> {
        added(&self.near, &self.far)
    }

    /// The sample at the lower quantile, and the span up to the upper one.
    fn range(&self) -> (f64, f64) {
        let all = added(&self.background(), &self.nuclear);
        let total: u64 = all.as_flattened().iter().map(|&count| u64::from(count)).sum();
        let at = |quantile: f32| {
            let rank = (quantile * total as f32) as u64;
            let mut seen = 0;
            let passed = (0..256).find(|&sample| {
                seen += all.iter().map(|counts| u64::from(counts[sample])).sum::<u64>();
                seen > rank
            });
            passed.unwrap_or(255) as f64
        };
        let (low, high) = (at(QUANTILES.0), at(QUANTILES.1));
        (low, (high - low).max(MIN_SPAN))
    }
}

fn added<const CHANNELS: usize>(a: &Counts<CHANNELS>, b: &Counts<CHANNELS>) -> Counts<CHANNELS> {
    core::array::from_fn(|channel| core::array::from_fn(|sample| a[channel][sample] + b[channel][sample]))
}

/// Mean and variance of a channel.
#[derive(Debug, Clone, Copy)]
struct Moments {
    mean: f64,
    variance: f64,
}

impl Moments {
    /// Of each channel, in the unit of the table; `None` without a pixel.
    fn of<const CHANNELS: usize>(counts: &Counts<CHANNELS>, unit: &[f64; 256]) -> Option<[Self; CHANNELS]> {
        let total: f64 = counts.first()?.iter().map(|&count| f64::from(count)).sum();
        (total > 0.0).then(|| {
            counts.map(|counts| {
                let sum = |of: &dyn Fn(f64) -> f64| {
                    counts.iter().zip(unit).map(|(&count, &value)| f64::from(count) * of(value)).sum::<f64>()
                };
                let mean = sum(&|value| value) / total;
                Self { mean, variance: (sum(&|value| value * value) / total - mean * mean).max(0.0) }
            })
        })
    }
}

/// Which pixels are at most [`RING`] steps from a nucleus or within one.
fn ring(labels: &LabelImage) -> Vec<bool> {
    let width = labels.width() as usize;
    let rows = labels.labels_hw().len() / width;
    let mut near = vec![false; labels.labels_hw().len()];
    for (y, row) in labels.labels_hw().chunks_exact(width).enumerate() {
        for (run, _) in runs(row).filter(|&(_, label)| label != 0) {
            for line in y.saturating_sub(RING)..(y + RING + 1).min(rows) {
                let reach = RING - line.abs_diff(y);
                let columns = run.start.saturating_sub(reach)..(run.end + reach).min(width);
                near[line * width..][columns].fill(true);
            }
        }
    }
    near
}

#[cfg(test)]
mod tests {
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
