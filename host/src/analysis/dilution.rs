//! Assesses a counter with a dilution series: whether counts follow the dilution, and how well they repeat.
//!
//! In the manner of ISO 20391-2, which judges a counter without a reference: a sample thinned to known shares must
//! give counts in proportion to the share, whatever the true number is. That does not show whether the counter is
//! right at any one of them: one that misses a tenth everywhere is proportional too.
//!
//! With x the fraction of sample (1 / dilution) and y the mean count of a dilution over its n fields:
//!
//! | number | is |
//! | --- | --- |
//! | slope | b = Σ n y / Σ n x, least squares through the origin with the variance in proportion to the count |
//! | R² | 1 - Σ n (y - b x)² / Σ n (y - mean y)² |
//! | bent fit | y = c x + d x², weighted as the slope is |
//! | proportionality index | Σ n \|c x + d x² - b x\| / Σ n b x: how far the bent fit leaves the straight one, 0 at best |
//! | shortfall | -d x / c at the densest step: its deficit against what the thin ones predict |
//! | bend's p | chance that a straight counter bends so much: Student's t of d, over fields |
//! | CV | standard deviation over mean of the fields of a dilution, with the 95 % interval of Vangel (1996) |

mod page;
mod statistics;

use serde::Serialize;

pub use page::page;
pub use statistics::{DilutionSeries, SeriesError};

/// Limits of the assessment.
const MOST_INDEX: f64 = 0.05;
const BENT: f64 = 0.01;
/// Minimum dilutions and fields for a meaningful assessment.
const ENOUGH_STEPS: usize = 4;
const ENOUGH_FIELDS: usize = 3;
/// Fields vary more than by chance when the dispersion is above this.
const CLUMPED: f64 = 2.0;

/// What a series shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Counts follow the dilution.
    Proportional,
    /// Dense steps have too few counts.
    FallsShort,
    /// Dense steps have too many, or thin ones too few.
    Overshoots,
    /// Some steps are off, for example because of wrong dilutions.
    Scattered,
}

/// A series with its assessment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assessment {
    /// The numbers.
    #[serde(flatten)]
    pub series: DilutionSeries,
    /// What they show.
    pub verdict: Verdict,
    /// The verdict as text.
    pub words: String,
    /// Cautions about these numbers.
    pub cautions: Vec<String>,
}

impl Assessment {
    /// Judges a series.
    pub fn new(series: DilutionSeries) -> Self {
        let bends = series.bend_p.is_some_and(|p| p < BENT);
        let verdict = match () {
            () if bends && series.shortfall > 0.0 => Verdict::FallsShort,
            () if bends => Verdict::Overshoots,
            () if series.index > MOST_INDEX || series.worst_step().is_some() => Verdict::Scattered,
            () => Verdict::Proportional,
        };
        let words = words(&series, verdict);
        let cautions = cautions(&series);
        Self { series, verdict, words, cautions }
    }

    /// Whether counts follow the dilution.
    pub fn is_proportional(&self) -> bool {
        self.verdict == Verdict::Proportional
    }

    /// The series as text.
    pub fn to_lines(&self) -> Vec<String> {
        let series = &self.series;
        let mut lines = vec![
            self.words.clone(),
            String::new(),
            format!("{:<26}{:.1} nuclei per field, undiluted", "slope", series.slope),
            format!("{:<26}{:.4}", "R² of the linear fit", series.r_squared),
            format!(
                "{:<26}{:.1} %  (0: perfectly proportional)",
                "proportionality index",
                100.0 * series.index
            ),
        ];
        if let Some(p) = series.bend_p {
            let what = if series.shortfall < 0.0 { "excess" } else { "shortfall" };
            lines.push(format!(
                "{:<26}{:.1} % at the densest step, p = {p:.2e}",
                format!("{what} (quadratic fit)"),
                100.0 * series.shortfall.abs()
            ));
        }
        lines.push(String::new());
        lines.push(format!(
            "{:>9} {:>7} {:>10} {:>10} {:>9} {:>8}  {:<18} {:>8}",
            "dilution", "fields", "mean", "expected", "off", "CV", "95 %", "by chance"
        ));
        for step in &series.steps {
            let percent = |value: f64| format!("{:.1} %", 100.0 * value);
            let interval = step
                .cv_interval
                .map_or_else(String::new, |[low, high]| format!("{} to {}", percent(low), percent(high)));
            lines.push(format!(
                "{:>9} {:>7} {:>10.1} {:>10.1} {:>9} {:>8}  {interval:<18} {:>8}",
                step.dilution,
                step.fields,
                step.mean,
                step.expected,
                format!("{:+.1} %", 100.0 * step.off),
                step.cv.map_or_else(String::new, percent),
                percent(step.poisson_cv),
            ));
        }
        lines.push(String::new());
        lines.extend(self.cautions.iter().map(|caution| format!("caution: {caution}")));
        lines
    }
}

fn words(series: &DilutionSeries, verdict: Verdict) -> String {
    let index = 100.0 * series.index;
    let densest = series.steps.first().map_or(1.0, |step| step.dilution);
    let short = 100.0 * series.shortfall.abs();
    match verdict {
        Verdict::Proportional => {
            format!("Counts follow the dilution: no significant bend, and {index:.1} % off a straight line.")
        }
        Verdict::FallsShort => format!(
            "Counts do not follow the dilution: at 1 in {densest} they are {short:.0} % lower than the \
                 thinner steps predict. The counter misses nuclei at high density: dilute further."
        ),
        Verdict::Overshoots => format!(
            "Counts do not follow the dilution: at 1 in {densest} they are {short:.0} % higher than the \
                 thinner steps predict. Thin steps lose nuclei, or dense steps count objects that are not nuclei."
        ),
        Verdict::Scattered => match series.worst_step() {
            Some(step) => format!(
                "Counts do not follow the dilution: they are {:+.0} % off at 1 in {}. Was that step \
                     pipetted correctly?",
                100.0 * step.off,
                step.dilution
            ),
            None => format!(
                "Counts are {index:.1} % off a straight line, more than {:.0} %, but this may be chance: \
                     take more fields.",
                100.0 * MOST_INDEX
            ),
        },
    }
}

fn cautions(series: &DilutionSeries) -> Vec<String> {
    let mut cautions = Vec::new();
    let steps = series.steps.len();
    if steps < ENOUGH_STEPS {
        cautions.push(format!("only {steps} dilutions: take {ENOUGH_STEPS} or more, over the range you use"));
    }
    let few: Vec<String> = series
        .steps
        .iter()
        .filter(|step| step.fields < ENOUGH_FIELDS)
        .map(|step| format!("1 in {}", step.dilution))
        .collect();
    if !few.is_empty() {
        let which = few.join(", ");
        cautions
            .push(format!("fewer than {ENOUGH_FIELDS} fields at {which}: repeatability is uncertain there"));
    }
    let clumped: Vec<String> = series
        .steps
        .iter()
        .filter(|step| step.dispersion.is_some_and(|dispersion| dispersion > CLUMPED))
        .map(|step| format!("1 in {}", step.dilution))
        .collect();
    if !clumped.is_empty() {
        let which = clumped.join(", ");
        cautions.push(format!(
            "fields at {which} vary more than randomly distributed nuclei would: clumps, or a poorly mixed sample"
        ));
    }
    cautions.push(
        "proportional does not mean accurate: a counter that always misses the same fraction is \
             proportional, too; use score to measure accuracy"
            .to_owned(),
    );
    cautions
}

#[cfg(test)]
mod tests;
