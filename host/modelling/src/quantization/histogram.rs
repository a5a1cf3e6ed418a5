//! Histograms of values, and the range that their int8 codes cover.

use clap::ValueEnum;
use serde::Serialize;

use crate::graph::{AffineQuantization, Range};

/// How the range of a value is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum RangeMethod {
    /// From the smallest to the largest value seen.
    MinMax,
    /// All but one value in ten thousand at either end.
    Percentile,
    /// The range with the least squared error of rounding and clipping.
    LeastError,
}

impl RangeMethod {
    /// Every method.
    pub const ALL: [Self; 3] = [Self::MinMax, Self::Percentile, Self::LeastError];

    /// Its display name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MinMax => "min-max",
            Self::Percentile => "percentile",
            Self::LeastError => "least error",
        }
    }
}

/// Bins of a histogram.
const BINS: usize = 4096;
/// Fraction of the values that the percentile method cuts at either end.
const TAIL: f64 = 1e-4;
/// Candidate ranges of the least-error method, widest first.
const CUTS: usize = 60;

/// A histogram of a value with equal bins.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    range: Range,
    counts: Vec<u64>,
}

impl Histogram {
    /// An empty one over `range`.
    pub fn new(range: Range) -> Self {
        Self { range, counts: vec![0; BINS] }
    }

    /// Adds values; those beyond the range count in the outermost bins.
    pub fn count(&mut self, numbers: &[f32]) {
        let width = self.width();
        let per_bin = if width > 0.0 { 1.0 / width } else { 0.0 };
        for number in numbers {
            let bin = ((number - self.range.low) * per_bin).clamp(0.0, (BINS - 1) as f32);
            self.counts[bin as usize] += 1;
        }
    }

    /// The range that `method` chooses.
    pub fn range(&self, method: RangeMethod) -> Range {
        match method {
            RangeMethod::MinMax => self.range,
            RangeMethod::Percentile => self.percentile(),
            RangeMethod::LeastError => self.least_error(),
        }
    }

    fn width(&self) -> f32 {
        (self.range.high - self.range.low) / BINS as f32
    }

    fn percentile(&self) -> Range {
        let total: u64 = self.counts.iter().sum();
        let spared = (total as f64 * TAIL) as u64;
        let cut = |counts: &mut dyn Iterator<Item = &u64>| {
            let mut passed = 0;
            counts
                .take_while(|&&count| {
                    passed += count;
                    passed <= spared
                })
                .count()
        };
        let (below, above) = (cut(&mut self.counts.iter()), cut(&mut self.counts.iter().rev()));
        if below + above >= BINS {
            return self.range;
        }
        let width = self.width();
        Range { low: self.range.low + below as f32 * width, high: self.range.high - above as f32 * width }
    }

    /// Both ends are drawn in alike, since most values have one end only: zero.
    fn least_error(&self) -> Range {
        let cut = |at: usize| {
            let share = 1.0 - at as f32 / CUTS as f32;
            Range { low: self.range.low.min(0.0) * share, high: self.range.high.max(0.0) * share }
        };
        (0..CUTS)
            .map(|at| (self.squared_error(cut(at)), cut(at)))
            .reduce(|best, next| if next.0 < best.0 { next } else { best })
            .map_or(self.range, |(_, range)| range)
    }

    fn squared_error(&self, range: Range) -> f64 {
        let (affine, width) = (AffineQuantization::of_range(range), self.width());
        self.counts
            .iter()
            .enumerate()
            .filter(|&(_, &count)| count > 0)
            .map(|(bin, &count)| {
                let number = self.range.low + (bin as f32 + 0.5) * width;
                let error = f64::from(number - affine.round(number));
                // Within a step, numbers lie anywhere: a bin's center may fall on a level by chance.
                let inside = f64::from(affine.scale).powi(2) / 12.0;
                count as f64
                    * if error.abs() <= f64::from(affine.scale) / 2.0 { inside } else { error * error }
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million numbers up to 1, and a stray one at 100.
    fn skewed() -> Histogram {
        let mut histogram = Histogram::new(Range { low: 0.0, high: 100.0 });
        let numbers: Vec<f32> = (0..1_000_000).map(|at| at as f32 / 1e6).collect();
        histogram.count(&numbers);
        histogram.count(&[100.0]);
        histogram
    }

    #[test]
    fn the_methods_differ_in_what_they_do_with_a_stray_number() {
        let histogram = skewed();
        assert_eq!(histogram.range(RangeMethod::MinMax), Range { low: 0.0, high: 100.0 });
        let percentile = histogram.range(RangeMethod::Percentile);
        assert_eq!(percentile.low, 0.0);
        assert!((0.95..1.1).contains(&percentile.high), "{percentile:?}");
        // h / 255 is the step of a million numbers, 100 - h the cut of one: least where 1e6 (h / 255)^2 / 12 +
        // (100 - h)^2 is, at 43.8.
        let least = histogram.range(RangeMethod::LeastError);
        assert!((40.0..48.0).contains(&least.high), "{least:?}");
        let error = |range| histogram.squared_error(range);
        assert!(error(least) <= error(percentile) && error(least) <= error(histogram.range));
    }

    #[test]
    fn a_value_of_one_number_has_a_range() {
        let mut histogram = Histogram::new(Range { low: 0.0, high: 0.0 });
        histogram.count(&[0.0; 10]);
        for method in RangeMethod::ALL {
            assert_eq!(AffineQuantization::of_range(histogram.range(method)).round(0.0), 0.0);
        }
    }

    #[test]
    fn both_signs_are_cut() {
        let mut histogram = Histogram::new(Range { low: -50.0, high: 50.0 });
        let numbers: Vec<f32> = (0..100_000).map(|at| at as f32 / 5e4 - 1.0).collect();
        histogram.count(&numbers);
        for method in [RangeMethod::Percentile, RangeMethod::LeastError] {
            let Range { low, high } = histogram.range(method);
            assert!((-3.0..=-0.9).contains(&low) && (0.9..=3.0).contains(&high), "{method:?} {low} {high}");
        }
    }
}
