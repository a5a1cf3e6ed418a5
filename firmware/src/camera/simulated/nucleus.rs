//! One nucleus: shape, stain, motion, and division.

use std::f32::consts::TAU;

use rand::rngs::SmallRng;

use super::chromatin::Chromatin;
use super::random::{between, normal};

/// Directions in which the outline is sampled.
const DIRECTIONS: usize = 64;
/// Frames for condensing before division, and for which the plate then lasts.
const CONDENSING: u32 = 40;
const PLATE: u32 = 30;
/// Frames for which daughters move apart.
const PARTING: u32 = 30;
/// Fraction by which a nucleus approaches its phase's form per frame.
const EASE: f32 = 0.07;

/// The phase of a nucleus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between divisions.
    Interphase,
    /// Chromosomes condense; frames left.
    Condensing(u32),
    /// Chromosomes are lined up; frames left.
    Plate(u32),
    /// A daughter moves away from its sister; frames left.
    Parting(u32),
}

/// The current form of a nucleus, which changes gradually.
#[derive(Debug, Clone, Copy)]
struct NucleusForm {
    /// Half of the longer axis, px.
    major: f32,
    /// Half of the shorter axis, px.
    minor: f32,
    /// Gray levels of its stain.
    brightness: f32,
    /// Visibility of the outline's irregularity, 0 to 1.
    irregular: f32,
    /// Visibility of the texture, 0 to 1.
    textured: f32,
}

/// A nucleus in the world's coordinates.
#[derive(Debug, Clone)]
pub(super) struct Nucleus {
    /// Its middle, px.
    pub(super) x: f32,
    /// Its middle, px.
    pub(super) y: f32,
    velocity: (f32, f32),
    angle: f32,
    spin: f32,
    /// Its mature form at rest.
    adult: NucleusForm,
    form: NucleusForm,
    phase: Phase,
    /// Radius relative to the ellipse's, over pseudo-angles.
    outline: [f32; DIRECTIONS],
    chromatin: Chromatin,
}

/// Stain and depth of a nucleus at a pixel.
#[derive(Debug, Clone, Copy)]
pub(super) struct StainSample {
    /// Distance from the center relative to the outline's: below 1 is inside.
    pub(super) depth: f32,
    /// Gray levels of stain, before the optics.
    pub(super) stain: f32,
}

impl Nucleus {
    /// A mature nucleus at a position. Most are similar in size and stain, as in one cell line.
    pub(super) fn new(rng: &mut SmallRng, x: f32, y: f32) -> Self {
        let radius = (13.0 * (0.12 * normal(rng)).exp()).clamp(10.5, 16.5);
        let elongation = 1.05 + 0.34 * normal(rng).abs().min(2.4);
        let brightness = (92.0 * (0.28 * normal(rng)).exp()).clamp(48.0, 185.0);
        let adult = NucleusForm {
            major: radius * elongation.sqrt(),
            minor: radius / elongation.sqrt(),
            brightness,
            irregular: 1.0,
            textured: 1.0,
        };
        Self {
            x,
            y,
            velocity: (0.0, 0.0),
            angle: between(rng, 0.0, TAU),
            spin: 0.0,
            adult,
            form: adult,
            phase: Phase::Interphase,
            outline: outline(rng),
            chromatin: Chromatin::new(rng),
        }
    }

    /// Whether it may begin to divide.
    pub(super) fn at_rest(&self) -> bool {
        self.phase == Phase::Interphase && self.form.major > 0.95 * self.adult.major
    }

    /// Begins to divide.
    pub(super) const fn divide(&mut self) {
        self.phase = Phase::Condensing(CONDENSING);
    }

    /// Applies its phase's form immediately.
    pub(super) fn settle(&mut self) {
        self.form = self.goal();
    }

