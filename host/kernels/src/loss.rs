//! Weighted binary cross-entropy and Dice in one pass over the pixels, and their gradient in another.

use rayon::prelude::*;

use crate::network::wide;

/// A batch of logits with targets and weights, each `[n, c, h, w]`.
#[derive(Debug, Clone, Copy)]
pub struct LossInput<'a> {
    /// Logits.
    pub logits: &'a [f32],
    /// Truth, 0 to 1.
    pub truth: &'a [f32],
    /// Weights.
    pub weight: &'a [f32],
    /// Channels.
    pub channels: usize,
    /// Pixels of a plane.
    pub area: usize,
}

/// Sums over a channel of the batch that the loss is made of.
#[derive(Debug, Clone, Copy, Default)]
struct LossSums {
    /// Of the weighted cross-entropy.
    entropy: f64,
    /// Of `p t`.
    both: f64,
    /// Of `p + t`.
    all: f64,
}

impl LossSums {
    fn dice(self) -> f64 {
        (2.0 * self.both + 1.0) / (self.all + 1.0)
    }
}

impl LossInput<'_> {
    /// `(E - D + 1) / 2`: `E` is the mean of `-w (t log p + (1 - t) log(1 - p))`, `D` the mean over the first
    /// `masks` channels of `(2 sum(p t) + 1) / (sum p + sum t + 1)`.
    ///
    /// # Panics
    /// When the three differ in length or there are fewer channels than `masks`.
    pub fn loss(&self, masks: usize) -> f32 {
        let sums = self.sums(masks);
        let entropy = sums.iter().map(|sums| sums.entropy).sum::<f64>() / self.logits.len() as f64;
        let dice = sums[..masks].iter().map(|sums| sums.dice()).sum::<f64>() / masks.max(1) as f64;
        ((entropy - dice + 1.0) / 2.0) as f32
    }

    /// The gradient of [`LossInput::loss`] for the logits, times `grad`.
    ///
    /// # Panics
    /// As [`LossInput::loss`].
    pub fn gradient(&self, masks: usize, grad: f32) -> Vec<f32> {
        // dD/dp = 2 t / (all + 1) - (2 both + 1) / (all + 1)^2, the same two numbers for a whole channel.
        let slopes: Vec<[f32; 2]> = self
            .sums(masks)
            .iter()
            .enumerate()
            .map(|(channel, sums)| {
                let share = if channel < masks { 1.0 / masks as f64 } else { 0.0 };
                [2.0 * share / (sums.all + 1.0), -share * sums.dice() / (sums.all + 1.0)].map(|s| s as f32)
            })
            .collect();
        let count = self.logits.len() as f32;
        let mut gradient = vec![0.0; self.logits.len()];
        gradient.par_chunks_exact_mut(self.area).enumerate().for_each(|(plane, gradient)| {
            let [with_truth, constant] = slopes[plane % self.channels];
            let [logits, truth, weight] = self.plane(plane);
            wide(
                #[inline(always)]
                || {
                    let pixels = logits.iter().zip(truth).zip(weight);
                    for (gradient, ((&logit, &truth), &weight)) in gradient.iter_mut().zip(pixels) {
                        let p = Logistic::of(logit).p;
                        let entropy = weight * (p - truth) / count;
                        let dice = (with_truth * truth + constant) * p * (1.0 - p);
                        *gradient = grad * (entropy - dice) / 2.0;
                    }
                },
            );
        });
        gradient
    }

    fn plane(&self, plane: usize) -> [&[f32]; 3] {
        let range = plane * self.area..(plane + 1) * self.area;
        [&self.logits[range.clone()], &self.truth[range.clone()], &self.weight[range]]
    }

    /// A channel's sums, in order.
    fn sums(&self, masks: usize) -> Vec<LossSums> {
        assert_eq!(self.logits.len(), self.truth.len(), "truth for every logit");
        assert_eq!(self.logits.len(), self.weight.len(), "a weight for every logit");
        assert!(masks <= self.channels, "masks are channels");
        let planes = self.logits.len() / self.area;
        let by_plane: Vec<LossSums> = (0..planes)
            .into_par_iter()
            .map(|plane| {
                let mut sums = LossSums::default();
                let [logits, truth, weight] = self.plane(plane);
                for ((logits, truth), weight) in
                    logits.chunks(CHUNK).zip(truth.chunks(CHUNK)).zip(weight.chunks(CHUNK))
                {
                    let [entropy, both, all] = wide(
                        #[inline(always)]
                        || chunk_sums(logits, truth, weight),
                    );
                    sums.entropy += f64::from(entropy);
                    sums.both += f64::from(both);
                    sums.all += f64::from(all);
                }
                sums
            })
            .collect();
        let mut sums = vec![LossSums::default(); self.channels];
        for (plane, of_plane) in by_plane.iter().enumerate() {
            let total = &mut sums[plane % self.channels];
            total.entropy += of_plane.entropy;
            total.both += of_plane.both;
            total.all += of_plane.all;
        }
        sums
    }
}

/// Pixels that are summed in single precision.
const CHUNK: usize = 1024;
/// Sums that run side by side.
const LANES: usize = 16;

