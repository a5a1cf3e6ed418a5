//! Training operations with hand-written gradients, because Burn's automatic ones take most of a step on a CPU.
//!
//! The formulas of [`reference`](super::reference) serve every backend; the CPU's own kernels replace them there (see
//! [`cpu`](super::cpu)).

use std::sync::{Arc, Mutex};

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::{AutodiffBackend as _, Backend};
use burn::tensor::ops::FloatTensor;
use training_kernels::{NetworkShape, Precision, Tape};

use super::reference::{
    LossTensors, Normalised, convolution, loss, normalisation, pooling, primitive, tensor,
};

/// A backend that training runs on.
pub trait TrainingOps: Backend {
    /// As [`conv3x3`](super::convolution::conv3x3).
    fn conv3x3(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        primitive(convolution::conv3x3(tensor::<Self, 4>(x), tensor(weight)))
    }

    /// The gradient of a 3x3 weight, `[out, in, 3, 3]`, from the input and the result's gradient.
    fn conv3x3_weight_gradient(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        primitive(convolution::weight_gradient(tensor::<Self, 4>(x), tensor(grad)))
    }

    /// As [`normalize`](super::reference::normalisation::normalise), for an image batch `x`, scale and shift.
    fn normalise(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> Normalised<Self> {
        normalisation::normalise(tensor(x), tensor(scale), tensor(shift))
    }

    /// The gradients of input, scale and shift, from that of the result and the batch's statistics.
    fn normalise_gradients(
        grad: FloatTensor<Self>,
        x: FloatTensor<Self>,
        [mean, variance]: [FloatTensor<Self>; 2],
        [scale, shift]: [FloatTensor<Self>; 2],
    ) -> [FloatTensor<Self>; 3] {
        let (statistics, parameters) = ([mean, variance].map(tensor), [scale, shift].map(tensor));
        normalisation::gradients(tensor::<Self, 4>(grad), tensor(x), statistics, parameters)
    }

    /// `[n, 4 c, h, w]` to `[n, c, 2 h, 2 w]`: four channels of a pixel become a square, row by row.
    fn depth_to_space(x: FloatTensor<Self>) -> FloatTensor<Self> {
        primitive(convolution::depth_to_space(tensor::<Self, 4>(x)))
    }

    /// The inverse of [`depth_to_space`](TrainingOps::depth_to_space), and its gradient.
    fn space_to_depth(x: FloatTensor<Self>) -> FloatTensor<Self> {
        primitive(convolution::space_to_depth(tensor::<Self, 4>(x)))
    }

    /// The greatest of each 2x2 square: `[n, c, h, w]` to `[n, c, h / 2, w / 2]`.
    fn max_pool(x: FloatTensor<Self>) -> FloatTensor<Self> {
        primitive(pooling::max_pool(tensor::<Self, 4>(x)))
    }

    /// The gradient of the input of [`max_pool`](TrainingOps::max_pool).
    fn max_pool_gradient(grad: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self> {
        primitive(pooling::gradient(tensor::<Self, 4>(grad), tensor(x)))
    }

    /// The logits of a whole lean network from a picture batch and all its numbers laid end to end, where this
    /// backend computes them in one piece.
    fn network(
        _: NetworkShape,
        _: Precision,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> Option<NetworkResult<Self>> {
        None
    }

    /// The gradient of a network's numbers, from that of its logits; none where there is no tape.
    fn network_gradient(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: &NetworkTape,
    ) -> Option<FloatTensor<Self>> {
        None
    }

    /// As [`segmentation_loss`](super::loss::segmentation_loss), one number.
    fn loss(input: LossTensors<Self>, masks: usize) -> FloatTensor<Self> {
        primitive(loss::loss::<Self>(input, masks))
    }

    /// The gradient of the loss for the logits.
    fn loss_gradient(grad: FloatTensor<Self>, input: LossTensors<Self>, masks: usize) -> FloatTensor<Self> {
        primitive(loss::gradient::<Self>(tensor(grad), input, masks))
    }
}

/// What the forward pass of a whole network gives.
#[derive(Debug)]
pub struct NetworkResult<B: Backend> {
    /// `[n, outputs, h, w]`.
    pub logits: FloatTensor<B>,
    /// Mean and variance of every normalized layer, each `[c]`.
    pub statistics: Vec<[FloatTensor<B>; 2]>,
    /// For the gradient.
    pub tape: NetworkTape,
}

/// What a forward pass leaves for the gradient.
pub type NetworkTape = Arc<Mutex<Tape>>;

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

    fn depth_to_space(x: FloatTensor<Self>) -> FloatTensor<Self> {
        unary::<B, C, _>(x, DepthToSpaceGradient, |_| (), B::depth_to_space)
    }

    fn space_to_depth(x: FloatTensor<Self>) -> FloatTensor<Self> {
        unary::<B, C, _>(x, SpaceToDepthGradient, |_| (), B::space_to_depth)
    }

    fn max_pool(x: FloatTensor<Self>) -> FloatTensor<Self> {
        unary::<B, C, _>(x, MaxPoolGradient, Clone::clone, B::max_pool)
    }

    fn network(
        shape: NetworkShape,
        precision: Precision,
        x: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
    ) -> Option<NetworkResult<Self>> {
        let primitive = numbers.primitive;
        let NetworkResult { logits, statistics, tape } =
            B::network(shape, precision, x.primitive, primitive.clone())?;
        let logits = match NetworkGradient.prepare::<C>([numbers.node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((primitive, tape.clone()), logits),
            OpsKind::UnTracked(prep) => prep.finish(logits),
        };
        let statistics = statistics.into_iter().map(|of_layer| of_layer.map(Self::from_inner)).collect();
        Some(NetworkResult { logits, statistics, tape })
    }

    fn loss(input: LossTensors<Self>, masks: usize) -> FloatTensor<Self> {
        let LossTensors { logits, truth, weight } = input;
        let (truth, weight) = (truth.primitive, weight.primitive);
        let input = |logits: &FloatTensor<B>| LossTensors {
            logits: logits.clone(),
            truth: truth.clone(),
            weight: weight.clone(),
        };
        unary::<B, C, _>(
            logits,
            LossGradient,
            |logits| (input(logits), masks),
            |logits| B::loss(input(&logits), masks),
        )
    }
}

/// Computes on one tensor, and leaves the way back where it is tracked.
fn unary<B: TrainingOps, C: CheckpointStrategy, G: Backward<B, 1>>(
    x: FloatTensor<Autodiff<B, C>>,
    gradient: G,
    state: impl FnOnce(&FloatTensor<B>) -> G::State,
    compute: impl FnOnce(FloatTensor<B>) -> FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    match gradient.prepare::<C>([x.node.clone()]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(state(&x.primitive), compute(x.primitive)),
        OpsKind::UnTracked(prep) => prep.finish(compute(x.primitive)),
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
            let flipped = primitive(convolution::flip_transpose(tensor::<B, 4>(weight)));
            grads.register::<B>(node.id, B::conv3x3(grad.clone(), flipped));
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

#[derive(Debug)]
struct NetworkGradient;

impl<B: TrainingOps> Backward<B, 1> for NetworkGradient {
    /// The network's numbers, and what its forward pass left.
    type State = (FloatTensor<B>, NetworkTape);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (numbers, tape) = ops.state;
        let [node] = ops.parents;
        if let Some(node) = node
            && let Some(gradient) = B::network_gradient(grad, numbers, &tape)
        {
            grads.register::<B>(node.id, gradient);
        }
    }
}

/// Declares the way back of an operation on one tensor, from its gradient and its state.
macro_rules! unary_gradient {
    ($name:ident, $state:ty, $gradient:expr) => {
        #[derive(Debug)]
        struct $name;

        impl<B: TrainingOps> Backward<B, 1> for $name {
            type State = $state;

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let grad = grads.consume::<B>(&ops.node);
                let [node] = ops.parents;
                if let Some(node) = node {
                    let gradient: fn(FloatTensor<B>, $state) -> FloatTensor<B> = $gradient;
                    grads.register::<B>(node.id, gradient(grad, ops.state));
                }
            }
        }
    };
}

unary_gradient!(DepthToSpaceGradient, (), |grad, ()| B::space_to_depth(grad));
unary_gradient!(SpaceToDepthGradient, (), |grad, ()| B::depth_to_space(grad));
unary_gradient!(MaxPoolGradient, FloatTensor<B>, |grad, x| B::max_pool_gradient(grad, x));
unary_gradient!(LossGradient, (LossTensors<B>, usize), |grad, (input, masks)| {
    B::loss_gradient(grad, input, masks)
});
