//! Measures the period of a stage micrometer's ruling in an image.
//!
//! The image is projected onto lines in every direction; the projection varies most across the ruling. Its
//! autocorrelation gives the approximate period, and then every line of the ruling is located. The period is the slope
//! of line positions over line numbers. Its uncertainty combines the standard error with the error shared by all lines.
//! An image without a clear ruling is rejected.

use shared::Image;
use thiserror::Error;

/// Approximate number of samples for finding the direction; the period is measured with all samples.
const SEARCH_PIXELS: usize = 300_000;
/// Successive step sizes of the direction search, degrees, each around the previous best.
const STEPS: [f64; 4] = [1.0, 0.2, 0.04, 0.01];
/// Minimum autocorrelation at the period.
const LEAST_CORRELATION: f64 = 0.35;
/// A peak at a lag counts as the first when it reaches this share of the highest.
const FIRST_PEAK: f64 = 0.7;
/// Finer rulings are not resolved.
const LEAST_PERIOD: f64 = 4.0;
/// Fewer lines do not give a reliable uncertainty.
const LEAST_LINES: usize = 5;
/// Maximum standard deviation of lines from an even ruling, relative to the period.
const MOST_SCATTER: f64 = 0.08;
/// Neighboring lines share pixels, so the scatter of their positions shows only about a third of their error. This and
/// [`SHARED_OFFSET`] are fitted to random scenes like those of the tests, with other seeds, so that twice the
/// uncertainty covers the true period in 97 % of them.
const SHARED_SCATTER: f64 = 3.0;
/// Relative error between the first and the last line that scatter does not show, for example from uneven light and the
/// pixel grid, relative to the period.
const SHARED_OFFSET: f64 = 0.0025;
/// Minimum fraction of the lines between the first and the last that must be found.
const LEAST_FOUND: f64 = 0.75;

/// A ruling in an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ruling {
    /// Period, px.
    pub period_px: f64,
    /// Standard uncertainty of the period, px; twice it is the 95 % interval. It excludes the error of the micrometer
    /// itself and the distortion of the optics.
    pub uncertainty_px: f64,
    /// Lines that were found.
    pub lines: usize,
    /// Direction across the lines, degrees from the image's rows, -90 to 90.
    pub degrees: f64,
}

/// Why an image gives no period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RulingError {
    /// Nothing repeats.
    #[error("the image shows no clear ruling")]
    Unclear,
    /// Too few lines are in view.
    #[error("the image shows {lines} lines; at least {LEAST_LINES} are needed")]
    TooFew {
        /// Lines found.
        lines: usize,
    },
    /// Its lines are too close together.
    #[error("the ruling is finer than {LEAST_PERIOD} pixels")]
    TooFine,
    /// The lines are not evenly spaced.
    #[error("the lines are not evenly spaced")]
    Uneven,
}

/// Measures the ruling of an image.
///
/// # Errors
/// [`RulingError`].
pub fn measure(picture: &Image) -> Result<Ruling, RulingError> {
    let luma = picture.luma_hw();
    let view =
        Projector { luma_hw: &luma, width: picture.width() as usize, height: picture.height() as usize };
    let degrees = view.direction();
    let profile = evened(&view.profile(degrees, 1));
    let rough = rough_period(&profile)?;
    let found = lines(&profile, rough);
    let lines: Vec<(f64, f64)> = found
        .into_iter()
        .filter_map(|(number, place)| Some((number, refined(&profile, place, rough)?)))
        .collect();
    let (period_px, uncertainty_px) = even_spacing(&lines, rough)?;
    Ok(Ruling { period_px, uncertainty_px, lines: lines.len(), degrees })
}

struct Projector<'a> {
    luma_hw: &'a [u8],
    width: usize,
    height: usize,
}

