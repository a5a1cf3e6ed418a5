//! A layer of living cells on a drifting stage.

use std::f32::consts::TAU;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::nucleus::Nucleus;
use super::random::{between, happens, normal};

/// Margin around the image in which nuclei appear and disappear unseen, px.
const MARGIN: f32 = 56.0;
/// Maximum distance of a visible nucleus's center from the image, px.
const PEEPS_IN: f32 = 10.0;
/// Minimum center distance relative to the sum of two nuclei's radii; less than 1 allows overlap.
const ELBOW_ROOM: f32 = 0.95;
/// Fraction of nuclei that initially touch another.
const CLUSTERED: f32 = 0.45;
/// Probability per frame that a nucleus starts dividing.
const DIVIDES: f32 = 1.0 / 6000.0;
/// Fraction of nuclei dividing in the first frame.
const DIVIDING: f32 = 0.03;
/// Attempts to find a free position.
const TRIES: usize = 40;
/// Relaxation steps for crowded nuclei before the first frame.
const SETTLING: usize = 30;

/// Nuclei, surrounding light, and motion.
#[derive(Debug)]
pub(super) struct Specimen {
    rng: SmallRng,
    /// The world's size: the image with its margin. Nuclei that leave on one side enter on the other, changed.
    width: f32,
    height: f32,
    /// Target number of nuclei in the world.
    capacity: usize,
    nuclei: Vec<Nucleus>,
    blurs: Vec<Blur>,
    /// Pixels that the stage moves in a frame.
    drift: (f32, f32),
    /// Frames lived through.
    age: u64,
}

/// Stain far out of focus: a soft glow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blur {
    /// Its middle, px.
    pub(super) x: f32,
    /// Its middle, px.
    pub(super) y: f32,
    /// Deviation of its Gaussian, px.
    pub(super) spread: f32,
    /// Gray levels in its middle.
    pub(super) brightness: f32,
}

