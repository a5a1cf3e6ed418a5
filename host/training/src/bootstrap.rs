//! How sure a difference between two models is.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;

/// A mean with its interval of 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The mean over all images.
    pub mean: f64,
    /// Its 2.5 % quantile.
    pub low: f64,
    /// Its 97.5 % quantile.
    pub high: f64,
}

/// Times that the photographs are drawn.
const DRAWS: usize = 2000;

/// The mean of `values`, one per image, with its interval over photographs: images of one photograph are drawn
/// together, since they succeed and fail together (Efron, "Bootstrap Methods", 1979). Give the differences of two
/// models' scores to compare them image by image. `None` of no value.
pub fn bootstrap(values: &[f64], photographs: &[usize]) -> Option<Interval> {
    let mut of_photograph: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for (value, photograph) in values.iter().zip(photographs) {
        let (sum, count) = of_photograph.entry(*photograph).or_default();
        (*sum, *count) = (*sum + value, *count + 1.0);
    }
    let sums: Vec<(f64, f64)> = of_photograph.into_values().collect();
    if sums.is_empty() {
        return None;
    }
    let mut rng = StdRng::seed_from_u64(1);
    let mut means: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let draw = |_| sums[rng.random_range(0..sums.len())];
            let add = |(sum, count), (more, images)| (sum + more, count + images);
            let (sum, count) = (0..sums.len()).map(draw).fold((0.0, 0.0), add);
            sum / count
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let quantile = |share: f64| means[(share * (DRAWS - 1) as f64).round() as usize];
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    Some(Interval { mean, low: quantile(0.025), high: quantile(0.975) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_mean() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 10)).collect();
        let alone: Vec<usize> = (0..400).collect();
        let Interval { mean, low, high } = bootstrap(&values, &alone).unwrap();
        let error = 8.25_f64.sqrt() / 20.0;
        assert_eq!(mean, 4.5);
        assert!((low - (4.5 - 1.96 * error)).abs() < 0.05 && (high - (4.5 + 1.96 * error)).abs() < 0.05);
        // Of ten photographs of equal images there is no more to know than of ten images.
        let together: Vec<usize> = (0..400).map(|i| i % 10).collect();
        let Interval { low, high, .. } = bootstrap(&values, &together).unwrap();
        assert!(high - low > 3.0, "{low} {high}");
        assert_eq!(bootstrap(&[], &[]), None);
    }
}
