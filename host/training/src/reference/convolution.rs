//! Convolutions with gradients as matrix products.
//!
//! Burn's own gradient of a convolution's weight is a convolution with a kernel as large as the image, which takes most
//! of a step on a CPU. Here every gradient is a few large matrix products.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

/// The weight of the convolution that makes the gradient of a [`conv3x3`]'s input out of that of its result.
pub(crate) fn flip_transpose<B: Backend>(weight: Tensor<B, 4>) -> Tensor<B, 4> {
    weight.swap_dims(0, 1).flip([2, 3])
}

/// The gradient of a 3x3 weight: one matrix product with the input as each of the nine places sees it.
///
/// Rows are laid end to end with two zeros between them: a shift in both directions is then one shift
/// along the line, and what it wraps around meets a gradient of zero. One product of nine times the columns needs
/// a ninth of the kernels that nine products need, each of which is tuned and compiled on a GPU.
pub(crate) fn weight_gradient<B: Backend>(x: Tensor<B, 4>, grad: Tensor<B, 4>) -> Tensor<B, 4> {
    let [n, input, height, width] = x.dims();
    let output = grad.dims()[1];
    let row = width + 2;
    let length = height * row - 2;
    let x = x.pad((1, 1, 1, 1), 0.0).reshape([n, input, (height + 2) * row]);
    let grad = grad.pad((0, 2, 0, 0), 0.0).reshape([n, output, height * row]).narrow(2, 0, length);
    let places = (0..9).map(|place| x.clone().narrow(2, place / 3 * row + place % 3, length)).collect();
    let places = Tensor::cat(places, 1).swap_dims(1, 2);
    grad.matmul(places).sum_dim(0).reshape([output, 3, 3, input]).permute([0, 3, 1, 2])
}

pub(crate) fn conv3x3<B: Backend>(x: Tensor<B, 4>, weight: Tensor<B, 4>) -> Tensor<B, 4> {
    conv2d(x, weight, None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1))
}

/// As [`TrainingOps::depth_to_space`], in terms of Burn's tensors.
pub(crate) fn depth_to_space<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    let [n, c, h, w] = x.dims();
    x.reshape([n, c / 4, 2, 2, h, w]).permute([0, 1, 4, 2, 5, 3]).reshape([n, c / 4, 2 * h, 2 * w])
}

/// As [`TrainingOps::space_to_depth`], in terms of Burn's tensors.
pub(crate) fn space_to_depth<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    let [n, c, h, w] = x.dims();
    x.reshape([n, c, h / 2, 2, w / 2, 2]).permute([0, 1, 3, 5, 2, 4]).reshape([n, 4 * c, h / 2, w / 2])
}
