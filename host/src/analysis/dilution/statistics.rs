//! The numbers of a dilution series.

use std::collections::BTreeMap;

use serde::Serialize;
use statrs::distribution::{ChiSquared, ContinuousCDF as _, StudentsT};

/// Standard errors by which the worst step may be off before it is reported.
const FAR: f64 = 3.5;
/// Minimum relative deviation of a reported step, however significant.
const NOTABLE: f64 = 0.05;

/// One dilution.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Dilution factor of the sample.
    pub dilution: f64,
    /// Fields counted.
    pub fields: usize,
    /// Mean count per field.
    pub mean: f64,
    /// Expected mean by the linear fit.
    pub expected: f64,
    /// Mean over expected, less 1.
    pub off: f64,
    /// Standard deviation over mean; absent for a single field.
    pub cv: Option<f64>,
    /// Its 95 % interval.
    pub cv_interval: Option<[f64; 2]>,
    /// The CV of randomly distributed nuclei.
    pub poisson_cv: f64,
    /// Variance over mean.
    pub dispersion: Option<f64>,
}

/// A dilution series, the densest step first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DilutionSeries {
    /// Count per field of the undiluted sample, by the linear fit.
    pub slope: f64,
    /// Fraction of the variance explained by the linear fit.
    pub r_squared: f64,
    /// Relative deviation of the quadratic fit from the linear one.
    pub index: f64,
    /// Deficit of the densest step by the quadratic fit, as a share of what thin steps predict; negative for an excess.
    pub shortfall: f64,
    /// p-value of the quadratic term; absent with too few fields.
    pub bend_p: Option<f64>,
    /// CV over all steps: the root of the mean square, weighted by degrees of freedom.
    pub pooled_cv: Option<f64>,
    /// The dilutions.
    pub steps: Vec<Step>,
}

/// Why counts do not form a series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// There must be several dilutions.
    #[error("a series needs at least two dilutions, got {0}")]
    Few(usize),
    /// Nothing was counted.
    #[error("nothing was counted at any dilution")]
    Empty,
}

impl DilutionSeries {
    /// Of counts of fields, each with its dilution.
    ///
    /// # Errors
    /// [`SeriesError`].
    pub fn of(counts: &[(f64, u32)]) -> Result<Self, SeriesError> {
        let mut by_dilution: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for &(dilution, count) in counts {
            // Positive numbers sort as their bits do.
            by_dilution.entry(dilution.to_bits()).or_default().push(count.into());
        }
        if by_dilution.len() < 2 {
            return Err(SeriesError::Few(by_dilution.len()));
        }
        let total: f64 = counts.iter().map(|&(_, count)| f64::from(count)).sum();
        if total <= 0.0 {
            return Err(SeriesError::Empty);
        }
        let slope = total / counts.iter().map(|(dilution, _)| 1.0 / dilution).sum::<f64>();
        let steps: Vec<Step> = by_dilution
            .into_iter()
            .map(|(bits, counts)| Step::of(f64::from_bits(bits), &counts, slope))
            .collect();
        let bent = QuadraticFit::of(counts);
        let densest = steps.iter().map(|step| 1.0 / step.dilution).fold(0.0, f64::max);
        let weighted = |value: &dyn Fn(&Step) -> f64| {
            steps.iter().map(|step| step.fields as f64 * value(step)).sum::<f64>()
        };
        let mean = total / counts.len() as f64;
        let left = weighted(&|step| (step.mean - step.expected).powi(2));
        let all = weighted(&|step| (step.mean - mean).powi(2));
        let apart = weighted(&|step| (bent.at(1.0 / step.dilution) - step.expected).abs());
        let squares = weighted(&|step| step.cv.map_or(0.0, |cv| cv * cv * (1.0 - 1.0 / step.fields as f64)));
        let degrees = counts.len() - steps.len();
        Ok(Self {
            slope,
            r_squared: if all > 0.0 { 1.0 - left / all } else { 0.0 },
            index: apart / total,
            shortfall: -bent.curve * densest / bent.slope,
            bend_p: bent.p,
            pooled_cv: (degrees > 0).then(|| (squares / degrees as f64).sqrt()),
            steps,
        })
    }

    /// The step that deviates most, if that is significant and relevant.
    pub fn worst_step(&self) -> Option<&Step> {
        let sureness = |step: &Step| {
            let variance =
                step.dispersion.unwrap_or(1.0).max(1.0) * step.expected.max(1.0) / step.fields as f64;
            (step.mean - step.expected).abs() / variance.sqrt()
        };
        let is_far = |step: &&Step| step.off.abs() > NOTABLE && sureness(step) > FAR;
        self.steps.iter().filter(is_far).max_by(|a, b| sureness(a).total_cmp(&sureness(b)))
    }
}

