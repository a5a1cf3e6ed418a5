//! Quality metrics of a count: focus, saturation, contrast, density, scale, network confidence.

use alloc::borrow::Cow;

use crate::image::{Channels, Image};
use crate::label_image::LabelImage;
use crate::preprocess::{Scaling, histogram};
use crate::scale::ScaleFit;
use crate::wire::QcFlags;

/// Quality metrics of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// Focus score, 0 (a blur) to 1 (sharp): see [`focus_score`].
    pub focus: f32,
    /// Share of pixels with a sample at 255, 0 to 1.
    pub saturated: f32,
    /// Fraction of pixels covered by nuclei, 0 to 1.
    pub confluence: f32,
    /// Reasons not to trust the count.
    pub qc_flags: QcFlags,
}

/// Focus scores below this are out of focus.
pub const MIN_FOCUS: f32 = 0.28;
/// Fraction of nuclear pixels at 255 above which outlines and intensities are unreliable.
pub const MAX_SATURATED: f32 = 0.2;
/// Network confidence below which an image is unlike the training data.
///
/// Among the shipped model's 67 validation images the minimum is 0.90 and the median 0.96. Of 25 images without nuclei
/// (photographs, textures, print, noise) in which it found something, 21 are below 0.88; round coins pass. `nuclei-host
/// segment` prints these figures for any folder.
pub const MIN_CONFIDENCE: f32 = 0.88;
/// Fraction of the image covered by nuclei above which neighbors cannot be separated.
pub const MAX_CONFLUENCE: f32 = 0.8;

impl Evidence {
    /// Computes the metrics of an image with its labels and the network's confidence, if known.
    ///
    /// # Panics
    /// When image and labels differ in size.
    pub fn of(image: &Image, labels: &LabelImage, scale_fit: ScaleFit, confidence: Option<f32>) -> Self {
        let luma_hw = match image.channels() {
            Channels::Grey => Cow::Borrowed(image.samples_hwc()),
            Channels::Rgb => Cow::Owned(image.luma_hw()),
        };
        assert_eq!(luma_hw.len(), labels.labels_hw().len(), "labels of the image's size");
        let (samples_hwc, labels_hw) = (image.samples_hwc(), labels.labels_hw());
        let Coverage { saturated, nuclear, nuclear_saturated } = match image.channels() {
            Channels::Grey => Coverage::of(samples_hwc.as_chunks::<1>().0, labels_hw),
            Channels::Rgb => Coverage::of(samples_hwc.as_chunks::<3>().0, labels_hw),
        };
        let pixels = luma_hw.len() as f32;
        let confluence = nuclear as f32 / pixels;
        let focus = focus_score(&luma_hw, image.width() as usize);
        let blank = is_blank(&luma_hw);
        let mut qc_flags = QcFlags::NONE;
        for (found, flag) in [
            (!blank && focus < MIN_FOCUS, QcFlags::OUT_OF_FOCUS),
            (nuclear_saturated as f32 > MAX_SATURATED * nuclear as f32, QcFlags::SATURATED),
            (blank, QcFlags::BLANK),
            (confluence > MAX_CONFLUENCE, QcFlags::TOO_DENSE),
            (scale_fit == ScaleFit::Clamped, QcFlags::OFF_SCALE),
            (
                confidence.is_some_and(|confidence| confidence.is_nan() || confidence < MIN_CONFIDENCE),
                QcFlags::OUT_OF_DISTRIBUTION,
            ),
        ] {
            if found {
                qc_flags = qc_flags.union(flag);
            }
        }
        Self { focus, saturated: saturated as f32 / pixels, confluence, qc_flags }
    }
}

/// Pixel counts: with a sample at 255, in nuclei, and both.
struct Coverage {
    saturated: u32,
    nuclear: u32,
    nuclear_saturated: u32,
}

impl Coverage {
    fn of<const CHANNELS: usize>(pixels: &[[u8; CHANNELS]], labels_hw: &[u32]) -> Self {
        // No count is over the number of pixels; a check of each addition would cost more than the addition.
        let is_full = |pixel: &[u8; CHANNELS]| pixel.iter().fold(false, |any, &sample| any | (sample == 255));
        let saturated = pixels.iter().map(|pixel| u32::from(is_full(pixel))).fold(0, u32::wrapping_add);
        let nuclear = labels_hw.iter().map(|&label| u32::from(label != 0)).fold(0, u32::wrapping_add);
        // Most images have none.
        let nuclear_saturated = if saturated == 0 {
            0
        } else {
            let both = pixels.iter().zip(labels_hw).map(|(pixel, &label)| is_full(pixel) & (label != 0));
            both.map(u32::from).fold(0, u32::wrapping_add)
        };
        Self { saturated, nuclear, nuclear_saturated }
    }
}

