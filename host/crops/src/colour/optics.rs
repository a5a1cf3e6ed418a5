//! What stain, lens, lamp, sensor and file do to a picture.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat};
use rand::Rng;
use rand::rngs::StdRng;

use super::{Light, normal};

/// Light below which densities no longer differ, as a share of the brightest.
const DARKEST: f32 = 0.02;

/// Varies how much a stain absorbs, and of which colours.
///
/// By the law of Beer and Lambert the optical densities `-ln(light)` of several stains add up (Ruifrok and Johnston,
/// "Quantification of histochemical staining by color deconvolution", 2001): another amount, batch or scanner is a
/// linear map of the densities of the three colours.
pub(super) fn restain(image_chw: &mut [f32], area: usize, rng: &mut StdRng) {
    let strength = (0.25 * normal(rng)).exp();
    let mut map = [[0.0; 3]; 3];
    for (to, row) in map.iter_mut().enumerate() {
        for (from, factor) in row.iter_mut().enumerate() {
            *factor = if to == from { strength * (0.2 * normal(rng)).exp() } else { 0.12 * normal(rng) };
        }
    }
    let ground: [f32; 3] = std::array::from_fn(|_| (0.04 * normal(rng)).min(0.0));
    for at in 0..area {
        let density = [0, 1, 2].map(|channel| -image_chw[channel * area + at].max(DARKEST).ln());
        for (channel, (row, ground)) in map.iter().zip(ground).enumerate() {
            let mixed: f32 = row.iter().zip(density).map(|(factor, density)| factor * density).sum();
            image_chw[channel * area + at] = (ground - mixed.max(0.0)).exp();
        }
    }
}

/// Multiplies by a field that changes evenly across the crop, and lays haze over emitted light.
pub(super) fn light_unevenly(image_chw: &mut [f32], side: usize, light: Light, rng: &mut StdRng) {
    let [along, down, bowl] = [0.25 * normal(rng), 0.25 * normal(rng), 0.15 * normal(rng)];
    let haze = match light {
        Light::Emitted => rng.random_range(0.0..0.25_f32),
        Light::Transmitted => 0.0,
    };
    let place = |at: usize| at as f32 / side as f32 * 2.0 - 1.0;
    for plane in image_chw.chunks_exact_mut(side * side) {
        for (at, value) in plane.iter_mut().enumerate() {
            let (x, y) = (place(at % side), place(at / side));
            let field = (along * x + down * y + bowl * (x * x + y * y - 0.7)).exp();
            *value = *value * field + haze * (field - 0.6).max(0.0);
        }
    }
}

/// A Gaussian blur of `sigma` px.
pub(super) fn defocus(image_chw: &mut [f32], side: usize, sigma: f32) {
    let reach = (2.5 * sigma).ceil() as usize;
    let weights: Vec<f32> =
        (0..=reach).map(|at| (-((at * at) as f32) / (2.0 * sigma * sigma)).exp()).collect();
    let sum = weights[0] + 2.0 * weights[1..].iter().sum::<f32>();
    let mut line = vec![0.0; side];
    for plane in image_chw.chunks_exact_mut(side * side) {
        for (step, next) in [(1, side), (side, 1)] {
            for start in (0..side).map(|index| index * next) {
                for (at, value) in line.iter_mut().enumerate() {
                    let near = |at: usize| plane[start + at.min(side - 1) * step];
                    let both = |(far, weight): (usize, &f32)| {
                        weight * (near(at + far) + near(at.saturating_sub(far)))
                    };
                    let sides: f32 = weights.iter().enumerate().skip(1).map(both).sum();
                    *value = (weights[0] * near(at) + sides) / sum;
                }
                for (at, value) in line.iter().enumerate() {
                    plane[start + at * step] = *value;
                }
            }
        }
    }
}

/// Noise whose deviation grows with the root of the light.
pub(super) fn shot_noise(image_chw: &mut [f32], rng: &mut StdRng) {
    let photons = rng.random_range(4.0_f32..7.0).exp();
    for value in image_chw {
        *value += (value.max(0.0) / photons).sqrt() * normal(rng);
    }
}

/// What JPEG of a quality of 1 to 100 makes of the crop.
pub(super) fn compress(image_chw: &mut [f32], side: usize, quality: u8) {
    let area = side * side;
    let samples: Vec<u8> =
        (0..3 * area).map(|at| (image_chw[at % 3 * area + at / 3] * 255.0).round() as u8).collect();
    let mut file = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut file, quality);
    let (length, colour) = (side as u32, ExtendedColorType::Rgb8);
    let written = image::ImageEncoder::write_image(encoder, &samples, length, length, colour);
    // In memory and of a size that is right neither can fail; the crop would stay as it was.
    let Ok(Ok(decoded)) = written.map(|()| image::load_from_memory_with_format(&file, ImageFormat::Jpeg))
    else {
        return;
    };
    for (at, sample) in decoded.to_rgb8().into_raw().into_iter().enumerate() {
        image_chw[at % 3 * area + at / 3] = f32::from(sample) / 255.0;
    }
}
