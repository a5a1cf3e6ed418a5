//! Quality metrics of a count: focus, saturation, contrast, density, scale, network confidence.

mod familiarity;
mod focus;
#[cfg(test)]
mod scene;

use alloc::{borrow::Cow, vec::Vec};

use crate::image::{Channels, Image};
use crate::label_image::LabelImage;
use crate::preprocess::histogram;
use crate::scale::ScaleFit;
use crate::wire::QcFlags;
use familiarity::MAX_DISTANCE;
use focus::{focus_at_outlines, has_blurred_structure};

/// Quality metrics of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// Focus score, 0 (a blur) to 1 (sharp), judged at the outlines of nuclei; 0 where there is none to judge.
    pub focus: f32,
    /// Share of pixels with a sample at 255, 0 to 1.
    pub saturated: f32,
    /// Fraction of pixels covered by nuclei, 0 to 1.
    pub confluence: f32,
    /// Reasons not to trust the count.
    pub qc_flags: QcFlags,
}

/// Focus scores below this are out of focus: edges are wider than in nearly all photographs of the training set.
pub const MIN_FOCUS: f32 = 0.5;
/// Fraction of nuclear pixels at 255 above which outlines and intensities are unreliable.
pub const MAX_SATURATED: f32 = 0.2;
/// Network confidence below which an image is unlike the training data.
///
/// Of the shipped model's 664 training images the minimum is 0.88 and the median 0.97; a single nucleus in an even, noisy
/// field has 0.86. Of 94 simulated images of texture, print, bubbles, dust and grids in which it found something, a
/// quarter is below. `nuclei-host segment` prints these figures for any folder.
pub const MIN_CONFIDENCE: f32 = 0.85;
/// Fraction of the image covered by nuclei above which neighbors cannot be separated.
pub const MAX_CONFLUENCE: f32 = 0.8;

impl Evidence {
    /// Computes the metrics of an image with its labels and the network's confidence, if known.
    ///
    /// # Panics
    /// When image and labels differ in size.
    pub fn of(image: &Image, labels: &LabelImage, scale_fit: ScaleFit, confidence: Option<f32>) -> Self {
        assert_eq!(
            (image.width(), image.height()),
            (labels.width(), labels.height()),
            "labels of the image's size"
        );
        let (samples_hwc, labels_hw) = (image.samples_hwc(), labels.labels_hw());
        let Coverage { saturated, nuclear, nuclear_saturated } = match image.channels() {
            Channels::Grey => Coverage::of(samples_hwc.as_chunks::<1>().0, labels_hw),
            Channels::Rgb => Coverage::of(samples_hwc.as_chunks::<3>().0, labels_hw),
        };
        let pixels = labels_hw.len() as f32;
        let confluence = nuclear as f32 / pixels;
        let Channel { samples_hw, span } = Channel::strongest(image);
        let blank = span == 0;
        let focus = focus_at_outlines(&samples_hw, labels);
        let blurred = match focus {
            Some(focus) => focus < MIN_FOCUS,
            None => nuclear == 0 && has_blurred_structure(&samples_hw, image.width() as usize),
        };
        // Where nothing was found, the network has no object to be sure of.
        let confidence = confidence.filter(|_| nuclear > 0);
        let mut qc_flags = QcFlags::NONE;
        for (found, flag) in [
            (!blank && blurred, QcFlags::OUT_OF_FOCUS),
            (nuclear_saturated as f32 > MAX_SATURATED * nuclear as f32, QcFlags::SATURATED),
            (blank, QcFlags::BLANK),
            (confluence > MAX_CONFLUENCE, QcFlags::TOO_DENSE),
            (scale_fit == ScaleFit::Clamped, QcFlags::OFF_SCALE),
            (is_unfamiliar(image, labels, confidence), QcFlags::OUT_OF_DISTRIBUTION),
        ] {
            if found {
                qc_flags = qc_flags.union(flag);
            }
        }
        Self { focus: focus.unwrap_or(0.0), saturated: saturated as f32 / pixels, confluence, qc_flags }
    }
}

/// Whether the network is unsure, or the nuclei look like none that it learned from.
fn is_unfamiliar(image: &Image, labels: &LabelImage, confidence: Option<f32>) -> bool {
    confidence.is_some_and(|confidence| confidence.is_nan() || confidence < MIN_CONFIDENCE)
        || familiarity::distance(image, labels).is_some_and(|distance| distance > MAX_DISTANCE)
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

/// The channel of an image that shows most.
struct Channel<'a> {
    samples_hw: Cow<'a, [u8]>,
    /// Gray levels between its darkest and brightest samples, but for single pixels.
    span: usize,
}

/// Fraction of the pixels at either end that may be hot, dead or dust.
const ODD_PIXELS: f32 = 1e-4;

impl<'a> Channel<'a> {
    fn strongest(image: &'a Image) -> Self {
        let samples_hwc = image.samples_hwc();
        match image.channels() {
            Channels::Grey => Self { span: span(samples_hwc), samples_hw: Cow::Borrowed(samples_hwc) },
            Channels::Rgb => {
                let pixels = samples_hwc.as_chunks::<3>().0;
                let channels =
                    [0, 1, 2].map(|at| -> Vec<u8> { pixels.iter().map(|pixel| pixel[at]).collect() });
                let channels = channels.map(|samples_hw| (span(&samples_hw), samples_hw));
                let [red, green, blue] = channels;
                let stronger = |a: (usize, Vec<u8>), b: (usize, Vec<u8>)| if b.0 > a.0 { b } else { a };
                let (span, samples_hw) = stronger(stronger(red, green), blue);
                Self { span, samples_hw: Cow::Owned(samples_hw) }
            }
        }
    }
}

