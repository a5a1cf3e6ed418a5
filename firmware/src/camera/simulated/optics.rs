//! Microscope and camera: blur, photon noise, and readout noise.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::random::{between, normal};
use super::specimen::Specimen;

/// Deviation of the point spread in focus, px.
const POINT_SPREAD: f32 = 1.05;
/// Side of the blocks on which out-of-focus light is worked out, px.
const BLOCK: usize = 8;
/// Out-of-focus light at three ranges: fraction, and deviation in blocks.
const HAZE: [(f32, f32); 2] = [(0.10, 1.2), (0.12, 5.0)];
/// Gray levels without any light.
const OFFSET: f32 = 7.0;
/// Gray levels of the medium's own light at the lamp's brightest point.
const MEDIUM: f32 = 7.0;
/// Noise of the readout, gray levels.
const READ_NOISE: f32 = 1.1;
/// Gray levels per photon.
const GAIN: f32 = 0.16;
/// Precomputed normal samples, reused from a different offset in each row.
const DRAWS: usize = 1 << 16;
/// Minimum visible pixels of a nucleus.
const MIN_VISIBLE: u32 = 24;
/// How far outside of the half-maximum outline annotators draw a nucleus, px.
const DRAWN_WIDER: f32 = 0.35;

/// A microscope's light path and camera.
#[derive(Debug)]
pub(super) struct Optics {
    width: usize,
    height: usize,
    /// Brightness of the lamp over the image, at most 1.
    lamp_hw: Vec<f32>,
    noise: Vec<f32>,
    seed: u64,
}

impl Optics {
    /// Optics for images of this size.
    pub(super) fn new(width: usize, height: usize, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let centre = (between(&mut rng, 0.35, 0.65), between(&mut rng, 0.35, 0.65));
        let fall = between(&mut rng, 0.5, 0.9);
        let lamp_hw = (0..width * height)
            .map(|at| {
                let place = |index: usize, length: usize| (index as f32 + 0.5) / length as f32;
                let (dx, dy) = (place(at % width, width) - centre.0, place(at / width, height) - centre.1);
                1.0 / (1.0 + fall * (dx * dx + dy * dy))
            })
            .collect();
        let noise = (0..DRAWS + width).map(|_| normal(&mut rng)).collect();
        Self { width, height, lamp_hw, noise, seed }
    }

    /// An image of the specimen, and the nucleus (from 1) of each pixel; slivers are background.
    pub(super) fn expose(&self, specimen: &Specimen) -> (Vec<u8>, Vec<u32>) {
        let (mut light_hw, mut labels_hw) = self.draw(specimen);
        drop_slivers(&mut labels_hw, specimen.nuclei().len());
        let blocks = Blocks::of(&light_hw, self.width, self.height);
        let haze = blocks.haze(specimen);
        blur(&mut light_hw, self.width, POINT_SPREAD);
        // Each frame has its own noise, whichever frames were grabbed before.
        let rng = SmallRng::seed_from_u64(self.seed ^ specimen.age().wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (self.read_out(&light_hw, &haze, rng), labels_hw)
    }

    /// Stain at every pixel, and labels.
    fn draw(&self, specimen: &Specimen) -> (Vec<f32>, Vec<u32>) {
        let (width, height) = (self.width, self.height);
        let mut light_hw = vec![0.0f32; width * height];
        let mut labels_hw = vec![0u32; width * height];
        let mut depths_hw = vec![f32::INFINITY; width * height];
        for (label, nucleus) in (1..).zip(specimen.nuclei()) {
            let (x, y) = (nucleus.x - specimen.picture_origin(), nucleus.y - specimen.picture_origin());
            let reach = nucleus.reach() + 1.0;
            let span = |middle: f32, length: usize| {
                let first = (middle - reach).max(0.0) as usize;
                first..((middle + reach + 1.0).max(0.0) as usize).min(length)
            };
            let view = nucleus.view();
            for row in span(y, height) {
                for column in span(x, width) {
                    let at = row * width + column;
                    let (dx, dy) = (column as f32 - x, row as f32 - y);
                    let sample = view.sample(dx, dy);
                    let (bright, dim) = if sample.stain > light_hw[at] {
                        (sample.stain, light_hw[at])
                    } else {
                        (light_hw[at], sample.stain)
                    };
                    // Where two nuclei overlap, they are thinner than their sum.
                    light_hw[at] = bright + 0.3 * dim;
                    let wide = 1.0 + DRAWN_WIDER * sample.depth / (dx * dx + dy * dy).sqrt().max(1.0);
                    if sample.depth < wide && sample.depth < depths_hw[at] {
                        depths_hw[at] = sample.depth;
                        labels_hw[at] = label;
                    }
                }
            }
        }
        (light_hw, labels_hw)
    }

    /// Digitizes the light of each pixel.
    fn read_out(&self, light_hw: &[f32], haze: &Blocks, mut rng: SmallRng) -> Vec<u8> {
        let mut samples_hw = Vec::with_capacity(light_hw.len());
        let mut haze_row = vec![0.0; self.width];
        for (y, (light, lamp)) in
            light_hw.chunks_exact(self.width).zip(self.lamp_hw.chunks_exact(self.width)).enumerate()
        {
            haze.row(y, &mut haze_row);
            let start = rng.random_range(0..DRAWS);
            let noise = &self.noise[start..start + self.width];
            samples_hw.extend(light.iter().zip(lamp).zip(&haze_row).zip(noise).map(
                |(((light, lamp), haze), noise)| {
                    let photons = lamp * (light + haze + MEDIUM);
                    let deviation = (READ_NOISE * READ_NOISE + GAIN * photons).sqrt();
                    (OFFSET + photons + deviation * noise + 0.5) as u8
                },
            ));
        }
        samples_hw
    }
}

/// Removes labels with fewer than [`MIN_VISIBLE`] pixels, whose nuclei nobody would see.
fn drop_slivers(labels_hw: &mut [u32], nuclei: usize) {
    let mut areas = vec![0u32; nuclei + 1];
    labels_hw.iter().for_each(|&label| areas[label as usize] += 1);
    for label in labels_hw {
        if areas[*label as usize] < MIN_VISIBLE {
            *label = 0;
        }
    }
}

/// Light averaged over blocks of pixels.
struct Blocks {
    columns: usize,
    light: Vec<f32>,
}

impl Blocks {
    fn of(light_hw: &[f32], width: usize, height: usize) -> Self {
        let columns = width.div_ceil(BLOCK);
        let mut light = vec![0.0; columns * height.div_ceil(BLOCK)];
        for (y, row) in light_hw.chunks_exact(width).enumerate() {
            let sums = &mut light[y / BLOCK * columns..][..columns];
            for (sum, block) in sums.iter_mut().zip(row.chunks(BLOCK)) {
                *sum += block.iter().sum::<f32>() / (BLOCK * BLOCK) as f32;
            }
        }
        Self { columns, light }
    }