impl Projector<'_> {
    /// The direction in which the projection varies most, degrees.
    fn direction(&self) -> f64 {
        let stride = ((self.luma_hw.len() as f64 / SEARCH_PIXELS as f64).sqrt().ceil() as usize).max(1);
        let strength = |degrees: f64| {
            let profile = evened(&self.profile(degrees, stride));
            profile.iter().map(|value| value * value).sum::<f64>() / profile.len().max(1) as f64
        };
        let best = |centre: f64, reach: f64, step: f64| {
            let count = (reach / step).round() as i32;
            let tried = (-count..=count).map(|at| centre + f64::from(at) * step);
            tried.map(|degrees| (strength(degrees), degrees)).max_by(|a, b| a.0.total_cmp(&b.0))
        };
        let mut found = best(0.0, 90.0, STEPS[0]).map_or(0.0, |(_, degrees)| degrees);
        for steps in STEPS.windows(2) {
            found = best(found, steps[0], steps[1]).map_or(found, |(_, degrees)| degrees);
        }
        (found + 90.0).rem_euclid(180.0) - 90.0
    }

    /// Mean brightness over the distance along a direction, one value per pixel, of every `stride`th row and column.
    /// Ends with few pixels are omitted.
    fn profile(&self, degrees: f64, stride: usize) -> Vec<f64> {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let far = [(self.width, 0), (0, self.height), (self.width, self.height), (0, 0)];
        let along = |x: f64, y: f64| x * cos + y * sin;
        let ends = far.map(|(x, y)| along(x as f64, y as f64));
        let first = ends.into_iter().fold(f64::INFINITY, f64::min);
        let last = ends.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let bins = ((last - first) / stride as f64) as usize + 2;
        let (mut sums, mut weights) = (vec![0.0; bins], vec![0.0; bins]);
        for y in (0..self.height).step_by(stride) {
            let row = &self.luma_hw[y * self.width..][..self.width];
            for (x, &luma) in row.iter().enumerate().step_by(stride) {
                let place = (along(x as f64, y as f64) - first) / stride as f64;
                let (bin, share) = (place as usize, place.fract());
                for (bin, share) in [(bin, 1.0 - share), (bin + 1, share)] {
                    sums[bin] += share * f64::from(luma);
                    weights[bin] += share;
                }
            }
        }
        let full = weights.iter().copied().fold(0.0, f64::max) / 4.0;
        let reached: Vec<usize> = (0..bins).filter(|&bin| weights[bin] > full).collect();
        let (Some(&from), Some(&to)) = (reached.first(), reached.last()) else { return Vec::new() };
        (from..=to).map(|bin| if weights[bin] > 0.0 { sums[bin] / weights[bin] } else { 0.0 }).collect()
    }
}

/// A profile without its slow changes, those of the light, and with a mean of 0.
fn evened(profile: &[f64]) -> Vec<f64> {
    let reach = (profile.len() / 8).max(2);
    let sums: Vec<f64> = std::iter::once(0.0)
        .chain(profile.iter().scan(0.0, |sum, value| {
            *sum += value;
            Some(*sum)
        }))
        .collect();
    (0..profile.len())
        .map(|at| {
            let (from, to) = (at.saturating_sub(reach), (at + reach + 1).min(profile.len()));
            profile[at] - (sums[to] - sums[from]) / (to - from) as f64
        })
        .collect()
}

/// The lag of the first high peak of the autocorrelation.
fn rough_period(profile: &[f64]) -> Result<f64, RulingError> {
    let longest = profile.len() / 3;
    let mean_square = profile.iter().map(|value| value * value).sum::<f64>() / profile.len().max(1) as f64;
    if mean_square <= 0.0 {
        return Err(RulingError::Unclear);
    }
    let correlation: Vec<f64> = (0..=longest)
        .map(|lag| {
            let pairs = profile.len() - lag;
            let sum: f64 = profile.iter().zip(&profile[lag..]).map(|(a, b)| a * b).sum();
            sum / pairs as f64 / mean_square
        })
        .collect();
    let negative = correlation.iter().position(|&value| value < 0.0).ok_or(RulingError::Unclear)?;
    let is_peak = |lag: &usize| {
        let near = &correlation[lag - 1..=lag + 1];
        near[1] >= near[0] && near[1] > near[2]
    };
    let peaks: Vec<usize> = (negative.max(1)..longest).filter(is_peak).collect();
    let highest = peaks.iter().map(|&lag| correlation[lag]).fold(0.0, f64::max);
    if highest < LEAST_CORRELATION {
        return Err(RulingError::Unclear);
    }
    let first = peaks.into_iter().find(|&lag| correlation[lag] >= FIRST_PEAK * highest);
    let lag = first.ok_or(RulingError::Unclear)?;
    let [before, at, after] = [lag - 1, lag, lag + 1].map(|lag| correlation[lag]);
    let curve = before - 2.0 * at + after;
    let period = lag as f64 + if curve < 0.0 { (before - after) / (2.0 * curve) } else { 0.0 };
    if period < LEAST_PERIOD { Err(RulingError::TooFine) } else { Ok(period) }
}

