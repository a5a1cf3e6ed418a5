//! The learning rate over a run.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// Share of the peak that the rate falls to.
const FLOOR: f64 = 0.01;
/// Share of a run's steps that the rate of a cosine rises over.
const WARM_UP: f64 = 0.02;
/// Steps that a held rate rises over.
const HELD_WARM_UP: f64 = 200.0;

/// How the learning rate changes over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// A half cosine down to a hundredth of the peak at the end (Loshchilov and Hutter, "SGDR", 2017).
    #[default]
    Cosine,
    /// The peak, and a straight fall to a hundredth of it over the last steps: a run may be ended sooner or later than
    /// it was planned to (Hu et al., "MiniCPM", 2024).
    Held {
        /// Steps that the fall takes.
        cool_down: u64,
    },
}

impl Schedule {
    /// The rate of a step, which counts from 0 to `steps - 1`; it rises evenly to `peak` at first.
    pub fn rate(self, peak: f64, step: u64, steps: u64) -> f64 {
        let at = step as f64 + 1.0;
        let warm = match self {
            Self::Cosine => (steps as f64 * WARM_UP).ceil().max(1.0),
            Self::Held { .. } => HELD_WARM_UP,
        };
        if at <= warm {
            return peak * at / warm;
        }
        let height = match self {
            Self::Cosine => {
                let progress = (at - warm) / (steps as f64 - warm).max(1.0);
                (1.0 + (PI * progress.min(1.0)).cos()) / 2.0
            }
            Self::Held { cool_down } => {
                (steps.saturating_sub(step + 1) as f64 / (cool_down as f64).max(1.0)).min(1.0)
            }
        };
        peak * (FLOOR + (1.0 - FLOOR) * height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls_to_the_floor() {
        let rate = |step, steps| Schedule::Cosine.rate(1e-3, step, steps);
        let rates: Vec<f64> = (0..1000).map(|step| rate(step, 1000)).collect();
        assert!(rates[..20].windows(2).all(|pair| pair[0] < pair[1]));
        assert!(rates[20..].windows(2).all(|pair| pair[0] > pair[1]));
        assert!((rates[19] - 1e-3).abs() < 1e-12);
        assert!((rates[999] - 1e-5).abs() < 1e-9);
        assert!(rate(0, 1).is_finite());
    }

    #[test]
    fn a_held_rate_does_not_depend_on_the_end_until_it_is_near() {
        let rate = |step, steps| Schedule::Held { cool_down: 100 }.rate(1e-3, step, steps);
        assert!((0..900).all(|step| (rate(step, 1000) - rate(step, 5000)).abs() < 1e-12));
        assert!((rate(500, 1000) - 1e-3).abs() < 1e-12 && rate(10, 1000) < 1e-4);
        assert!((rate(999, 1000) - 1e-5).abs() < 1e-12);
        assert!((900..999).all(|step| rate(step, 1000) > rate(step + 1, 1000)));
    }
}
