//! The training loss: weighted binary cross-entropy plus Dice.

use burn::tensor::Tensor;

use super::ops::TrainingOps;
use super::reference::{LossTensors, primitive, tensor};

/// The mean of two losses:
///
/// * binary cross-entropy, `-w (t log p + (1 - t) log(1 - p))`, averaged over all pixels and channels;
/// * soft Dice, `1 - (2 sum(p t) + 1) / (sum p + sum t + 1)` over a channel of the whole batch, averaged
///   over the first `masks` channels (Milletari, Navab and Ahmadi, "V-Net", 2016, with the plain sums of
///   Sudre et al. 2017). A truth between 0 and 1, such as a distance, must not be among them: Dice is best
///   where it is rounded.
///
/// # Shapes
/// All are `[n, c, h, w]`; the result has one element.
pub fn segmentation_loss<B: TrainingOps>(
    logits: Tensor<B, 4>,
    truth: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    masks: usize,
) -> Tensor<B, 1> {
    let (logits, truth, weight) = (primitive(logits), primitive(truth), primitive(weight));
    tensor(B::loss(LossTensors { logits, truth, weight }, masks))
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::tensor::TensorData;
    use burn::tensor::backend::Backend;

    use super::super::reference::loss::{gradient, loss};
    use super::*;

    const SHAPE: [usize; 4] = [2, 3, 3, 3];
    const MASKS: usize = 2;

    fn logit(i: usize) -> f32 {
        (i as f32 * 0.7).sin() * 4.0
    }

    fn truth(i: usize) -> f32 {
        (i * i % 3) as f32 / 2.0
    }

    fn weight(i: usize) -> f32 {
        1.0 + (i % 4) as f32
    }

    fn filled<B: Backend>(value: fn(usize) -> f32) -> Tensor<B, 4> {
        let values: Vec<f32> = (0..SHAPE.iter().product()).map(value).collect();
        Tensor::from_data(TensorData::new(values, SHAPE), &Default::default())
    }

    fn input() -> LossTensors<Flex> {
        let [logits, truth, weight] = [filled::<Flex>(logit), filled(truth), filled(weight)].map(primitive);
        LossTensors { logits, truth, weight }
    }

    #[test]
    fn equals_the_definition() {
        let [n, c, h, w] = SHAPE;
        let len = n * c * h * w;
        let p = |i: usize| 1.0 / (1.0 + (-logit(i)).exp());
        let entropy: f32 = (0..len)
            .map(|i| -weight(i) * (truth(i) * p(i).ln() + (1.0 - truth(i)) * (1.0 - p(i)).ln()))
            .sum::<f32>()
            / len as f32;
        let dice: f32 = (0..MASKS)
            .map(|channel| {
                let of = |i: &usize| i / (h * w) % c == channel;
                let sum = |f: &dyn Fn(usize) -> f32| (0..len).filter(of).map(f).sum::<f32>();
                1.0 - (2.0 * sum(&|i| p(i) * truth(i)) + 1.0) / (sum(&p) + sum(&truth) + 1.0)
            })
            .sum::<f32>()
            / MASKS as f32;
        let expected = (entropy + dice) / 2.0;
        let portable: f32 = loss::<Flex>(input(), MASKS).into_scalar();
        let own: f32 =
            segmentation_loss::<Flex>(filled(logit), filled(truth), filled(weight), MASKS).into_scalar();
        for (form, loss) in [("Burn's tensors", portable), ("own kernel", own)] {
            assert!((loss - expected).abs() < 1e-5, "{form}: {loss} is not {expected}");
        }
    }

    #[test]
    fn gradients_of_both_forms_are_those_that_burn_derives() {
        type Cpu = Autodiff<Flex>;
        let derived = filled::<Cpu>(logit).require_grad();
        let [t, w] = [filled::<Cpu>(truth), filled(weight)].map(primitive);
        let tracked = LossTensors::<Cpu> { logits: primitive(derived.clone()), truth: t, weight: w };
        let derived = derived.grad(&(loss(tracked, MASKS) * 3.0).backward()).unwrap();
        let own = filled::<Cpu>(logit).require_grad();
        let loss = segmentation_loss(own.clone(), filled(truth), filled(weight), MASKS);
        let own = own.grad(&(loss * 3.0).backward()).unwrap();
        let three = Tensor::<Flex, 1>::from_data([3.0], &Default::default());
        for (form, found) in [("own kernel", own), ("Burn's tensors", gradient(three, input(), MASKS))] {
            let far: f32 = (found - derived.clone()).abs().max().into_scalar();
            assert!(far < 1e-6, "{form} differs by {far}");
        }
    }
}
