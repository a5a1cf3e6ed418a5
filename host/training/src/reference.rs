//! The training operations in terms of Burn's tensors, for every backend.

pub mod convolution;
pub mod loss;
pub mod normalisation;
pub mod pooling;

pub use loss::LossTensors;
pub use normalisation::Normalised;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorPrimitive};

/// The tensor of a backend's own form.
pub(crate) fn tensor<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// The backend's own form of a tensor.
pub(crate) fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}
