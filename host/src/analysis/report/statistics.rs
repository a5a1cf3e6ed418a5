//! Statistics of the counts of several fields: mean, interval, and cautions.
//!
//! The 95 % interval of the mean is Student's, m ± t(0.975, n - 1) s / √n, after Gosset (Biometrika 6, 1908). It
//! assumes randomly chosen fields and an approximately normal mean of n counts. The tests simulate its coverage. For
//! randomly distributed (Poisson) nuclei it is as promised, from 3 fields and 5 nuclei per field on. For clumps it is
//! somewhat lower with few fields. For nuclei in only a quarter of the fields it is three in four with 5 fields, and as
//! promised with 80.

use serde::Serialize;
use statrs::distribution::{ChiSquared, ContinuousCDF as _, StudentsT};

/// Target half width of the interval, relative to the mean.
pub const GOAL: f64 = 0.05;

/// Least fields whose spread needs no warning.
const FEW_FIELDS: usize = 5;
/// Minimum mean at which counts are approximately normal.
const FEW_NUCLEI: f64 = 5.0;
/// Significance level of the test for clumping.
const CLUMPED: f64 = 0.01;

/// A number with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Its 95 % interval; absent for a single field.
    pub interval: Option<[f64; 2]>,
}

impl Estimate {
    /// The same in another unit.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { value: self.value * factor, interval: self.interval.map(|ends| ends.map(|end| end * factor)) }
    }
}

/// Counts of fields.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CountStatistics {
    /// Fields.
    pub fields: usize,
    /// Nuclei in all of them.
    pub total: u64,
    /// Mean of a field, with its interval.
    pub mean: Estimate,
    /// Standard deviation over fields (n - 1); absent for a single field.
    pub standard_deviation: Option<f64>,
    /// Variance over mean: 1 for randomly distributed nuclei, more for clumps.
    pub dispersion: Option<f64>,
    /// Additional fields for an interval within ±5 % of the mean, assuming the same variation.
    pub more_fields: Option<u64>,
}

impl CountStatistics {
    /// From the counts of fields; `None` without fields.
    pub fn of(counts: &[u32]) -> Option<Self> {
        let fields = counts.len();
        let n = fields as f64;
        let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        let mean = if fields == 0 { return None } else { total as f64 / n };
        let squares: f64 = counts.iter().map(|&count| (f64::from(count) - mean).powi(2)).sum();
        let deviation = (fields > 1).then(|| (squares / (n - 1.0)).sqrt());
        Some(Self {
            fields,
            total,
            mean: Estimate {
                value: mean,
                interval: deviation.map(|s| around(mean, student(fields - 1) * s / n.sqrt())),
            },
            standard_deviation: deviation,
            dispersion: deviation.filter(|_| mean > 0.0).map(|s| s * s / mean),
            more_fields: deviation.filter(|_| mean > 0.0).map(|s| {
                let needed = fields_needed(s / mean);
                needed.saturating_sub(fields as u64)
            }),
        })
    }

    /// Cautions for a reader of these numbers.
    pub fn cautions(&self) -> Vec<String> {
        let mut cautions = Vec::new();
        if self.fields == 1 {
            cautions
                .push("one field says nothing about the variation: take 5 or more, chosen at random".into());
        } else if self.fields < FEW_FIELDS {
            let fields = self.fields;
            cautions.push(format!(
                "only {fields} fields: the interval is wide, and assumes normally distributed counts"
            ));
        }
        if self.mean.value < FEW_NUCLEI {
            cautions.push(
                "fewer than 5 nuclei per field: such counts are skewed, and the interval covers less than 95 %"
                    .into(),
            );
        }
        if self.total == 0 {
            let most = 3.0 / self.fields as f64;
            cautions.push(format!(
                "nothing was found: up to {most:.2} randomly distributed nuclei per field could have been missed (95 %)"
            ));
        } else if self.standard_deviation == Some(0.0) {
            cautions.push("all counts are equal by chance: the interval is too narrow".into());
        }
        if let Some(dispersion) = self.dispersion.filter(|_| self.is_clumped()) {
            cautions.push(format!(
                "the counts vary {dispersion:.1} times as much as those of randomly distributed nuclei: \
                     clumps, or fields of different densities; with fewer than 20 such fields the \
                          interval covers less than 95 %"
            ));
        }
        cautions
    }

    /// Whether the counts vary more than those of randomly distributed nuclei in 99 of 100 series: Fisher's test of
    /// dispersion, (n - 1) s² / m against χ² of n - 1 degrees.
    pub fn is_clumped(&self) -> bool {
        let degrees = self.fields.saturating_sub(1) as f64;
        let chance = self
            .dispersion
            .and_then(|dispersion| ChiSquared::new(degrees).ok().map(|chi| chi.sf(degrees * dispersion)));
        chance.is_some_and(|chance| chance < CLUMPED)
    }
}

/// Nuclei by area over fields that may differ in size: Σ counts / Σ areas, with the interval of the ratio
/// estimator, whose residuals are count - ratio × area (Cochran, Sampling Techniques, 1977, 6.4). Of fields
/// of one size it is their mean over that size.
pub fn density(counts: &[u32], areas: &[f64]) -> Option<Estimate> {
    let n = counts.len() as f64;
    let area: f64 = areas.iter().sum();
    if counts.len() != areas.len() || area <= 0.0 {
        return None;
    }
    let value = counts.iter().map(|&count| f64::from(count)).sum::<f64>() / area;
    let squares: f64 =
        counts.iter().zip(areas).map(|(&count, area)| (f64::from(count) - value * area).powi(2)).sum();
    let interval = (counts.len() > 1).then(|| {
        let error = (squares / (n - 1.0) / n).sqrt() / (area / n);
        around(value, student(counts.len() - 1) * error)
    });
    Some(Estimate { value, interval })
}

/// An interval of a non-negative quantity.
fn around(value: f64, half: f64) -> [f64; 2] {
    [(value - half).max(0.0), value + half]
}

/// The two-sided 95 % quantile of Student's t; of 0 degrees there is none.
fn student(degrees: usize) -> f64 {
    StudentsT::new(0.0, 1.0, degrees as f64).map_or(f64::INFINITY, |t| t.inverse_cdf(0.975))
}

/// The minimum number of fields for an interval within [`GOAL`], for counts with this standard deviation over mean.
fn fields_needed(variation: f64) -> u64 {
    // Student's quantile is above the normal one, so the search begins below its end.
    let normal = (1.96 * variation / GOAL).powi(2).floor() as u64;
    let reaches = |n: &u64| student(*n as usize - 1) * variation / (*n as f64).sqrt() <= GOAL;
    (normal.max(2)..).find(reaches).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