/// Whether the brightest and darkest percentiles differ by less than the minimum span of the stretch.
fn is_blank(luma_hw: &[u8]) -> bool {
    let Scaling::Stretch { min_span, .. } = Scaling::STRETCH else { return false };
    let histogram = histogram(luma_hw).map(|count| count as usize);
    let edge = luma_hw.len() / 100;
    let low = reach(&histogram, 0..256, edge);
    let high = reach(&histogram, (0..256).rev(), edge);
    high.saturating_sub(low) < usize::from(min_span)
}

/// The value at which `edge` samples are passed, going through `values`.
fn reach(histogram: &[usize; 256], mut values: impl Iterator<Item = usize>, edge: usize) -> usize {
    let mut seen = 0;
    let found = values.find(|&value| {
        seen += histogram[value];
        seen > edge
    });
    found.unwrap_or(0)
}

/// Half width of the blur that an image is compared with.
const BLUR_REACH: usize = 4;

/// How much of the variation between neighboring pixels a strong blur removes: 0 for an image that is already blurred,
/// near 1 for a sharp one. The lower of the two directions counts.
///
/// Crété et al., "The blur effect: perception and estimation with a new no-reference perceptual
/// blur metric", 2007; the score is one minus theirs, over a 9-pixel mean.
pub fn focus_score(luma_hw: &[u8], width: usize) -> f32 {
    let (mut across, mut down) = (Variation::default(), Variation::default());
    for row in luma_hw.chunks_exact(width).filter(|row| row.len() > 2 * BLUR_REACH + 1) {
        across.add(&row[BLUR_REACH..], &row[BLUR_REACH + 1..], row, &row[2 * BLUR_REACH + 1..]);
    }
    let row = |y: usize| &luma_hw[y * width..][..width];
    for y in BLUR_REACH + 1..(luma_hw.len() / width).saturating_sub(BLUR_REACH) {
        down.add(row(y - 1), row(y), row(y - 1 - BLUR_REACH), row(y + BLUR_REACH));
    }
    across.lost_share().min(down.lost_share())
}

/// Pairs of neighbors that are looked at together.
const LANES: usize = 16;
/// Differences of at most 9 * 255 that a sum of 16 bits holds.
const SUMMED: usize = u16::MAX as usize / (9 * 255);

/// Nine times a difference between neighbors, and how much more that is than the difference of what leaves and enters
/// the mean.
fn vary(before: u8, at: u8, first: u8, last: u8) -> (u16, u16) {
    let difference = u16::from(before.abs_diff(at)).wrapping_mul(9);
    (difference, difference.saturating_sub(u16::from(first.abs_diff(last))))
}

/// Variation between neighbors along one direction, times 9.
#[derive(Default)]
struct Variation {
    sharp: u64,
    lost: u64,
}

impl Variation {
    /// Takes in pairs of neighbors, as many as `last` has. The means of 9 around them differ only by the pixels at
    /// the ends: the `first` of the one's and the `last` of the other's.
    fn add(&mut self, before: &[u8], at: &[u8], first: &[u8], last: &[u8]) {
        let count = last.len();
        let sides = [&before[..count], &at[..count], &first[..count], last];
        let (lanes, rest) = (sides.map(|side| side.as_chunks::<LANES>().0), count - count % LANES);
        for start in (0..lanes[0].len()).step_by(SUMMED) {
            let [before, at, first, last] = lanes.map(|side| &side[start..side.len().min(start + SUMMED)]);
            // Sums of 16 bits: a check of each addition would cost more than the addition.
            let (mut sharp, mut lost) = ([0_u16; LANES], [0_u16; LANES]);
            for ((before, at), (first, last)) in before.iter().zip(at).zip(first.iter().zip(last)) {
                for lane in 0..LANES {
                    let (difference, gone) = vary(before[lane], at[lane], first[lane], last[lane]);
                    sharp[lane] = sharp[lane].wrapping_add(difference);
                    lost[lane] = lost[lane].wrapping_add(gone);
                }
            }
            self.sharp += sharp.iter().map(|&sum| u64::from(sum)).sum::<u64>();
            self.lost += lost.iter().map(|&sum| u64::from(sum)).sum::<u64>();
        }
        let [before, at, first, last] = sides.map(|side| &side[rest..]);
        for ((&before, &at), (&first, &last)) in before.iter().zip(at).zip(first.iter().zip(last)) {
            let (difference, gone) = vary(before, at, first, last);
            self.sharp += u64::from(difference);
            self.lost += u64::from(gone);
        }
    }

