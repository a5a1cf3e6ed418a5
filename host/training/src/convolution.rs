//! Convolutions of the network.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::ops::TrainingOps;
use super::reference::{primitive, tensor};

/// A 3x3 convolution of stride 1, padded with zeros.
///
/// # Shapes
/// `x` is `[n, in, h, w]`, `weight` `[out, in, 3, 3]`, the result `[n, out, h, w]`.
pub fn conv3x3<B: TrainingOps>(x: Tensor<B, 4>, weight: Tensor<B, 4>) -> Tensor<B, 4> {
    tensor(B::conv3x3(primitive(x), primitive(weight)))
}

/// A 2x2 convolution of stride 2: one matrix product over the four pixels of each square.
///
/// # Shapes
/// `x` is `[n, in, h, w]`, `weight` `[out, in, 2, 2]`, the result `[n, out, h / 2, w / 2]`.
pub fn downsample_conv<B: TrainingOps>(x: Tensor<B, 4>, weight: Tensor<B, 4>) -> Tensor<B, 4> {
    let [output, input, _, _] = weight.dims();
    pointwise(tensor(B::space_to_depth(primitive(x))), weight.reshape([output, input * 4, 1, 1]))
}

/// A 2x2 transposed convolution of stride 2: one matrix product that makes the four pixels of each square.
///
/// # Shapes
/// `x` is `[n, in, h, w]`, `weight` `[in, out, 2, 2]`, the result `[n, out, 2 h, 2 w]`.
pub fn upsample_conv<B: TrainingOps>(x: Tensor<B, 4>, weight: Tensor<B, 4>) -> Tensor<B, 4> {
    let [input, output, _, _] = weight.dims();
    let weight = weight.reshape([input, output * 4]).swap_dims(0, 1).reshape([output * 4, input, 1, 1]);
    tensor(B::depth_to_space(primitive(pointwise(x, weight))))
}

/// A 1x1 convolution.
///
/// # Shapes
/// `x` is `[n, in, h, w]`, `weight` `[out, in, 1, 1]`, the result `[n, out, h, w]`.
pub fn pointwise<B: Backend>(x: Tensor<B, 4>, weight: Tensor<B, 4>) -> Tensor<B, 4> {
    let [n, input, height, width] = x.dims();
    let output = weight.dims()[0];
    let weight = weight.reshape([1, output, input]);
    weight.matmul(x.reshape([n, input, height * width])).reshape([n, output, height, width])
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::tensor::TensorData;
    use burn::tensor::module::{conv_transpose2d, conv2d};
    use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};

    use super::super::reference::convolution::{
        conv3x3 as reference_conv3x3, depth_to_space, space_to_depth, weight_gradient,
    };
    use super::*;

    type Cpu = Autodiff<Flex>;

    fn random(shape: [usize; 4], seed: f32) -> Tensor<Cpu, 4> {
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|i| ((i as f32 + seed) * 12.9898).sin() * 0.7).collect();
        Tensor::from_data(TensorData::new(values, shape), &Default::default()).require_grad()
    }

    fn assert_close(a: Tensor<Flex, 4>, b: Tensor<Flex, 4>, what: &str) {
        assert_eq!(a.dims(), b.dims(), "{what}");
        let far: f32 = (a - b).abs().max().into_scalar();
        assert!(far < 1e-3, "{what} differ by {far}");
    }

    /// Compares values and both gradients with Burn's own operation.
    fn compare(
        what: &str,
        [x, weight]: [[usize; 4]; 2],
        ours: fn(Tensor<Cpu, 4>, Tensor<Cpu, 4>) -> Tensor<Cpu, 4>,
        burns: fn(Tensor<Cpu, 4>, Tensor<Cpu, 4>) -> Tensor<Cpu, 4>,
    ) {
        let results = [ours, burns].map(|operation| {
            let (x, weight) = (random(x, 0.3), random(weight, 5.1));
            let y = operation(x.clone(), weight.clone());
            let grads = (y.clone() * random(y.dims(), 2.2)).sum().backward();
            (y.inner(), x.grad(&grads).unwrap(), weight.grad(&grads).unwrap())
        });
        let [(y, dx, dw), (y_burn, dx_burn, dw_burn)] = results;
        assert_close(y, y_burn, what);
        assert_close(dx, dx_burn, &format!("{what}: gradients of the input"));
        assert_close(dw, dw_burn, &format!("{what}: gradients of the weight"));
    }

    /// The reference, which the GPU runs, give what the CPU's kernels give.
    #[test]
    fn both_forms_agree() {
        let (x, weight) = (random([2, 4, 6, 8], 0.3).inner(), random([3, 4, 3, 3], 5.1).inner());
        let grad = random([2, 3, 6, 8], 2.2).inner();
        let own = tensor(Flex::conv3x3_weight_gradient(primitive(x.clone()), primitive(grad.clone())));
        assert_close(weight_gradient(x.clone(), grad), own, "weight gradients");
        assert_close(reference_conv3x3(x.clone(), weight.clone()), conv3x3(x.clone(), weight), "3x3");
        let own = tensor(Flex::depth_to_space(primitive(x.clone())));
        assert_close(depth_to_space(x.clone()), own, "depth to space");
        let own = tensor(Flex::space_to_depth(primitive(x.clone())));
        assert_close(space_to_depth(x), own, "space to depth");
    }

    #[test]
    fn values_and_gradients_are_burns_own() {
        compare("3x3", [[2, 5, 6, 7], [4, 5, 3, 3]], conv3x3, reference_conv3x3);
        compare("3x3 of one pixel", [[1, 2, 1, 1], [3, 2, 3, 3]], conv3x3, reference_conv3x3);
        compare("2x2 stride 2", [[2, 3, 6, 4], [5, 3, 2, 2]], downsample_conv, |x, w| {
            conv2d(x, w, None, ConvOptions::new([2, 2], [0, 0], [1, 1], 1))
        });
        compare("1x1", [[2, 3, 6, 4], [5, 3, 1, 1]], pointwise, |x, w| {
            conv2d(x, w, None, ConvOptions::new([1, 1], [0, 0], [1, 1], 1))
        });
        compare("2x2 transposed", [[2, 3, 4, 5], [3, 4, 2, 2]], upsample_conv, |x, w| {
            conv_transpose2d(x, w, None, ConvTransposeOptions::new([2, 2], [0, 0], [0, 0], [1, 1], 1))
        });
    }
}
