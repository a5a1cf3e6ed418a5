//! What training minimises: weighted binary cross-entropy plus Dice.

use burn::tensor::Tensor;
use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::tensor::backend::Backend;

use super::normalisation::gather;

/// The mean of two losses over every output channel:
///
/// * binary cross-entropy, `-w (t log p + (1 - t) log(1 - p))`, averaged over all pixels;
/// * soft Dice, `1 - (2 sum(p t) + 1) / (sum p + sum t + 1)` over a channel of the whole batch
///   (Milletari, Navab and Ahmadi, "V-Net", 2016, with the plain sums of Sudre et al. 2017).
///
/// # Shapes
/// All are `[n, c, h, w]`; the result has one element.
pub fn segmentation_loss<B: Backend>(
    logits: Tensor<B, 4>,
    truth: Tensor<B, 4>,
    weight: Tensor<B, 4>,
) -> Tensor<B, 1> {
    let [n, c, h, w] = logits.dims();
    // log(1 - p) is log p - logit: one logarithm serves both terms.
    let log_p = log_sigmoid(logits.clone());
    let entropy = ((Tensor::ones_like(&truth) - truth.clone()) * logits.clone() - log_p) * weight;

    let by_channel = |x: Tensor<B, 4>| gather(x.reshape([n * c, h * w]), n);
    let p = sigmoid(logits);
    let both = by_channel(p.clone() * truth.clone());
    let all = by_channel(p) + by_channel(truth);
    let dice = (both * 2.0 + 1.0) / (all + 1.0);
    (entropy.mean() - dice.mean() + 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::TensorData;

    use super::*;

    #[test]
    fn equals_the_definition() {
        let device = Default::default();
        let (n, c, side) = (2, 2, 3);
        let len = n * c * side * side;
        let logit = |i: usize| (i as f32 * 0.7).sin() * 4.0;
        let truth = |i: usize| (i * i).is_multiple_of(3) as u32 as f32;
        let weight = |i: usize| 1.0 + (i % 4) as f32;
        let tensor = |f: &dyn Fn(usize) -> f32| {
            let values: Vec<f32> = (0..len).map(f).collect();
            Tensor::<Flex, 4>::from_data(TensorData::new(values, [n, c, side, side]), &device)
        };
        let loss: f32 = segmentation_loss(tensor(&logit), tensor(&truth), tensor(&weight)).into_scalar();

        let p = |i: usize| 1.0 / (1.0 + (-logit(i)).exp());
        let entropy: f32 = (0..len)
            .map(|i| -weight(i) * (truth(i) * p(i).ln() + (1.0 - truth(i)) * (1.0 - p(i)).ln()))
            .sum::<f32>()
            / len as f32;
        let dice: f32 = (0..c)
            .map(|channel| {
                let of = |i: &usize| i / (side * side) % c == channel;
                let sum = |f: &dyn Fn(usize) -> f32| (0..len).filter(of).map(f).sum::<f32>();
                1.0 - (2.0 * sum(&|i| p(i) * truth(i)) + 1.0) / (sum(&p) + sum(&truth) + 1.0)
            })
            .sum::<f32>()
            / c as f32;
        assert!((loss - (entropy + dice) / 2.0).abs() < 1e-5, "{loss} is not {}", (entropy + dice) / 2.0);
    }
}
