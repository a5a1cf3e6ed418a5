//! Scenes of round nuclei as a camera sees them, with their labels, for tests.

use alloc::{vec, vec::Vec};

use crate::label_image::LabelImage;

pub(super) const WIDTH: usize = 256;
pub(super) const HEIGHT: usize = 192;

/// A scene: round nuclei, blurred, and then noisy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene {
    pub(super) radius: f32,
    pub(super) nuclei: usize,
    pub(super) ground: f32,
    pub(super) contrast: f32,
    /// Deviation of the blur, px.
    pub(super) blur: f32,
    /// Deviation of the noise, gray levels.
    pub(super) noise: f32,
}

impl Scene {
    pub(super) const PLAIN: Self =
        Self { radius: 11.0, nuclei: 12, ground: 14.0, contrast: 100.0, blur: 1.1, noise: 1.5 };

    /// The samples, and what is above 40 % of a nucleus's contrast as its label.
    pub(super) fn draw(self) -> (Vec<u8>, LabelImage) {
        let mut random = Random(1);
        let cell = 3.4 * self.radius + 4.0;
        let columns = (WIDTH as f32 / cell) as usize;
        let middles: Vec<(f32, f32)> = (0..self.nuclei)
            .map(|at| {
                let place = |index: usize, random: &mut Random| {
                    (index as f32 + 0.5) * cell + (random.uniform() - 0.5) * 0.3 * self.radius
                };
                (place(at % columns, &mut random), place(at / columns, &mut random))
            })
            .collect();
        assert!(middles.iter().all(|&(_, y)| y + self.radius < HEIGHT as f32), "room for {self:?}");
        let mut owner = vec![0_u32; WIDTH * HEIGHT];
        let mut light = vec![0.0_f32; WIDTH * HEIGHT];
        for at in 0..WIDTH * HEIGHT {
            let (x, y) = ((at % WIDTH) as f32, (at / WIDTH) as f32);
            let far = |&(middle_x, middle_y): &(f32, f32)| (x - middle_x).hypot(y - middle_y);
            let nearest = middles.iter().enumerate().min_by(|a, b| far(a.1).total_cmp(&far(b.1)));
            let Some((index, middle)) = nearest else { continue };
            owner[at] = index as u32 + 1;
            light[at] = (self.radius + 0.5 - far(middle)).clamp(0.0, 1.0);
        }
        blur(&mut light, WIDTH, self.blur);
        let labels = light.iter().zip(&owner).map(|(&light, &owner)| if light > 0.4 { owner } else { 0 });
        let labels = LabelImage::new(WIDTH as u32, HEIGHT as u32, labels.collect()).unwrap();
        let samples = light.iter().map(|light| {
            (self.ground + self.contrast * light + self.noise * random.normal()).round().clamp(0.0, 255.0)
                as u8
        });
        (samples.collect(), labels)
    }
}

/// A Gaussian blur whose borders are repeated.
pub(super) fn blur(values_hw: &mut [f32], width: usize, deviation: f32) {
    let height = values_hw.len() / width;
    let reach = (3.0 * deviation).ceil() as isize;
    let weight = |offset: isize| (-0.5 * (offset as f32 / deviation).powi(2)).exp();
    let total: f32 = (-reach..=reach).map(weight).sum();
    for (lines, length, line_step, step) in [(height, width, width, 1), (width, height, 1, width)] {
        for line in 0..lines {
            let before: Vec<f32> = (0..length).map(|at| values_hw[line * line_step + at * step]).collect();
            for at in 0..length {
                let value =
                    |offset: isize| before[(at as isize + offset).clamp(0, length as isize - 1) as usize];
                let sum: f32 = (-reach..=reach).map(|offset| weight(offset) * value(offset)).sum();
                values_hw[line * line_step + at * step] = sum / total;
            }
        }
    }
}

/// A linear congruential generator.
pub(super) struct Random(pub(super) u32);

impl Random {
    pub(super) fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1 << 24) as f32
    }

    /// The sum of twelve uniform numbers.
    pub(super) fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}
