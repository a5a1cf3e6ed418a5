//! Weighted binary cross-entropy and Dice in one pass over the pixels, and their gradient in another.

use rayon::prelude::*;

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
struct Sums {
    /// Of the weighted cross-entropy.
    entropy: f64,
    /// Of `p t`.
    both: f64,
    /// Of `p + t`.
    all: f64,
}

impl Sums {
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
            for (gradient, (logit, truth, weight)) in gradient.iter_mut().zip(self.plane(plane)) {
                let p = sigmoid(logit);
                let entropy = weight * (p - truth) / count;
                let dice = (with_truth * truth + constant) * p * (1.0 - p);
                *gradient = grad * (entropy - dice) / 2.0;
            }
        });
        gradient
    }

    fn plane(&self, plane: usize) -> impl Iterator<Item = (f32, f32, f32)> {
        let range = plane * self.area..(plane + 1) * self.area;
        let pixels = self.logits[range.clone()].iter().zip(&self.truth[range.clone()]);
        pixels.zip(&self.weight[range]).map(|((&logit, &truth), &weight)| (logit, truth, weight))
    }

    /// A channel's sums, in order.
    fn sums(&self, masks: usize) -> Vec<Sums> {
        assert_eq!(self.logits.len(), self.truth.len(), "truth for every logit");
        assert_eq!(self.logits.len(), self.weight.len(), "a weight for every logit");
        assert!(masks <= self.channels, "masks are channels");
        let planes = self.logits.len() / self.area;
        let by_plane: Vec<Sums> = (0..planes)
            .into_par_iter()
            .map(|plane| {
                let mut sums = Sums::default();
                for (logit, truth, weight) in self.plane(plane) {
                    let p = sigmoid(logit);
                    sums.entropy += f64::from(weight * ((1.0 - truth) * logit - log_sigmoid(logit)));
                    sums.both += f64::from(p * truth);
                    sums.all += f64::from(p + truth);
                }
                sums
            })
            .collect();
        let mut sums = vec![Sums::default(); self.channels];
        for (plane, of_plane) in by_plane.iter().enumerate() {
            let total = &mut sums[plane % self.channels];
            total.entropy += of_plane.entropy;
            total.both += of_plane.both;
            total.all += of_plane.all;
        }
        sums
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// `log(1 / (1 + exp(-x)))` without overflow.
fn log_sigmoid(logit: f32) -> f32 {
    logit.min(0.0) - (-logit.abs()).exp().ln_1p()
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
        assert!(log_sigmoid(-200.0).is_finite() && log_sigmoid(200.0) == 0.0);
    }
}
