//! The learning rate over a run.

use std::f64::consts::PI;

/// Fraction of the steps with a rising rate.
const WARM_UP: f64 = 0.02;
/// Final rate as a fraction of the peak.
const FLOOR: f64 = 0.01;

/// A linear rise to `peak` and a half cosine down to a hundredth of it (Loshchilov and Hutter 2017).
/// `step` counts from 0 to `steps - 1`.
pub fn learning_rate(peak: f64, step: u64, steps: u64) -> f64 {
    let warm = (steps as f64 * WARM_UP).ceil().max(1.0);
    let at = step as f64 + 1.0;
    if at <= warm {
        return peak * at / warm;
    }
    let progress = (at - warm) / (steps as f64 - warm).max(1.0);
    peak * (FLOOR + (1.0 - FLOOR) * (1.0 + (PI * progress.min(1.0)).cos()) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls_to_the_floor() {
        let rates: Vec<f64> = (0..1000).map(|step| learning_rate(1e-3, step, 1000)).collect();
        assert!(rates[..20].windows(2).all(|pair| pair[0] < pair[1]));
        assert!(rates[20..].windows(2).all(|pair| pair[0] > pair[1]));
        assert!((rates[19] - 1e-3).abs() < 1e-12);
        assert!((rates[999] - 1e-5).abs() < 1e-9);
        assert!(learning_rate(1.0, 0, 1).is_finite());
    }
}
