//! The operations of training whose gradients are written out here: what Burn derives for them on a CPU
//! takes most of a step.
//!
//! Each has a form in terms of Burn's tensors that serves every backend; the CPU's own kernels replace
//! them there (see [`cpu`](super::cpu)).

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Cuda};
use burn::tensor::backend::{AutodiffBackend as _, Backend};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorPrimitive};

use super::convolution::{padded, turned, weight_gradient};
use super::normalisation::{Normalised, gradients, normalise};

/// A backend that training runs on.
pub trait TrainingOps: Backend {
    /// As [`conv3x3`](super::convolution::conv3x3).
    fn conv3x3(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        primitive(padded(tensor::<Self, 4>(x), tensor(weight)))
    }

    /// The gradient of a 3x3 weight, `[out, in, 3, 3]`, from the input and the result's gradient.
    fn conv3x3_weight_gradient(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        primitive(weight_gradient(tensor::<Self, 4>(x), tensor(grad)))
    }

    /// As [`normalise`], for a picture batch `x`, scale and shift.
    fn normalise(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> Normalised<Self> {
        normalise(tensor(x), tensor(scale), tensor(shift))
    }

    /// The gradients of input, scale and shift, from that of the result and the batch's statistics.
    fn normalise_gradients(
        grad: FloatTensor<Self>,
        x: FloatTensor<Self>,
        [mean, variance]: [FloatTensor<Self>; 2],
        [scale, shift]: [FloatTensor<Self>; 2],
    ) -> [FloatTensor<Self>; 3] {
        gradients(
            tensor::<Self, 4>(grad),
            tensor(x),
            [mean, variance].map(tensor),
            [scale, shift].map(tensor),
        )
    }
}

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
        let (x, scale, shift) = (x.primitive, scale.primitive, shift.primitive);
        let Normalised { y, mean, variance } = B::normalise(x.clone(), scale.clone(), shift.clone());
        let state = (x, [mean.clone(), variance.clone()], [scale, shift]);
        let y = match NormaliseGradient.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(state, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        };
        Normalised { y, mean: Self::from_inner(mean), variance: Self::from_inner(variance) }
    }
}

#[derive(Debug)]
struct Conv3x3Gradient;

impl<B: TrainingOps> Backward<B, 2> for Conv3x3Gradient {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [x_node, weight_node] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight) = ops.state;
        if let Some(node) = x_node {
            grads.register::<B>(node.id, B::conv3x3(grad.clone(), primitive(turned(tensor::<B, 4>(weight)))));
        }
        if let Some(node) = weight_node {
            grads.register::<B>(node.id, B::conv3x3_weight_gradient(x, grad));
        }
    }
}

#[derive(Debug)]
struct NormaliseGradient;

impl<B: TrainingOps> Backward<B, 3> for NormaliseGradient {
    /// Input, mean and variance, scale and shift.
    type State = (FloatTensor<B>, [FloatTensor<B>; 2], [FloatTensor<B>; 2]);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, statistics, parameters) = ops.state;
        let gradients = B::normalise_gradients(grad, x, statistics, parameters);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
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
