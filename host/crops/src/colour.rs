//! Augmentation of brightness and color: differences between microscopes, stains and cameras.

mod optics;

use optics::{compress, defocus, light_unevenly, restain, shot_noise};
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
    /// Other amounts and colours of stain, by their optical density. Only of transmitted light.
    #[serde(default)]
    pub restain: f64,
    /// One channel alone: in all three of transmitted light, in its own place of emitted light.
    #[serde(default)]
    pub single_channel: f64,
    /// A picture out of focus.
    #[serde(default)]
    pub defocus: f64,
    /// Light that falls off towards a side, or haze.
    #[serde(default)]
    pub uneven_light: f64,
    /// Noise that grows with the light, as that of few photons does.
    #[serde(default)]
    pub shot_noise: f64,
    /// Blocks and colours that JPEG leaves behind.
    #[serde(default)]
    pub jpeg: f64,
}

/// Where the light of a picture comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Light {
    /// From the nuclei: fluorescence.
    Emitted,
    /// From behind them: stains, brightfield.
    Transmitted,
}

/// How much rarer tissue is inverted than fluorescence: no microscope shows it so.
const TISSUE_INVERSION: f64 = 0.25;

impl ColourAugmentation {
    /// The default of `train`.
    pub const DEFAULT: Self = Self {
        gamma: 0.5,
        contrast: 0.5,
        stain: 0.3,
        saturation: 0.4,
        hue: 0.05,
        grey: 0.15,
        inversion: 0.08,
        blur: 0.1,
        noise: 0.25,
        restain: 0.7,
        single_channel: 0.1,
        defocus: 0.2,
        uneven_light: 0.3,
        shot_noise: 0.2,
        jpeg: 0.1,
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
        restain: 0.0,
        single_channel: 0.0,
        defocus: 0.0,
        uneven_light: 0.0,
        shot_noise: 0.0,
        jpeg: 0.0,
    };
}

/// Varies a crop `[3, side, side]` of 0 to 1 in place; it stays within 0 to 1.
pub fn augment_colour(
    image_chw: &mut [f32],
    side: usize,
    light: Light,
    how: &ColourAugmentation,
    rng: &mut StdRng,
) {
    let area = side * side;
    let transmitted = light == Light::Transmitted;
    if transmitted && rng.random_bool(how.restain) {
        restain(image_chw, area, rng);
    }
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
    if rng.random_bool(how.single_channel) {
        keep_channel(image_chw, area, light, rng.random_range(0..3));
    } else if rng.random_bool(how.grey) {
        saturate(image_chw, area, 0.0);
    } else if rng.random_bool(how.saturation) {
        saturate(image_chw, area, rng.random_range(0.2..1.6));
    }
    let inversion = if transmitted { TISSUE_INVERSION * how.inversion } else { how.inversion };
    if rng.random_bool(inversion) {
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
    if rng.random_bool(how.uneven_light) {
        light_unevenly(image_chw, side, light, rng);
    }
    image_chw.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
    if rng.random_bool(how.defocus) {
        defocus(image_chw, side, rng.random_range(0.6..2.2));
    }
    if rng.random_bool(how.blur) {
        image_chw.chunks_exact_mut(area).for_each(|plane| blur(plane, side));
    }
    if rng.random_bool(how.shot_noise) {
        shot_noise(image_chw, rng);
    }
    if rng.random_bool(how.noise) {
        let sigma = rng.random_range(0.005..0.05_f32);
        image_chw.iter_mut().for_each(|v| *v += sigma * normal(rng));
    }
    image_chw.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
    if rng.random_bool(how.jpeg) {
        compress(image_chw, side, rng.random_range(25..85));
    }
}

/// A number of mean 0 and deviation 1, within 2.45: the sum of two even ones, which is near enough to a normal
/// distribution for what is drawn here.
pub fn normal(rng: &mut StdRng) -> f32 {
    let half = 6.0_f32.sqrt() / 2.0;
    rng.random_range(-half..half) + rng.random_range(-half..half)
}

/// Leaves one channel: in all places, as a grey camera sees a stain, or in its own, as a colour camera sees one dye.
fn keep_channel(image_chw: &mut [f32], area: usize, light: Light, channel: usize) {
    let kept = image_chw[channel * area..(channel + 1) * area].to_vec();
    for (at, plane) in image_chw.chunks_exact_mut(area).enumerate() {
        match light {
            Light::Transmitted => plane.copy_from_slice(&kept),
            Light::Emitted if at != channel => plane.fill(0.0),
            Light::Emitted => {}
        }
    }
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
            (ColourAugmentation { restain: 1.0, ..off }, "restain"),
            (ColourAugmentation { single_channel: 1.0, ..off }, "single channel"),
            (ColourAugmentation { defocus: 1.0, ..off }, "defocus"),
            (ColourAugmentation { uneven_light: 1.0, ..off }, "uneven light"),
            (ColourAugmentation { shot_noise: 1.0, ..off }, "shot noise"),
            (ColourAugmentation { jpeg: 1.0, ..off }, "JPEG"),
        ];
        for (how, name) in cases {
            for light in [Light::Emitted, Light::Transmitted] {
                let mut varied = image.clone();
                augment_colour(&mut varied, 8, light, &how, &mut StdRng::seed_from_u64(4));
                if light == Light::Transmitted && name == "inversion" {
                    // Rarer than asked for.
                    continue;
                }
                let stays = name == "off" || light == Light::Emitted && name == "restain";
                assert_eq!(varied == image, stays, "{name}, {light:?}");
                assert!(varied.iter().all(|v| (0.0..=1.0).contains(v)), "{name}");
            }
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
