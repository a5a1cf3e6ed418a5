//! Batch normalization followed by `max(x, 0)`, as one operation (Ioffe and Szegedy 2015).

use burn::module::{Module, Param, RunningState};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use training_kernels::EPSILON;

use super::ops::TrainingOps;
use super::reference::normalisation::{broadcast_channels, sum_over_rows};
use super::reference::{primitive, tensor};

/// Share of a batch's statistics in the running ones.
const MOMENTUM: f64 = 0.1;

/// What a pass through the network does at each normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NormPass {
    /// It normalises, by the batch's statistics while training, by the running ones otherwise.
    Normalise,
    /// It measures: the batch's statistics become the running ones, and the shift alone is added.
    Measure,
}

/// Batch normalisation and `max(x, 0)`.
#[derive(Module, Debug)]
pub struct NormRelu<B: Backend> {
    /// Gamma, `[c]`.
    pub scale: Param<Tensor<B, 1>>,
    /// Beta, `[c]`.
    pub shift: Param<Tensor<B, 1>>,
    /// Running mean, `[c]`.
    pub mean: RunningState<Tensor<B, 1>>,
    /// Running variance, `[c]`.
    pub variance: RunningState<Tensor<B, 1>>,
}

impl<B: Backend> NormRelu<B> {
    /// Scale and variance 1, shift and mean 0.
    pub fn new(channels: usize, device: &B::Device) -> Self {
        Self {
            scale: Param::from_tensor(Tensor::ones([channels], device)),
            shift: Param::from_tensor(Tensor::zeros([channels], device)),
            mean: RunningState::new(Tensor::zeros([channels], device)),
            variance: RunningState::new(Tensor::ones([channels], device)),
        }
    }
}

impl<B: TrainingOps> NormRelu<B> {
    /// # Shapes
    /// `[n, c, h, w]` to the same.
    pub(super) fn forward(&self, x: Tensor<B, 4>, pass: NormPass) -> Tensor<B, 4> {
        if pass == NormPass::Measure {
            return self.measure(x);
        }
        if !B::ad_enabled(&x.device()) {
            let [n, c, h, w] = x.dims();
            let factor = self.scale.val() / (self.variance.value() + EPSILON).sqrt();
            let offset = self.shift.val() - self.mean.value() * factor.clone();
            let y = x.reshape([n * c, h * w]) * broadcast_channels(factor, n) + broadcast_channels(offset, n);
            return relu(y).reshape([n, c, h, w]);
        }
        let normalised = B::normalise(primitive(x), primitive(self.scale.val()), primitive(self.shift.val()));
        self.remember(normalised.mean, normalised.variance);
        tensor(normalised.y)
    }
}

impl<B: Backend> NormRelu<B> {
    /// Takes a batch's mean and variance, each `[c]`, into the running ones.
    pub(super) fn remember(&self, mean: FloatTensor<B>, variance: FloatTensor<B>) {
        for (state, new) in [(&self.mean, mean), (&self.variance, variance)] {
            let new = tensor::<B, 1>(new);
            state.update((state.value_sync() * (1.0 - MOMENTUM) + new.detach() * MOMENTUM).detach());
        }
    }
}

impl<B: TrainingOps> NormRelu<B> {
    fn measure(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [n, c, h, w] = x.dims();
        let count = (n * h * w) as f64;
        let rows = x.reshape([n * c, h * w]).detach();
        let mean = sum_over_rows(rows.clone(), n) / count;
        let centred = rows.clone() - broadcast_channels(mean.clone(), n);
        self.mean.update(mean);
        self.variance.update(sum_over_rows(centred.clone() * centred, n) / count);
        relu(rows + broadcast_channels(self.shift.val().detach(), n)).reshape([n, c, h, w])
    }

