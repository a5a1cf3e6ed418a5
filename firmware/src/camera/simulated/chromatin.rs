//! The texture inside a nucleus.

use rand::rngs::SmallRng;

use super::random::{between, normal};

/// Texels a side.
const SIDE: usize = 32;

/// Stain density over the square of -1 to 1 around a nucleus, about 1 on average.
#[derive(Debug, Clone)]
pub(super) struct Chromatin {
    stain: Box<[f32]>,
}

impl Chromatin {
    /// Grains of several sizes, a few unstained nucleoli, and some bright chromocenters.
    pub(super) fn new(rng: &mut SmallRng) -> Self {
        let mut stain = vec![1.0f32; SIDE * SIDE];
        for (smoothings, strength) in [(5, 0.09), (2, 0.08), (1, 0.05)] {
            let mut grain: Vec<f32> = (0..SIDE * SIDE).map(|_| normal(rng)).collect();
            (0..smoothings).for_each(|_| smooth(&mut grain));
            let deviation = (grain.iter().map(|g| g * g).sum::<f32>() / grain.len() as f32).sqrt();
            stain.iter_mut().zip(&grain).for_each(|(stain, grain)| *stain += strength * grain / deviation);
        }
        let nucleoli = between(rng, 0.0, 3.6) as u32;
        let chromocentres = between(rng, 0.0, 5.0) as u32;
        for _ in 0..nucleoli {
            spot(&mut stain, rng, 0.5, (0.10, 0.20), (-0.42, -0.18));
        }
        for _ in 0..chromocentres {
            spot(&mut stain, rng, 0.75, (0.05, 0.10), (0.12, 0.38));
        }
        stain.iter_mut().for_each(|stain| *stain = stain.clamp(0.35, 1.8));
        Self { stain: stain.into() }
    }

    /// The stain at `u`, `v` of -1 to 1, between texels.
    pub(super) fn at(&self, u: f32, v: f32) -> f32 {
        let place = |t: f32| ((t * 0.5 + 0.5) * (SIDE - 1) as f32).clamp(0.0, (SIDE - 1) as f32 - 0.001);
        let (x, y) = (place(u), place(v));
        let (column, row) = (x as usize, y as usize);
        let (fx, fy) = (x - column as f32, y - row as f32);
        let corner = |dx: usize, dy: usize| self.stain[(row + dy) * SIDE + column + dx];
        let above = corner(0, 0) + fx * (corner(1, 0) - corner(0, 0));
        let below = corner(0, 1) + fx * (corner(1, 1) - corner(0, 1));
        above + fy * (below - above)
    }
}

/// A round spot somewhere within `reach` of the middle, brighter or darker by `change` at its center.
fn spot(stain: &mut [f32], rng: &mut SmallRng, reach: f32, radius: (f32, f32), change: (f32, f32)) {
    let (distance, angle) = (reach * between(rng, 0.0, 1.0).sqrt(), between(rng, 0.0, std::f32::consts::TAU));
    let (cx, cy) = (distance * angle.cos(), distance * angle.sin());
    let radius = between(rng, radius.0, radius.1);
    let change = between(rng, change.0, change.1);
    for (at, stain) in stain.iter_mut().enumerate() {
        let place = |index: usize| index as f32 * 2.0 / (SIDE - 1) as f32 - 1.0;
        let (dx, dy) = (place(at % SIDE) - cx, place(at / SIDE) - cy);
        *stain += change * (-(dx * dx + dy * dy) / (2.0 * radius * radius)).exp();
    }
}

/// One pass of the 3x3 mean, wrapped at the edges.
fn smooth(grain: &mut [f32]) {
    for step in [1, SIDE] {
        let before = grain.to_vec();
        for (at, value) in grain.iter_mut().enumerate() {
            let neighbour = |offset: usize| before[(at + offset) % (SIDE * SIDE)];
            *value = (before[at] + neighbour(step) + neighbour(SIDE * SIDE - step)) / 3.0;
        }
    }
}
