//! The operations of training whose gradients are written out here: what Burn derives for them on a CPU
//! takes most of a step.
//!
//! One implementation serves every backend, in terms of Burn's tensors.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Cuda, Flex};
use burn::tensor::backend::{AutodiffBackend as _, Backend};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorPrimitive};

use super::convolution::{input_gradient, padded, weight_gradient};
use super::normalisation::{Normalised, gradients, normalise};

/// A backend that training runs on.
pub trait TrainingOps: Backend {
    /// As [`conv3x3`](super::convolution::conv3x3).
    fn conv3x3(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        primitive(padded(tensor::<Self, 4>(x), tensor(weight)))
    }

    /// As [`normalise`], for a picture batch `x`, scale and shift.
    fn normalise(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> Normalised<Self> {
        normalise(tensor(x), tensor(scale), tensor(shift))
    }
}

impl TrainingOps for Flex {}
impl TrainingOps for Cuda {}

impl<B: TrainingOps, C: CheckpointStrategy> TrainingOps for Autodiff<B, C> {
    fn conv3x3(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        match Conv3x3Gradient.prepare::<C>([x.node.clone(), weight.node.clone()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = (x.primitive.clone(), weight.primitive.clone());
                prep.finish(state, B::conv3x3(x.primitive, weight.primitive))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::conv3x3(x.primitive, weight.primitive)),
        }
    }

    fn normalise(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> Normalised<Self> {
        let nodes = [x.node.clone(), scale.node.clone(), shift.node.clone()];
        let inner = B::normalise(x.primitive, scale.primitive.clone(), shift.primitive);
        let Normalised { y, standard, deviation, mean, variance } = inner;
        let untracked = |tensor: FloatTensor<B>| Self::from_inner(tensor);
        let state = (y.clone(), standard.clone(), deviation.clone(), scale.primitive);
        let y = match NormaliseGradient.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(state, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        };
        Normalised {
            y,
            standard: untracked(standard),
            deviation: untracked(deviation),
            mean: untracked(mean),
            variance: untracked(variance),
        }
    }
}

#[derive(Debug)]
struct Conv3x3Gradient;

impl<B: TrainingOps> Backward<B, 2> for Conv3x3Gradient {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [x_node, weight_node] = ops.parents;
        let grad = tensor::<B, 4>(grads.consume::<B>(&ops.node));
        let (x, weight) = ops.state;
        if let Some(node) = x_node {
            grads.register::<B>(node.id, primitive(input_gradient(tensor::<B, 4>(weight), grad.clone())));
        }
        if let Some(node) = weight_node {
            grads.register::<B>(node.id, primitive(weight_gradient(tensor::<B, 4>(x), grad)));
        }
    }
}

#[derive(Debug)]
struct NormaliseGradient;

impl<B: TrainingOps> Backward<B, 3> for NormaliseGradient {
    /// Result, standardised input, deviation and scale.
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = tensor::<B, 4>(grads.consume::<B>(&ops.node));
        let (y, standard, deviation, scale) = ops.state;
        let [dx, dscale, dshift] =
            gradients::<B>(grad, tensor(y), tensor(standard), tensor(deviation), tensor(scale));
        for (node, gradient) in ops.parents.into_iter().zip([dx, dscale, dshift]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// The tensor of a backend's own form.
pub(super) fn tensor<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// The backend's own form of a tensor.
pub(super) fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}
