//! Batch normalization followed by `max(x, 0)` (Ioffe and Szegedy 2015).
//!
//! A channel's value is repeated for each row `[n c, 1]` of the batch seen as `[n c, h w]`: every backend computes fast
//! with one number per contiguous row.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use training_kernels::EPSILON;

use super::primitive;

/// What normalization gives.
#[derive(Debug)]
pub struct Normalised<B: Backend> {
    /// The result, `[n, c, h, w]`.
    pub y: FloatTensor<B>,
    /// The batch's mean, `[c]`.
    pub mean: FloatTensor<B>,
    /// The batch's variance, not corrected for its number, `[c]`.
    pub variance: FloatTensor<B>,
}

/// `max(scale (x - mean) / deviation + shift, 0)` by the batch's own mean and deviation.
pub(crate) fn normalise<B: Backend>(
    x: Tensor<B, 4>,
    scale: Tensor<B, 1>,
    shift: Tensor<B, 1>,
) -> Normalised<B> {
    let [n, c, h, w] = x.dims();
    let count = (n * h * w) as f64;
    let x = x.reshape([n * c, h * w]);
    let mean = sum_over_rows(x.clone(), n) / count;
    let centred = x - broadcast_channels(mean.clone(), n);
    let variance = sum_over_rows(centred.clone() * centred.clone(), n) / count;
    let standard = centred * broadcast_channels(deviation(variance.clone()).recip(), n);
    let y =
        relu(standard * broadcast_channels(scale, n) + broadcast_channels(shift, n)).reshape([n, c, h, w]);
    Normalised { y: primitive(y), mean: primitive(mean), variance: primitive(variance) }
}

/// The gradients of input, scale and shift.
pub(crate) fn gradients<B: Backend>(
    grad: Tensor<B, 4>,
    x: Tensor<B, 4>,
    [mean, variance]: [Tensor<B, 1>; 2],
    [scale, shift]: [Tensor<B, 1>; 2],
) -> [FloatTensor<B>; 3] {
    let [n, c, h, w] = grad.dims();
    let count = (n * h * w) as f64;
    let deviation = deviation(variance);
    let standard = (x.reshape([n * c, h * w]) - broadcast_channels(mean, n))
        * broadcast_channels(deviation.clone().recip(), n);
    let stopped = (standard.clone() * broadcast_channels(scale.clone(), n) + broadcast_channels(shift, n))
        .lower_equal_elem(0.0);
    let grad = grad.reshape([n * c, h * w]).mask_fill(stopped, 0.0);
    let dshift = sum_over_rows(grad.clone(), n);
    let dscale = sum_over_rows(grad.clone() * standard.clone(), n);
    let centred = grad
        - broadcast_channels(dshift.clone() / count, n)
        - standard * broadcast_channels(dscale.clone() / count, n);
    let dx = (centred * broadcast_channels(scale / deviation, n)).reshape([n, c, h, w]);
    [primitive(dx), primitive(dscale), primitive(dshift)]
}

fn deviation<B: Backend>(variance: Tensor<B, 1>) -> Tensor<B, 1> {
    (variance + EPSILON).sqrt()
}

/// A channel's value for each of its rows: `[c]` to `[n c, 1]`.
pub(crate) fn broadcast_channels<B: Backend>(channels: Tensor<B, 1>, n: usize) -> Tensor<B, 2> {
    let [c] = channels.dims();
    channels.reshape([1, c]).repeat_dim(0, n).reshape([n * c, 1])
}

/// The sum over a channel's rows: `[n c, m]` to `[c]`.
pub(crate) fn sum_over_rows<B: Backend>(rows: Tensor<B, 2>, n: usize) -> Tensor<B, 1> {
    let c = rows.dims()[0] / n;
    rows.sum_dim(1).reshape([n, c]).sum_dim(0).reshape([c])
}