/// Gray levels between the darkest and brightest samples, but for odd ones.
fn span(samples: &[u8]) -> usize {
    let histogram = histogram(samples).map(|count| count as usize);
    let odd = (samples.len() as f32 * ODD_PIXELS) as usize;
    let low = reach(&histogram, 0..256, odd);
    let high = reach(&histogram, (0..256).rev(), odd);
    high.saturating_sub(low)
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

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::scene::{HEIGHT, Scene, WIDTH};
    use super::*;

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

    fn grey(samples_hw: Vec<u8>) -> Image {
        Image::new(WIDTH as u32, HEIGHT as u32, Channels::Grey, samples_hw).unwrap()
    }

    fn background() -> LabelImage {
        LabelImage::background(WIDTH as u32, HEIGHT as u32).unwrap()
    }

    #[test]
    fn doubts_are_named() {
        let full = LabelImage::new(WIDTH as u32, HEIGHT as u32, vec![1; WIDTH * HEIGHT]).unwrap();
        let (sharp, found) = Scene::PLAIN.draw();
        let (blurred, found_blurred) = Scene { blur: 6.0, ..Scene::PLAIN }.draw();
        let (sharp, blurred) = (grey(sharp), grey(blurred));
        let (blank, white) = (grey(vec![9; WIDTH * HEIGHT]), grey(vec![255; WIDTH * HEIGHT]));
        let fits = ScaleFit::WithinLimits;
        let cases = [
            (&blank, &background(), fits, None, QcFlags::BLANK),
            (&sharp, &found, fits, None, QcFlags::NONE),
            (&sharp, &found, fits, Some(0.98), QcFlags::NONE),
            (&sharp, &found, fits, Some(0.7), QcFlags::OUT_OF_DISTRIBUTION),
            (&sharp, &found, fits, Some(f32::NAN), QcFlags::OUT_OF_DISTRIBUTION),
            (&sharp, &found, ScaleFit::Clamped, None, QcFlags::OFF_SCALE),
            (&sharp, &full, fits, None, QcFlags::TOO_DENSE),
            (&blurred, &found_blurred, fits, None, QcFlags::OUT_OF_FOCUS),
            (&blurred, &background(), fits, None, QcFlags::OUT_OF_FOCUS),
            (&white, &full, fits, None, QcFlags::BLANK.union(QcFlags::SATURATED).union(QcFlags::TOO_DENSE)),
        ];
        for (at, (image, labels, scale_fit, confidence, qc_flags)) in cases.into_iter().enumerate() {
            assert_eq!(Evidence::of(image, labels, scale_fit, confidence).qc_flags, qc_flags, "case {at}");
        }
    }

    #[test]
    fn empty_and_sparse_fields_are_trusted() {
        for noise in [0.5, 1.0, 2.0, 4.0] {
            for nuclei in 0..=6 {
                let (samples, found) = Scene { nuclei, noise, ..Scene::PLAIN }.draw();
                let evidence = Evidence::of(&grey(samples), &found, ScaleFit::WithinLimits, None);
                assert_eq!(evidence.qc_flags, QcFlags::NONE, "{nuclei} nuclei, noise {noise}");
            }
            // The network's doubt in noise is none in a count of zero.
            let (samples, _) = Scene { nuclei: 0, noise, ..Scene::PLAIN }.draw();
            let evidence = Evidence::of(&grey(samples), &background(), ScaleFit::WithinLimits, Some(0.1));
            assert_eq!((evidence.qc_flags, evidence.focus), (QcFlags::NONE, 0.0));
        }
    }

    #[test]
    fn a_single_channel_is_judged_as_its_gray_twin() {
        for contrast in [12.0, 40.0, 150.0] {
            let (samples, found) = Scene { contrast, ground: 4.0, noise: 0.7, ..Scene::PLAIN }.draw();
            let twin = Evidence::of(&grey(samples.clone()), &found, ScaleFit::WithinLimits, None);
            for channel in 0..3 {
                let rgb = samples.iter().flat_map(|&sample| {
                    let mut pixel = [3; 3];
                    pixel[channel] = sample;
                    pixel
                });
                let image = Image::new(WIDTH as u32, HEIGHT as u32, Channels::Rgb, rgb.collect()).unwrap();
                let alone = Evidence::of(&image, &found, ScaleFit::WithinLimits, None);
                assert_eq!((alone.focus, alone.qc_flags), (twin.focus, QcFlags::NONE), "channel {channel}");
            }
        }
    }

    #[test]
    fn odd_pixels_neither_make_nor_hide_a_blank_image() {
        let mut samples = vec![9; WIDTH * HEIGHT];
        (samples[5], samples[700]) = (255, 0);
        let evidence = |samples| Evidence::of(&grey(samples), &background(), ScaleFit::WithinLimits, None);
        assert_eq!(evidence(samples).qc_flags, QcFlags::BLANK);
        let (mut sharp, found) = Scene { contrast: 20.0, ..Scene::PLAIN }.draw();
        (sharp[5], sharp[700]) = (255, 0);
        let evidence = Evidence::of(&grey(sharp), &found, ScaleFit::WithinLimits, None);
        assert_eq!(evidence.qc_flags, QcFlags::NONE);
    }
}
