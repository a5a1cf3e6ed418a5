//! Whether counts rise or fall, or merely scatter.

use std::collections::VecDeque;

/// Counts that the trend is taken from.
const SPAN: usize = 20;
/// Fewer counts do not change a trend.
const LEAST: usize = 8;

/// The last counts.
#[derive(Debug, Clone, Default)]
pub struct Trend {
    counts: VecDeque<u32>,
}

/// The trend of counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrendDirection {
    /// Too few counts.
    Unknown,
    /// Up.
    Rising,
    /// Down.
    Falling,
    /// Neither, within their scatter.
    Steady,
}

impl TrendDirection {
    /// The word for it; empty where it is unknown.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Rising => "rising",
            Self::Falling => "falling",
            Self::Steady => "steady",
        }
    }
}

impl Trend {
    /// Adds a count.
    pub fn push(&mut self, count: u32) {
        if self.counts.len() == SPAN {
            self.counts.pop_front();
        }
        self.counts.push_back(count);
    }

    /// Which way the counts go: the newer half against the older, where they differ by more than
    /// twice the standard error of the difference and by more than one nucleus.
    pub fn direction(&self) -> TrendDirection {
        if self.counts.len() < LEAST {
            return TrendDirection::Unknown;
        }
        let counts: Vec<f64> = self.counts.iter().map(|&count| f64::from(count)).collect();
        let (older, newer) = counts.split_at(counts.len() / 2);
        let change = mean(newer) - mean(older);
        let error = (error_squared(older) + error_squared(newer)).sqrt();
        if change.abs() <= (2.0 * error).max(1.0) {
            TrendDirection::Steady
        } else if change > 0.0 {
            TrendDirection::Rising
        } else {
            TrendDirection::Falling
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The square of the mean's standard error.
fn error_squared(values: &[f64]) -> f64 {
    let centre = mean(values);
    let spread: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    spread / (values.len() * (values.len() - 1)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scatter_is_no_trend() {
        let cases: [(&[u32], TrendDirection); 6] = [
            (&[5, 6, 7], TrendDirection::Unknown),
            (&[50; 20], TrendDirection::Steady),
            (&[50, 58, 43, 55, 47, 52, 49, 57, 44, 51], TrendDirection::Steady),
            (&[50, 51, 53, 54, 56, 57, 59, 60, 62, 63], TrendDirection::Rising),
            (&[63, 62, 60, 59, 57, 56, 54, 53, 51, 50], TrendDirection::Falling),
            (&[10, 10, 10, 10, 11, 11, 11, 11], TrendDirection::Steady),
        ];
        for (counts, expected) in cases {
            let mut trend = Trend::default();
            counts.iter().for_each(|&count| trend.push(count));
            assert_eq!(trend.direction(), expected, "{counts:?}");
        }
    }

    #[test]
    fn old_counts_are_forgotten() {
        let mut trend = Trend::default();
        (0..100).for_each(|count| trend.push(count));
        (0..SPAN).for_each(|_| trend.push(100));
        assert_eq!(trend.direction(), TrendDirection::Steady);
    }
}