impl Specimen {
    /// A specimen with about `nuclei` nuclei per image.
    pub(super) fn new(width: u32, height: u32, seed: u64, nuclei: u32) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (world_width, world_height) = (width as f32 + 2.0 * MARGIN, height as f32 + 2.0 * MARGIN);
        let shown = (width as f32 + 2.0 * PEEPS_IN) * (height as f32 + 2.0 * PEEPS_IN);
        let more = world_width * world_height / shown;
        let capacity = (nuclei as f32 * more).round() as usize;
        let blurs = (0..capacity / 6)
            .map(|_| Blur {
                x: between(&mut rng, 0.0, world_width),
                y: between(&mut rng, 0.0, world_height),
                spread: between(&mut rng, 9.0, 24.0),
                brightness: between(&mut rng, 1.5, 6.5),
            })
            .collect();
        let heading = between(&mut rng, 0.0, TAU);
        let mut specimen = Self {
            rng,
            width: world_width,
            height: world_height,
            capacity,
            nuclei: Vec::new(),
            blurs,
            drift: (0.2 * heading.cos(), 0.2 * heading.sin()),
            age: 0,
        };
        (0..capacity).for_each(|_| specimen.settle_one());
        (0..SETTLING).for_each(|_| specimen.push_apart(0.5));
        specimen
    }

    /// The nuclei.
    pub(super) fn nuclei(&self) -> &[Nucleus] {
        &self.nuclei
    }

    /// The glows.
    pub(super) fn blurs(&self) -> &[Blur] {
        &self.blurs
    }

    /// Position of the image's first pixel in the world, px.
    pub(super) const fn picture_origin(&self) -> f32 {
        MARGIN
    }

    /// Frames lived through.
    pub(super) const fn age(&self) -> u64 {
        self.age
    }

    /// Advances by one frame.
    pub(super) fn step(&mut self) {
        self.age += 1;
        let wander = |drift: f32, rng: &mut SmallRng| 0.995 * drift + 0.015 * normal(rng);
        self.drift = (wander(self.drift.0, &mut self.rng), wander(self.drift.1, &mut self.rng));
        let mut daughters = Vec::new();
        for nucleus in &mut self.nuclei {
            if nucleus.at_rest() && happens(&mut self.rng, DIVIDES) {
                nucleus.divide();
            }
            daughters.extend(nucleus.step(&mut self.rng));
        }
        self.nuclei.append(&mut daughters);
        self.push_apart(0.12);
        let (dx, dy) = self.drift;
        self.nuclei.iter_mut().for_each(|nucleus| nucleus.shift(dx, dy));
        self.wrap();
    }

    /// Re-enters nuclei that left the world on the other side, changed, unless there are too many.
    fn wrap(&mut self) {
        let mut too_many = self.nuclei.len().saturating_sub(self.capacity);
        let (width, height) = (self.width, self.height);
        let rng = &mut self.rng;
        self.nuclei.retain_mut(|nucleus| {
            let (x, y) = (nucleus.x.rem_euclid(width), nucleus.y.rem_euclid(height));
            if x == nucleus.x && y == nucleus.y {
                return true;
            }
            if too_many > 0 {
                too_many -= 1;
                return false;
            }
            *nucleus = Nucleus::new(rng, x, y);
            true
        });
        for blur in &mut self.blurs {
            blur.x = (blur.x + self.drift.0).rem_euclid(width);
            blur.y = (blur.y + self.drift.1).rem_euclid(height);
        }
    }

    /// Adds a nucleus, often touching another, where it overlaps the others least.
    fn settle_one(&mut self) {
        let mut nucleus = Nucleus::new(&mut self.rng, 0.0, 0.0);
        if happens(&mut self.rng, DIVIDING) {
            nucleus.divide();
            nucleus.settle();
        }
        let clustered = !self.nuclei.is_empty() && happens(&mut self.rng, CLUSTERED);
        let mut best = (f32::INFINITY, (0.0, 0.0));
        for _ in 0..TRIES {
            (nucleus.x, nucleus.y) = if clustered {
                let other = between(&mut self.rng, 0.0, self.nuclei.len() as f32) as usize;
                self.place_against(&nucleus, other)
            } else {
                (between(&mut self.rng, 0.0, self.width), between(&mut self.rng, 0.0, self.height))
            };
            let overlap = self.nuclei.iter().map(|other| self.overlap(&nucleus, other).0).fold(0.0, f32::max);
            if overlap < best.0 {
                best = (overlap, (nucleus.x, nucleus.y));
            }
            if overlap == 0.0 {
                break;
            }
        }
        (nucleus.x, nucleus.y) = best.1;
        self.nuclei.push(nucleus);
    }

    /// A position where `nucleus` touches the one at `other`.
    fn place_against(&mut self, nucleus: &Nucleus, other: usize) -> (f32, f32) {
        let angle = between(&mut self.rng, 0.0, TAU);
        let (dx, dy) = (angle.cos(), angle.sin());
        let other = &self.nuclei[other];
        let distance = between(&mut self.rng, 0.96, 1.1)
            * (other.reach_towards(dx, dy) + nucleus.reach_towards(-dx, -dy));
        ((other.x + distance * dx).rem_euclid(self.width), (other.y + distance * dy).rem_euclid(self.height))
    }

    /// Overlap of two nuclei in pixels, and the direction from the first to the second.
    fn overlap(&self, first: &Nucleus, second: &Nucleus) -> (f32, (f32, f32)) {
        let around = |distance: f32, world: f32| match distance {
            far if far > 0.5 * world => far - world,
            far if far < -0.5 * world => far + world,
            near => near,
        };
        let (dx, dy) = (around(second.x - first.x, self.width), around(second.y - first.y, self.height));
        let distance = (dx * dx + dy * dy).sqrt().max(1e-3);
        if distance > first.reach() + second.reach() {
            return (0.0, (0.0, 0.0));
        }
        let wanted = ELBOW_ROOM * (first.reach_towards(dx, dy) + second.reach_towards(-dx, -dy));
        ((wanted - distance).max(0.0), (dx / distance, dy / distance))
    }

    /// Moves overlapping nuclei apart by `share` of their overlap.
    fn push_apart(&mut self, share: f32) {
        for first in 1..self.nuclei.len() {
            for second in 0..first {
                let (overlap, (dx, dy)) = self.overlap(&self.nuclei[first], &self.nuclei[second]);
                if overlap > 0.0 {
                    let push = 0.5 * share * overlap;
                    self.nuclei[first].shift(-push * dx, -push * dy);
                    self.nuclei[second].shift(push * dx, push * dy);
                }
            }
        }
    }
}
