//! Augmentation of brightness and color: differences between microscopes, stains and cameras.

use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

/// Probability of each augmentation, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColourAugmentation {
    /// Gamma.
    pub gamma: f64,
    /// Contrast and offset.
    pub contrast: f64,
    /// A gain per channel, like another stain or white balance.
    pub stain: f64,
    /// Saturation.
    pub saturation: f64,
    /// Permuted channels.
    pub hue: f64,
    /// Grayscale.
    pub grey: f64,
    /// Dark for bright.
    pub inversion: f64,
    /// A 3x3 blur.
    pub blur: f64,
    /// Noise per pixel.
    pub noise: f64,
}

impl ColourAugmentation {
    /// The default of `train`.
    pub const DEFAULT: Self = Self {
        gamma: 0.5,
        contrast: 0.5,
        stain: 0.5,
        saturation: 0.5,
        hue: 0.1,
        grey: 0.2,
        inversion: 0.15,
        blur: 0.15,
        noise: 0.3,
    };
    /// Nothing.
    pub const OFF: Self = Self {
        gamma: 0.0,
        contrast: 0.0,
        stain: 0.0,
        saturation: 0.0,
        hue: 0.0,
        grey: 0.0,
        inversion: 0.0,
        blur: 0.0,
        noise: 0.0,
    };
}

/// Augments a crop `[3, side, side]` of 0 to 1 in place; it stays within 0 to 1.
pub fn augment_colour(image_chw: &mut [f32], side: usize, how: &ColourAugmentation, rng: &mut StdRng) {
    let area = side * side;
    if rng.random_bool(how.hue) {
        let turn = rng.random_range(1..3);
        image_chw.rotate_left(turn * area);
    }
    if rng.random_bool(how.stain) {
        for plane in image_chw.chunks_exact_mut(area) {
            let (gain, offset) = (rng.random_range(0.75..1.25), rng.random_range(-0.1..0.1));
            plane.iter_mut().for_each(|v| *v = *v * gain + offset);
        }
    }
    if rng.random_bool(how.grey) {
        saturate(image_chw, area, 0.0);
    } else if rng.random_bool(how.saturation) {
        saturate(image_chw, area, rng.random_range(0.2..1.6));
    }
    if rng.random_bool(how.inversion) {
        image_chw.iter_mut().for_each(|v| *v = 1.0 - *v);
    }
    if rng.random_bool(how.gamma) {
        let power = rng.random_range(-0.5_f32..0.5).exp();
        image_chw.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0).powf(power));
    }
    if rng.random_bool(how.contrast) {
        let (gain, offset) = (rng.random_range(0.7..1.3), rng.random_range(-0.12..0.12));
        image_chw.iter_mut().for_each(|v| *v = (*v - 0.5) * gain + 0.5 + offset);
    }
    if rng.random_bool(how.blur) {
        image_chw.chunks_exact_mut(area).for_each(|plane| blur(plane, side));
    }
    if rng.random_bool(how.noise) {
        let sigma = rng.random_range(0.005..0.05_f32);
        // The sum of two uniform numbers of a width of sqrt(6) has a deviation of 1.
        let half = sigma * 6.0_f32.sqrt() / 2.0;
        image_chw
            .iter_mut()
            .for_each(|v| *v += rng.random_range(-half..half) + rng.random_range(-half..half));
    }
    image_chw.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
}

/// Multiplies each pixel's distance from its own gray by `factor`.
fn saturate(image_chw: &mut [f32], area: usize, factor: f32) {
    for at in 0..area {
        let grey = (image_chw[at] + image_chw[area + at] + image_chw[2 * area + at]) / 3.0;
        for channel in 0..3 {
            let value = &mut image_chw[channel * area + at];
            *value = grey + factor * (*value - grey);
        }
    }
}

/// A binomial 1 2 1 filter in both directions; the edge pixels stand for what lies beyond.
fn blur(plane: &mut [f32], side: usize) {
    let mut pass = |step: usize, line: usize| {
        for start in (0..side).map(|i| i * line) {
            let mut before = plane[start];
            for i in 0..side {
                let at = start + i * step;
                let after = if i + 1 < side { plane[at + step] } else { plane[at] };
                let here = plane[at];
                plane[at] = (before + 2.0 * here + after) / 4.0;
                before = here;
            }
        }
    };
    pass(1, side);
    pass(side, 1);
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn off_changes_nothing_and_each_one_alone_changes_something() {
        let image: Vec<f32> = (0..3 * 64).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
        let off = ColourAugmentation::OFF;
        let cases = [
            (off, "off"),
            (ColourAugmentation { gamma: 1.0, ..off }, "gamma"),
            (ColourAugmentation { contrast: 1.0, ..off }, "contrast"),
            (ColourAugmentation { stain: 1.0, ..off }, "stain"),
            (ColourAugmentation { saturation: 1.0, ..off }, "saturation"),
            (ColourAugmentation { hue: 1.0, ..off }, "hue"),
            (ColourAugmentation { grey: 1.0, ..off }, "grey"),
            (ColourAugmentation { inversion: 1.0, ..off }, "inversion"),
            (ColourAugmentation { blur: 1.0, ..off }, "blur"),
            (ColourAugmentation { noise: 1.0, ..off }, "noise"),
        ];
        for (how, name) in cases {
            let mut varied = image.clone();
            augment_colour(&mut varied, 8, &how, &mut StdRng::seed_from_u64(4));
            assert_eq!(varied == image, name == "off", "{name}");
            assert!(varied.iter().all(|v| (0.0..=1.0).contains(v)), "{name}");
        }
    }

    #[test]
    fn blur_keeps_the_sum_of_an_inner_point() {
        let mut plane = vec![0.0; 25];
        plane[12] = 1.0;
        blur(&mut plane, 5);
        assert_eq!(plane[12], 0.25);
        assert_eq!(plane[11], 0.125);
        assert_eq!(plane[6], 0.0625);
        assert!((plane.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