impl Step {
    fn of(dilution: f64, counts: &[f64], slope: f64) -> Self {
        let n = counts.len() as f64;
        let mean = counts.iter().sum::<f64>() / n;
        let expected = slope / dilution;
        let variance = (counts.len() > 1)
            .then(|| counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / (n - 1.0));
        let cv = variance.filter(|_| mean > 0.0).map(|variance| variance.sqrt() / mean);
        Self {
            dilution,
            fields: counts.len(),
            mean,
            expected,
            off: mean / expected - 1.0,
            cv,
            cv_interval: cv.and_then(|cv| cv_interval(cv, counts.len())),
            poisson_cv: 1.0 / mean.max(f64::MIN_POSITIVE).sqrt(),
            dispersion: variance.filter(|_| mean > 0.0).map(|variance| variance / mean),
        }
    }
}

/// The 95 % interval of a coefficient of variation of n normal values: Vangel, The American Statistician 50, 1996.
/// `None` where it has no upper end.
fn cv_interval(cv: f64, n: usize) -> Option<[f64; 2]> {
    let degrees = n as f64 - 1.0;
    let chi = ChiSquared::new(degrees).ok()?;
    let end = |share: f64| {
        let u = chi.inverse_cdf(share);
        let under = ((u + 2.0) / n as f64 - 1.0) * cv * cv + u / degrees;
        (under > 0.0).then(|| cv / under.sqrt())
    };
    Some([end(0.975)?, end(0.025)?])
}

/// y = slope x + curve x², weighted by 1 / x.
struct QuadraticFit {
    slope: f64,
    curve: f64,
    p: Option<f64>,
}

impl QuadraticFit {
    fn of(counts: &[(f64, u32)]) -> Self {
        let points: Vec<(f64, f64)> =
            counts.iter().map(|&(dilution, count)| (1.0 / dilution, f64::from(count))).collect();
        let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|&(x, y)| of(x, y)).sum::<f64>();
        // With weights 1 / x the normal equations hold these sums.
        let (x1, x2, x3) = (sum(&|x, _| x), sum(&|x, _| x * x), sum(&|x, _| x.powi(3)));
        let (y0, y1) = (sum(&|_, y| y), sum(&|x, y| x * y));
        let determinant = x1 * x3 - x2 * x2;
        let (slope, curve) = ((y0 * x3 - y1 * x2) / determinant, (x1 * y1 - x2 * y0) / determinant);
        let degrees = points.len().saturating_sub(2) as f64;
        let squares = sum(&|x, y| (y - slope * x - curve * x * x).powi(2) / x);
        let error = (squares / degrees * x1 / determinant).sqrt();
        let p = StudentsT::new(0.0, 1.0, degrees).ok().filter(|_| error > 0.0 && error.is_finite());
        Self { slope, curve, p: p.map(|t| 2.0 * t.sf((curve / error).abs())) }
    }

    fn at(&self, x: f64) -> f64 {
        self.slope * x + self.curve * x * x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_worked_out_by_hand() {
        let counts = [(1.0, 100), (1.0, 104), (2.0, 50), (2.0, 54), (4.0, 24), (4.0, 28)];
        let series = DilutionSeries::of(&counts).unwrap();
        assert!((series.slope - 360.0 / 3.5).abs() < 1e-9, "{series:?}");
        let dense = &series.steps[0];
        assert_eq!((dense.dilution, dense.fields, dense.mean), (1.0, 2, 102.0));
        assert!((dense.cv.unwrap() - 8f64.sqrt() / 102.0).abs() < 1e-12);
        assert!((dense.off - (102.0 * 3.5 / 360.0 - 1.0)).abs() < 1e-12);
        assert!(series.r_squared > 0.999);
        assert_eq!(DilutionSeries::of(&[(1.0, 5)]), Err(SeriesError::Few(1)));
        assert_eq!(DilutionSeries::of(&[(1.0, 0), (2.0, 0)]), Err(SeriesError::Empty));
    }

    #[test]
    fn a_bent_counter_is_fitted_exactly() {
        // y = 1000 x - 250 x².
        let counts: Vec<(f64, u32)> = [1.0, 2.0, 4.0, 10.0]
            .into_iter()
            .flat_map(|dilution: f64| {
                let x = 1.0 / dilution;
                let y = 1000.0 * x - 250.0 * x * x;
                [(dilution, y.floor() as u32), (dilution, y.ceil() as u32)]
            })
            .collect();
        let series = DilutionSeries::of(&counts).unwrap();
        assert!((series.shortfall - 0.25).abs() < 0.01, "{series:?}");
        assert!(series.bend_p.unwrap() < 1e-6);
    }

    #[test]
    fn a_single_field_has_no_cv_and_many_have_a_narrow_one() {
        assert_eq!(cv_interval(0.2, 1), None);
        let width = |n| cv_interval(0.2, n).map(|[low, high]| (high - low, low < 0.2 && high > 0.2)).unwrap();
        assert!(width(5).0 > 2.0 * width(30).0 && width(5).1 && width(30).1);
    }
}