    /// After a pass that measured: the same function as adding the shift was, with normalisation.
    #[must_use]
    pub(super) fn normalising(self) -> Self {
        let (mean, variance) = (self.mean.value_sync(), self.variance.value_sync());
        let shift = self.shift.val() + mean;
        Self {
            scale: Param::from_tensor((variance + EPSILON).sqrt().detach()),
            shift: Param::from_tensor(shift.detach()),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::module::AutodiffModule as _;
    use burn::nn::BatchNormConfig;
    use burn::tensor::TensorData;

    use super::super::reference::normalisation::{gradients, normalise};
    use super::*;

    type Cpu = Autodiff<Flex>;

    #[test]
    fn values_gradients_and_running_statistics_are_burns_own() {
        let device = Default::default();
        let shape = [3, 4, 5, 6];
        let values = |seed: f32| {
            let values: Vec<f32> = (0..shape.iter().product())
                .map(|i: usize| (i as f32 * 1.7 + seed).sin() * 2.0 + 0.3)
                .collect();
            Tensor::<Cpu, 4>::from_data(TensorData::new(values, shape), &device)
        };
        let ours = NormRelu::<Cpu>::new(4, &device);
        let burns = BatchNormConfig::new(4).init::<Cpu>(&device);
        let (x, x_burn) = (values(0.1).require_grad(), values(0.1).require_grad());
        let y = ours.forward(x.clone(), NormPass::Normalise);
        let y_burn = relu(burns.forward(x_burn.clone()));
        let grads = (y.clone() * values(3.0)).sum().backward();
        let grads_burn = (y_burn.clone() * values(3.0)).sum().backward();
        let close = |a: Tensor<Flex, 1>, b: Tensor<Flex, 1>, what: &str| {
            let far: f32 = (a - b).abs().max().into_scalar();
            assert!(far < 1e-4, "{what} differ by {far}");
        };
        let flat = |tensor: Tensor<Flex, 4>| tensor.flatten::<1>(0, 3);
        close(flat(y.inner()), flat(y_burn.inner()), "values");
        close(flat(x.grad(&grads).unwrap()), flat(x_burn.grad(&grads_burn).unwrap()), "input gradients");
        let parameter = |p: &Param<Tensor<Cpu, 1>>, g| p.val().grad(g).unwrap();
        close(parameter(&ours.scale, &grads), parameter(&burns.gamma, &grads_burn), "scale gradients");
        close(parameter(&ours.shift, &grads), parameter(&burns.beta, &grads_burn), "shift gradients");

        // The reference, which the GPU runs.
        let (x, scale, shift) = (values(0.1).inner(), ours.scale.val().inner(), ours.shift.val().inner());
        let portable = normalise(x.clone(), scale.clone(), shift.clone());
        let own = Flex::normalise(primitive(x.clone()), primitive(scale.clone()), primitive(shift.clone()));
        close(flat(tensor(portable.y)), flat(tensor(own.y)), "both forms");
        let statistics = [own.mean, own.variance];
        let parameters = [primitive(scale.clone()), primitive(shift.clone())];
        let grad = values(3.0).inner();
        let own = Flex::normalise_gradients(
            primitive(grad.clone()),
            primitive(x.clone()),
            statistics.clone(),
            parameters,
        );
        let [dx, dscale, dshift] = gradients(grad, x, statistics.map(tensor), [scale, shift]);
        let [own_dx, own_dscale, own_dshift] = own;
        close(flat(tensor(dx)), flat(tensor(own_dx)), "both forms' input gradients");
        close(tensor(dscale), tensor(own_dscale), "both forms' scale gradients");
        close(tensor(dshift), tensor(own_dshift), "both forms' shift gradients");

        let (ours, burns) = (ours.valid(), burns.valid());
        close(ours.mean.value_sync(), burns.running_mean.value_sync(), "running means");
        close(ours.variance.value_sync(), burns.running_var.value_sync(), "running variances");
        let x = values(7.0).inner();
        close(flat(ours.forward(x.clone(), NormPass::Normalise)), flat(relu(burns.forward(x))), "inference");
    }
}