    /// The light that is out of focus: spread from the nuclei, and glows above and below them.
    fn haze(&self, specimen: &Specimen) -> Self {
        let mut haze = vec![0.0; self.light.len()];
        for (share, spread) in HAZE {
            let mut spread_light = self.light.clone();
            blur(&mut spread_light, self.columns, spread);
            haze.iter_mut().zip(&spread_light).for_each(|(haze, light)| *haze += share * light);
        }
        for glow in specimen.blurs() {
            let (x, y) = (glow.x - specimen.picture_origin(), glow.y - specimen.picture_origin());
            for (at, haze) in haze.iter_mut().enumerate() {
                let middle = |index: usize| (index * BLOCK) as f32 + 0.5 * BLOCK as f32;
                let (dx, dy) = (middle(at % self.columns) - x, middle(at / self.columns) - y);
                let far = (dx * dx + dy * dy) / (2.0 * glow.spread * glow.spread);
                if far < 8.0 {
                    *haze += glow.brightness * (-far).exp();
                }
            }
        }
        Self { columns: self.columns, light: haze }
    }

    /// One row of pixels, between the blocks' middles.
    fn row(&self, y: usize, row: &mut [f32]) {
        let rows = self.light.len() / self.columns;
        let between = |index: usize, count: usize| {
            let place = ((index as f32 + 0.5) / BLOCK as f32 - 0.5).clamp(0.0, (count - 1) as f32);
            let first = (place as usize).min(count.saturating_sub(2));
            (first, (first + 1).min(count - 1), place - first as f32)
        };
        let (above, below, share) = between(y, rows);
        let line = |row: usize| &self.light[row * self.columns..][..self.columns];
        let mixed: Vec<f32> = line(above)
            .iter()
            .zip(line(below))
            .map(|(above, below)| above + share * (below - above))
            .collect();
        for (x, value) in row.iter_mut().enumerate() {
            let (left, right, share) = between(x, self.columns);
            *value = mixed[left] + share * (mixed[right] - mixed[left]);
        }
    }
}

/// A Gaussian blur with replicated borders.
fn blur(light_hw: &mut [f32], width: usize, deviation: f32) {
    let reach = (2.8 * deviation).ceil() as usize;
    let weights: Vec<f32> = (0..=reach).map(|i| (-0.5 * (i as f32 / deviation).powi(2)).exp()).collect();
    let total = 2.0 * weights.iter().sum::<f32>() - weights[0];
    let weights: Vec<f32> = weights.iter().map(|weight| weight / total).collect();

    let mut padded = vec![0.0; width + 2 * reach];
    for row in light_hw.chunks_exact_mut(width) {
        padded[..reach].fill(row[0]);
        padded[reach..reach + width].copy_from_slice(row);
        padded[reach + width..].fill(row[width - 1]);
        row.iter_mut().for_each(|value| *value *= weights[0]);
        for (distance, weight) in weights.iter().enumerate().skip(1) {
            let (left, right) = (&padded[reach - distance..], &padded[reach + distance..]);
            for ((value, left), right) in row.iter_mut().zip(left).zip(right) {
                *value += weight * (left + right);
            }
        }
    }

    let rows = light_hw.len() / width;
    let before = light_hw.to_vec();
    let line = |row: usize| &before[row * width..][..width];
    for (y, row) in light_hw.chunks_exact_mut(width).enumerate() {
        row.iter_mut().for_each(|value| *value *= weights[0]);
        for (distance, weight) in weights.iter().enumerate().skip(1) {
            let (above, below) = (line(y.saturating_sub(distance)), line((y + distance).min(rows - 1)));
            for ((value, above), below) in row.iter_mut().zip(above).zip(below) {
                *value += weight * (above + below);
            }
        }
    }
}