    /// Advances by one frame: moves, turns, changes form. A plate at its end splits into two daughters.
    pub(super) fn step(&mut self, rng: &mut SmallRng) -> Option<Self> {
        let goal = self.goal();
        let ease = |now: &mut f32, goal: f32, share: f32| *now += (goal - *now) * share;
        // A daughter grows slowly; every other change is fast.
        let growth = if self.phase == Phase::Interphase { 0.015 } else { EASE };
        ease(&mut self.form.major, goal.major, growth);
        ease(&mut self.form.minor, goal.minor, growth);
        ease(&mut self.form.brightness, goal.brightness, EASE / 2.0);
        ease(&mut self.form.irregular, goal.irregular, EASE);
        ease(&mut self.form.textured, goal.textured, EASE);
        let wander = |velocity: f32, rng: &mut SmallRng| 0.94 * velocity + 0.02 * normal(rng);
        self.velocity = (wander(self.velocity.0, rng), wander(self.velocity.1, rng));
        self.spin = 0.95 * self.spin + 0.0012 * normal(rng);
        self.x += self.velocity.0;
        self.y += self.velocity.1;
        self.angle = (self.angle + self.spin).rem_euclid(TAU);
        let mut daughter = None;
        self.phase = match self.phase {
            Phase::Condensing(0) => Phase::Plate(PLATE),
            Phase::Plate(0) => {
                daughter = Some(self.part(rng));
                self.phase
            }
            Phase::Parting(0) => Phase::Interphase,
            Phase::Condensing(left) => Phase::Condensing(left - 1),
            Phase::Plate(left) => Phase::Plate(left - 1),
            Phase::Parting(left) => Phase::Parting(left - 1),
            Phase::Interphase => Phase::Interphase,
        };
        daughter
    }

    /// Becomes one daughter and returns the other: two parallel bars that drift apart across the plate.
    fn part(&mut self, rng: &mut SmallRng) -> Self {
        let (across_x, across_y) = (-self.angle.sin(), self.angle.cos());
        let apart = self.form.minor;
        self.form.minor *= 0.75;
        let mut other = Self::new(rng, self.x, self.y);
        other.form = self.form;
        other.angle = self.angle + between(rng, -0.15, 0.15);
        for (daughter, side) in [(&mut *self, 1.0), (&mut other, -1.0)] {
            daughter.phase = Phase::Parting(PARTING);
            daughter.x += side * apart * across_x;
            daughter.y += side * apart * across_y;
            daughter.velocity = (side * 0.45 * across_x, side * 0.45 * across_y);
        }
        self.chromatin = Chromatin::new(rng);
        self.outline = outline(rng);
        other
    }

    fn goal(&self) -> NucleusForm {
        let adult = self.adult;
        let radius = (adult.major * adult.minor).sqrt();
        match self.phase {
            Phase::Interphase => adult,
            Phase::Condensing(_) => NucleusForm {
                major: 0.88 * radius,
                minor: 0.80 * radius,
                brightness: 1.45 * adult.brightness,
                irregular: 0.6,
                textured: 1.6,
            },
            Phase::Plate(_) => NucleusForm {
                major: 0.88 * radius,
                minor: 0.40 * radius,
                brightness: 1.9 * adult.brightness,
                irregular: 1.2,
                textured: 0.6,
            },
            Phase::Parting(_) => NucleusForm {
                major: 0.74 * radius,
                minor: 0.48 * radius,
                brightness: 1.5 * adult.brightness,
                irregular: 1.0,
                textured: 0.6,
            },
        }
    }

    /// Maximum distance of its pixels from its center, px.
    pub(super) fn reach(&self) -> f32 {
        1.25 * self.form.major.max(self.form.minor)
    }

    /// Distance from its center to its outline towards `dx`, `dy`, px.
    pub(super) fn reach_towards(&self, dx: f32, dy: f32) -> f32 {
        let length = dx.hypot(dy).max(1e-3);
        let view = self.view();
        let (u, v) = view.uv(dx / length, dy / length);
        view.outline_towards(u, v) / u.hypot(v)
    }

    /// Moves it by this many pixels.
    pub(super) fn shift(&mut self, dx: f32, dy: f32) {
        self.x += dx;
        self.y += dy;
    }

    /// The data for drawing it.
    pub(super) fn view(&self) -> View<'_> {
        let (sin, cos) = self.angle.sin_cos();
        View { nucleus: self, sin, cos }
    }
}

