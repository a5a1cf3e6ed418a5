//! The greatest of each 2x2 square.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::convolution::{depth_to_space, space_to_depth};

/// The same in terms of Burn's tensors.
pub(crate) fn max_pool<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    let [n, c, h, w] = x.dims();
    squares(x).max_dim(2).reshape([n, c, h / 2, w / 2])
}

/// The gradient of the input: that of each square goes to its greatest value, in parts where there are equals.
pub(crate) fn gradient<B: Backend>(grad: Tensor<B, 4>, x: Tensor<B, 4>) -> Tensor<B, 4> {
    let [n, c, h, w] = x.dims();
    let squares = squares(x);
    let greatest = squares.clone().equal(squares.max_dim(2).repeat_dim(2, 4)).float();
    let shared = grad.reshape([n, c, 1, h / 2 * (w / 2)]) / greatest.clone().sum_dim(2);
    depth_to_space((greatest * shared).reshape([n, 4 * c, h / 2, w / 2]))
}

/// `[n, c, h, w]` to `[n, c, 4, h w / 4]`.
fn squares<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    let [n, c, h, w] = x.dims();
    space_to_depth(x).reshape([n, c, 4, h / 2 * (w / 2)])
}