/// Positions of lines, px, each with its number.
fn lines(profile: &[f64], period: f64) -> Vec<(f64, f64)> {
    // Lines are the rarer brightness: dark on bright, or bright on dark.
    let skew: f64 = profile.iter().map(|value| value.powi(3)).sum();
    let strength: Vec<f64> = profile.iter().map(|value| value * skew.signum()).collect();
    let mut sorted = strength.clone();
    sorted.sort_by(f64::total_cmp);
    let Some(&strong) =
        sorted.get(sorted.len().saturating_sub(1 + (sorted.len() as f64 / period / 2.0) as usize))
    else {
        return Vec::new();
    };
    let reach = (period / 2.0) as usize;
    let is_line = |&at: &usize| {
        let near = &strength[at.saturating_sub(reach)..(at + reach + 1).min(strength.len())];
        strength[at] > strong / 3.0 && near.iter().all(|&other| other <= strength[at])
    };
    let mut found: Vec<(f64, f64)> = Vec::new();
    for at in (0..strength.len()).filter(is_line) {
        let (from, to) = (at.saturating_sub(reach / 2), (at + reach / 2 + 1).min(strength.len()));
        let is_whole = at >= reach / 2 && at + reach / 2 < strength.len();
        let floor = strength[at] / 3.0;
        let weights = || (from..to).map(|place| (place as f64, (strength[place] - floor).max(0.0)));
        let place = weights().map(|(place, weight)| place * weight).sum::<f64>()
            / weights().map(|(_, weight)| weight).sum::<f64>();
        match found.last() {
            _ if !is_whole => {}
            None => found.push((0.0, place)),
            // Two maxima of one line are one.
            Some(&(_, before)) if place - before < period / 2.0 => {}
            Some(&(number, before)) => found.push((number + ((place - before) / period).round(), place)),
        }
    }
    found
}

/// The position of a line from the phase of the ruling around it, independent of the line's width; `None` too close to
/// an end.
fn refined(profile: &[f64], place: f64, period: f64) -> Option<f64> {
    let turn = std::f64::consts::TAU / period;
    let mut place = place;
    for _ in 0..3 {
        let (from, to) = ((place - period).ceil(), (place + period).floor());
        if from < 0.0 || to >= profile.len() as f64 {
            return None;
        }
        let (mut real, mut imaginary) = (0.0, 0.0);
        for (at, value) in profile.iter().enumerate().take(to as usize + 1).skip(from as usize) {
            let off = at as f64 - place;
            let weight = 1.0 + (turn / 2.0 * off).cos();
            real += weight * value * (turn * off).cos();
            imaginary += weight * value * (turn * off).sin();
        }
        // Dark lines are troughs: half a turn from the peaks.
        if real < 0.0 {
            (real, imaginary) = (-real, -imaginary);
        }
        place += imaginary.atan2(real) / turn;
    }
    Some(place)
}

/// The spacing of lines by a straight line through their places over their numbers, with its standard uncertainty.
fn even_spacing(lines: &[(f64, f64)], rough: f64) -> Result<(f64, f64), RulingError> {
    let count = lines.len();
    if count < LEAST_LINES {
        return Err(RulingError::TooFew { lines: count });
    }
    let mean = |of: fn(&(f64, f64)) -> f64| lines.iter().map(of).sum::<f64>() / count as f64;
    let (number, place) = (mean(|line| line.0), mean(|line| line.1));
    let spread: f64 = lines.iter().map(|line| (line.0 - number).powi(2)).sum();
    let slope = lines.iter().map(|line| (line.0 - number) * (line.1 - place)).sum::<f64>() / spread;
    let off = |line: &(f64, f64)| line.1 - place - slope * (line.0 - number);
    let scatter = (lines.iter().map(|line| off(line).powi(2)).sum::<f64>() / (count - 2) as f64).sqrt();
    let last = lines.last().map_or(0.0, |line| line.0);
    let found = count as f64 / (last + 1.0);
    let is_even =
        scatter <= MOST_SCATTER * slope && found >= LEAST_FOUND && (slope / rough - 1.0).abs() < 0.1;
    if !is_even {
        return Err(RulingError::Uneven);
    }
    let by_scatter = SHARED_SCATTER * scatter / spread.sqrt();
    Ok((slope, by_scatter.hypot(SHARED_OFFSET * slope / last)))
}

#[cfg(test)]
mod tests;