/// A nucleus with precomputed angle, for many samples.
pub(super) struct View<'a> {
    nucleus: &'a Nucleus,
    sin: f32,
    cos: f32,
}

impl View<'_> {
    /// The nucleus at a pixel at `dx`, `dy` from its center.
    pub(super) fn sample(&self, dx: f32, dy: f32) -> StainSample {
        let form = &self.nucleus.form;
        let (u, v) = self.uv(dx, dy);
        let outline = self.outline_towards(u, v);
        let depth = (u * u + v * v).sqrt() / outline;
        let radius = (form.major * form.minor).sqrt();
        // A pixel on the outline is half covered; thinner towards the rim, as a flat ellipsoid.
        let covered = ((1.0 - depth) * radius + 0.5).clamp(0.0, 1.0);
        if covered == 0.0 {
            return StainSample { depth, stain: 0.0 };
        }
        let thickness = 0.66 + 0.34 * (1.0 - depth * depth).max(0.0).sqrt();
        let texture = 1.0 + form.textured * (self.nucleus.chromatin.at(u / outline, v / outline) - 1.0);
        StainSample { depth, stain: form.brightness * covered * thickness * texture.max(0.2) }
    }

    /// Into the ellipse's own axes, as shares of them.
    fn uv(&self, dx: f32, dy: f32) -> (f32, f32) {
        let form = &self.nucleus.form;
        ((self.cos * dx + self.sin * dy) / form.major, (self.cos * dy - self.sin * dx) / form.minor)
    }

    fn outline_towards(&self, u: f32, v: f32) -> f32 {
        let place = pseudo_angle(u, v) * (DIRECTIONS as f32 / 4.0);
        let first = place as usize % DIRECTIONS;
        let share = place - (place as usize) as f32;
        let outline = &self.nucleus.outline;
        let relative = outline[first] + share * (outline[(first + 1) % DIRECTIONS] - outline[first]);
        1.0 + self.nucleus.form.irregular * (relative - 1.0)
    }
}

/// Grows with the angle of (u, v), from 0 to 4 in a turn, without trigonometry.
fn pseudo_angle(u: f32, v: f32) -> f32 {
    let share = v / (u.abs() + v.abs()).max(1e-9);
    match (u < 0.0, v < 0.0) {
        (false, false) => share,
        (true, _) => 2.0 - share,
        (false, true) => 4.0 + share,
    }
}

/// The point with |u| + |v| = 1 at a pseudo-angle.
fn on_the_diamond(pseudo: f32) -> (f32, f32) {
    match pseudo {
        p if p < 1.0 => (1.0 - p, p),
        p if p < 3.0 => ((2.0 - p).abs() - 1.0, 2.0 - p),
        p => (p - 3.0, p - 4.0),
    }
}

/// A smooth irregular outline, a few waves around: relative radii at even pseudo-angles.
fn outline(rng: &mut SmallRng) -> [f32; DIRECTIONS] {
    let waves: Vec<(f32, f32, f32)> = [(2.0, 0.040), (3.0, 0.045), (4.0, 0.024), (5.0, 0.014), (7.0, 0.006)]
        .map(|(turns, strength)| (turns, strength * normal(rng).clamp(-2.2, 2.2), between(rng, 0.0, TAU)))
        .to_vec();
    std::array::from_fn(|index| {
        let (u, v) = on_the_diamond(index as f32 * 4.0 / DIRECTIONS as f32);
        let angle = v.atan2(u);
        1.0 + waves
            .iter()
            .map(|(turns, strength, start)| strength * (turns * angle + start).cos())
            .sum::<f32>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudo_angles_grow_through_the_turn_and_come_back() {
        let mut before = -1.0;
        for degree in 0..360 {
            let angle = (degree as f32).to_radians();
            let pseudo = pseudo_angle(angle.cos(), angle.sin());
            assert!(pseudo > before && (0.0..=4.0).contains(&pseudo), "{degree}: {pseudo}");
            before = pseudo;
            let (u, v) = on_the_diamond(pseudo);
            assert!((v.atan2(u).rem_euclid(TAU) - angle).abs() < 1e-3, "{degree}");
        }
    }
}
