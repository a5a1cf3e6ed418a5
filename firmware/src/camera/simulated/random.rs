//! Draws from the distributions that a specimen needs.

use rand::Rng;
use rand::rngs::SmallRng;

/// A draw from `low` to below `high`.
pub(super) fn between(rng: &mut SmallRng, low: f32, high: f32) -> f32 {
    rng.random_range(low..high)
}

/// A draw from the normal distribution of mean 0 and deviation 1, after Box and Muller.
pub(super) fn normal(rng: &mut SmallRng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
    radius * (std::f32::consts::TAU * rng.random::<f32>()).cos()
}

/// True with this probability.
pub(super) fn happens(rng: &mut SmallRng, probability: f32) -> bool {
    rng.random::<f32>() < probability
}
