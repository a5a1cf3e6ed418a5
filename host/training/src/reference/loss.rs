//! Weighted binary cross-entropy plus Dice.

use burn::tensor::Tensor;
use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use super::normalisation::{broadcast_channels, sum_over_rows};
use super::tensor;

/// Logits with targets and weights, all `[n, c, h, w]`.
#[derive(Debug, Clone)]
pub struct LossTensors<B: Backend> {
    /// Logits.
    pub logits: FloatTensor<B>,
    /// Truth, 0 to 1.
    pub truth: FloatTensor<B>,
    /// Weights.
    pub weight: FloatTensor<B>,
}

/// The same in terms of Burn's tensors.
pub(crate) fn loss<B: Backend>(input: LossTensors<B>, masks: usize) -> Tensor<B, 1> {
    let [logits, truth, weight] = [input.logits, input.truth, input.weight].map(tensor::<B, 4>);
    // log(1 - p) is log p - logit: one logarithm serves both terms.
    let log_p = log_sigmoid(logits.clone());
    let entropy = ((Tensor::ones_like(&truth) - truth.clone()) * logits.clone() - log_p) * weight;
    let (both, all) = sums(sigmoid(logits), truth);
    let dice = ((both * 2.0 + 1.0) / (all + 1.0)).narrow(0, 0, masks);
    (entropy.mean() - dice.mean() + 1.0) / 2.0
}

/// The gradient of the logits.
pub(crate) fn gradient<B: Backend>(grad: Tensor<B, 1>, input: LossTensors<B>, masks: usize) -> Tensor<B, 4> {
    let [logits, truth, weight] = [input.logits, input.truth, input.weight].map(tensor::<B, 4>);
    let shape @ [n, c, h, w] = logits.dims();
    let p = sigmoid(logits);
    let (both, all) = sums(p.clone(), truth.clone());
    // dD/dp = 2 t / (all + 1) - (2 both + 1) / (all + 1)^2, for the channels that count.
    let share = Tensor::ones([masks], &p.device()) / masks as f64;
    let share = Tensor::cat(vec![share, Tensor::zeros([c - masks], &p.device())], 0);
    let with_truth = share.clone() * 2.0 / (all.clone() + 1.0);
    let constant = share * (both * 2.0 + 1.0) / ((all.clone() + 1.0) * (all + 1.0));
    let rows = |x: Tensor<B, 4>| x.reshape([n * c, h * w]);
    let (p, truth, weight) = (rows(p), rows(truth), rows(weight));
    let entropy = weight * (p.clone() - truth.clone()) / (n * c * h * w) as f64;
    let slope = truth * broadcast_channels(with_truth, n) - broadcast_channels(constant, n);
    let dice = slope * p.clone() * (Tensor::ones_like(&p) - p);
    ((entropy - dice) * (grad / 2.0).reshape([1, 1])).reshape(shape)
}

/// For each channel the sums of `p t` and of `p + t`, `[c]`.
fn sums<B: Backend>(p: Tensor<B, 4>, truth: Tensor<B, 4>) -> (Tensor<B, 1>, Tensor<B, 1>) {
    let [n, c, h, w] = p.dims();
    let by_channel = |x: Tensor<B, 4>| sum_over_rows(x.reshape([n * c, h * w]), n);
    (by_channel(p.clone() * truth.clone()), by_channel(p + truth))
}
