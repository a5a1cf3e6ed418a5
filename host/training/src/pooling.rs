//! The greatest of each 2x2 square.

use burn::tensor::Tensor;

use super::ops::TrainingOps;
use super::reference::{primitive, tensor};

/// The greatest of each 2x2 square.
///
/// # Shapes
/// `[n, c, h, w]` to `[n, c, h / 2, w / 2]`.
pub fn max_pool_2x2<B: TrainingOps>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    tensor(B::max_pool(primitive(x)))
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::tensor::TensorData;
    use burn::tensor::module::max_pool2d;

    use super::super::reference::pooling::{gradient, max_pool};
    use super::*;

    #[test]
    fn values_and_gradients_are_burns_own() {
        type Cpu = Autodiff<Flex>;
        let shape = [2, 3, 6, 4];
        let values = |seed: f32, shape: [usize; 4]| {
            let values: Vec<f32> =
                (0..shape.iter().product()).map(|i: usize| (i as f32 * 1.3 + seed).sin()).collect();
            Tensor::<Cpu, 4>::from_data(TensorData::new(values, shape), &Default::default())
        };
        let burns = |x: Tensor<Cpu, 4>| max_pool2d(x, [2, 2], [2, 2], [0, 0], [1, 1], false);
        let results = [max_pool_2x2 as fn(_) -> _, burns].map(|pool| {
            let x = values(0.2, shape).require_grad();
            let y = pool(x.clone());
            let grads = (y.clone() * values(4.0, y.dims())).sum().backward();
            (y.inner().into_data(), x.grad(&grads).unwrap().into_data())
        });
        assert_eq!(results[0], results[1]);
        let (x, grad) = (values(0.2, shape).inner(), values(4.0, [2, 3, 3, 2]).inner());
        assert_eq!(max_pool(x.clone()).into_data(), results[0].0);
        // As numbers: a zero may have either sign.
        let numbers = |data: &TensorData| data.iter::<f32>().collect::<Vec<f32>>();
        assert_eq!(numbers(&gradient(grad, x).into_data()), numbers(&results[0].1));
    }
}