    fn lost_share(&self) -> f32 {
        if self.sharp == 0 { 0.0 } else { self.lost as f32 / self.sharp as f32 }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;
    use crate::preprocess::Planes;

    fn discs(blur: usize) -> Vec<u8> {
        let sharp: Vec<f32> = (0..128 * 128)
            .map(|i| {
                let (x, y) = ((i % 128) as f32, (i / 128) as f32);
                let (dx, dy) = (x % 32.0 - 16.0, y % 32.0 - 16.0);
                if dx * dx + dy * dy < 100.0 { 200.0 } else { 20.0 }
            })
            .collect();
        let small = 128 / blur;
        let planes = Planes::new(128, 128, sharp).resized(small, small).resized(128, 128);
        planes.plane(0).iter().map(|&v| v as u8).collect()
    }

    /// The definition: blur by a mean of 9, then compare what is left of every difference.
    fn slow_focus_score(luma_hw: &[u8], width: usize) -> f32 {
        let height = luma_hw.len() / width;
        let along = |lines: usize, length: usize, line_step: usize, step: usize| {
            let (mut sharp, mut lost) = (0u64, 0u64);
            for line in 0..lines {
                let at = |i: usize| i64::from(luma_hw[line * line_step + i * step]);
                let blurred_times_9 = |i: usize| -> i64 { (i - BLUR_REACH..=i + BLUR_REACH).map(at).sum() };
                for i in BLUR_REACH + 1..length.saturating_sub(BLUR_REACH) {
                    let before = (at(i) - at(i - 1)).unsigned_abs() * 9;
                    let after = (blurred_times_9(i) - blurred_times_9(i - 1)).unsigned_abs();
                    sharp += before;
                    lost += before.saturating_sub(after);
                }
            }
            if sharp == 0 { 0.0 } else { lost as f32 / sharp as f32 }
        };
        along(height, width, width, 1).min(along(width, height, 1, width))
    }

    #[test]
    fn focus_is_as_defined() {
        let noise: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for (width, height) in [(64, 64), (10, 10), (9, 40), (40, 9), (1, 1), (30, 11), (11, 300)] {
            let luma_hw = &noise[..width * height];
            let (fast, slow) = (focus_score(luma_hw, width), slow_focus_score(luma_hw, width));
            assert_eq!(fast, slow, "{width}x{height}");
        }
        assert_eq!(focus_score(&discs(2), 128), slow_focus_score(&discs(2), 128));
    }

    #[test]
    fn focus_falls_with_blur() {
        let scores: Vec<f32> = [1, 2, 4].map(|blur| focus_score(&discs(blur), 128)).to_vec();
        assert!(scores.windows(2).all(|pair| pair[0] > pair[1] + 0.1), "{scores:?}");
    }

    #[test]
    fn shares_are_those_of_a_count_pixel_by_pixel() {
        let noise = |at: usize| (at as u32).wrapping_mul(2_654_435_761) >> 24;
        for channels in [Channels::Grey, Channels::Rgb] {
            let samples: Vec<u8> =
                (0..97 * 31 * channels.count()).map(|at| if noise(at) % 5 == 0 { 255 } else { 9 }).collect();
            let labels: Vec<u32> = (0..97 * 31).map(|at| noise(7 * at + 3) % 3).collect();
            let full = samples.chunks_exact(channels.count()).filter(|pixel| pixel.contains(&255)).count();
            let nuclear = labels.iter().filter(|&&label| label != 0).count();
            let image = Image::new(97, 31, channels, samples.clone()).unwrap();
            let labels = LabelImage::new(97, 31, labels).unwrap();
            let evidence = Evidence::of(&image, &labels, ScaleFit::WithinLimits, None);
            let share = |count: usize| count as f32 / (97 * 31) as f32;
            assert_eq!(
                (evidence.saturated, evidence.confluence),
                (share(full), share(nuclear)),
                "{channels:?}"
            );
        }
    }

    #[test]
    fn doubts_are_named() {
        let background = LabelImage::background(128, 128).unwrap();
        let full = LabelImage::new(128, 128, vec![1; 128 * 128]).unwrap();
        let blank = Image::new(128, 128, Channels::Grey, vec![9; 128 * 128]).unwrap();
        let white = Image::new(128, 128, Channels::Grey, vec![255; 128 * 128]).unwrap();
        let sharp = Image::new(128, 128, Channels::Grey, discs(1)).unwrap();
        let cases = [
            (&blank, &background, ScaleFit::WithinLimits, None, QcFlags::BLANK),
            (&sharp, &background, ScaleFit::WithinLimits, None, QcFlags::NONE),
            (&sharp, &background, ScaleFit::WithinLimits, Some(0.95), QcFlags::NONE),
            (&sharp, &background, ScaleFit::WithinLimits, Some(0.7), QcFlags::OUT_OF_DISTRIBUTION),
            (&sharp, &background, ScaleFit::WithinLimits, Some(f32::NAN), QcFlags::OUT_OF_DISTRIBUTION),
            (&sharp, &background, ScaleFit::Clamped, None, QcFlags::OFF_SCALE),
            (&sharp, &full, ScaleFit::WithinLimits, None, QcFlags::TOO_DENSE),
            (
                &white,
                &full,
                ScaleFit::WithinLimits,
                None,
                QcFlags::BLANK.union(QcFlags::SATURATED).union(QcFlags::TOO_DENSE),
            ),
        ];
        for (image, labels, scale_fit, confidence, qc_flags) in cases {
            assert_eq!(Evidence::of(image, labels, scale_fit, confidence).qc_flags, qc_flags);
        }
    }
}