/// The sums of [`LossSums`] over a chunk.
#[inline(always)]
fn chunk_sums(logits: &[f32], truth: &[f32], weight: &[f32]) -> [f32; 3] {
    let [mut entropies, mut boths, mut alls] = [[0.0_f32; LANES]; 3];
    let (logits, last_logits) = logits.as_chunks::<LANES>();
    let (truth, last_truth) = truth.as_chunks::<LANES>();
    let (weight, last_weight) = weight.as_chunks::<LANES>();
    // Of a whole number of lanes, which compilers turn into vectors.
    for ((logits, truth), weight) in logits.iter().zip(truth).zip(weight) {
        for lane in 0..LANES {
            let [entropy, both, all] = terms(logits[lane], truth[lane], weight[lane]);
            entropies[lane] += entropy;
            boths[lane] += both;
            alls[lane] += all;
        }
    }
    for ((&logit, &truth), &weight) in last_logits.iter().zip(last_truth).zip(last_weight) {
        let [entropy, both, all] = terms(logit, truth, weight);
        entropies[0] += entropy;
        boths[0] += both;
        alls[0] += all;
    }
    [entropies, boths, alls].map(|sums| sums.iter().sum())
}

/// A pixel's terms of [`LossSums`].
#[inline(always)]
fn terms(logit: f32, truth: f32, weight: f32) -> [f32; 3] {
    let Logistic { p, log_p } = Logistic::of(logit);
    [weight * ((1.0 - truth) * logit - log_p), p * truth, p + truth]
}

/// `1 / (1 + exp(-x))` and its logarithm, without overflow.
struct Logistic {
    p: f32,
    log_p: f32,
}

impl Logistic {
    /// To a few units in the last place, in arithmetic that compilers turn into vectors.
    #[inline(always)]
    fn of(x: f32) -> Self {
        // exp(-|x|) is 2^whole 2^part: adding 1.5 2^23 rounds to a whole number, and leaves it in the low bits.
        const ROUND: f32 = 12_582_912.0;
        let exponent = (-x.abs()).max(-87.0) * std::f32::consts::LOG2_E;
        let rounded = exponent + ROUND;
        let part = exponent - (rounded - ROUND);
        let whole = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
        // The exponential series of part ln 2, which is at most 0.35.
        let part = part * std::f32::consts::LN_2;
        let series = 1.0
            + part
                * (1.0
                    + part
                        * (1.0 / 2.0
                            + part
                                * (1.0 / 6.0
                                    + part * (1.0 / 24.0 + part * (1.0 / 120.0 + part * (1.0 / 720.0))))));
        let e = whole * series;
        // ln(1 + e) is 2 artanh(e / (2 + e)), of at most a third.
        let s = e / (2.0 + e);
        let s2 = s * s;
        let log = 2.0
            * s
            * (1.0
                + s2 * (1.0 / 3.0
                    + s2 * (1.0 / 5.0
                        + s2 * (1.0 / 7.0 + s2 * (1.0 / 9.0 + s2 * (1.0 / 11.0 + s2 * (1.0 / 13.0)))))));
        let p = if x >= 0.0 { 1.0 } else { e } / (1.0 + e);
        Self { p, log_p: x.min(0.0) - log }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradient_is_the_slope_of_the_loss() {
        let (channels, area, planes) = (3, 4, 6);
        let len = planes * area;
        let mut logits: Vec<f32> = (0..len).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        let truth: Vec<f32> = (0..len).map(|i| (i % 3) as f32 / 2.0).collect();
        let weight: Vec<f32> = (0..len).map(|i| 1.0 + (i % 4) as f32).collect();
        fn with<'a>(input: LossInput<'a>, logits: &'a [f32]) -> LossInput<'a> {
            LossInput { logits, ..input }
        }
        let input = LossInput { logits: &[], truth: &truth, weight: &weight, channels, area };
        let gradient = with(input, &logits).gradient(2, 3.0);
        for (at, &slope) in gradient.iter().enumerate() {
            let step = 1e-2;
            let mut at_offset = |offset: f32| {
                logits[at] += offset;
                let loss = f64::from(with(input, &logits).loss(2));
                logits[at] -= offset;
                loss
            };
            let measured = 3.0 * (at_offset(step) - at_offset(-step)) / (2.0 * f64::from(step));
            assert!((measured - f64::from(slope)).abs() < 2e-4, "{at}: {slope} is not {measured}");
        }
    }

    #[test]
    fn logistic_is_its_definition() {
        for step in -4000..4000 {
            let x = step as f32 / 40.0;
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            let log = -(-f64::from(x)).exp().ln_1p();
            let Logistic { p, log_p } = Logistic::of(x);
            assert!((f64::from(p) - exact).abs() < 2e-7, "{x}: {p} is not {exact}");
            assert!((f64::from(log_p) - log).abs() < 3e-7 * log.abs().max(1.0), "{x}: {log_p} is not {log}");
        }
        assert!(Logistic::of(-200.0).log_p.is_finite() && Logistic::of(200.0).log_p.abs() < 1e-30);
    }
}
