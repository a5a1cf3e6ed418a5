//! Training operations on the CPU, using `training-kernels`.
//!
//! Burn's CPU backend spreads a convolution into columns for a general matrix product and normalizes in a
//! dozen passes; the kernels do the same arithmetic in place. The forms in terms of Burn's tensors, which
//! the GPU runs, are their references.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::TensorData;
use training_kernels::{
    LossInput, NetworkShape, NormalisationGradients, PictureBatch, Precision, Statistics,
};

use super::ops::{NetworkResult, NetworkTape, TrainingOps};
use super::reference::{LossTensors, Normalised};

impl TrainingOps for Flex {
    fn conv3x3(x: FlexTensor, weight: FlexTensor) -> FlexTensor {
        let (shape @ [n, _, h, w], output) = (dims(&x), dims(&weight)[0]);
        tensor(training_kernels::conv3x3(&values(&x), &values(&weight), shape, output), [n, output, h, w])
    }

    fn conv3x3_weight_gradient(x: FlexTensor, grad: FlexTensor) -> FlexTensor {
        let (shape, output) = (dims(&x), dims(&grad)[1]);
        let gradient = training_kernels::conv3x3_weight_gradient(&values(&x), &values(&grad), shape, output);
        tensor(gradient, [output, shape[1], 3, 3])
    }

    fn normalise(x: FlexTensor, scale: FlexTensor, shift: FlexTensor) -> Normalised<Self> {
        let shape @ [_, c, _, _] = dims(&x);
        let (y, statistics) =
            training_kernels::normalise(&values(&x), &values(&scale), &values(&shift), shape);
        Normalised {
            y: tensor(y, shape),
            mean: tensor(statistics.iter().map(|s| s.mean).collect(), [c]),
            variance: tensor(statistics.iter().map(|s| s.variance).collect(), [c]),
        }
    }

    fn normalise_gradients(
        grad: FlexTensor,
        x: FlexTensor,
        [mean, variance]: [FlexTensor; 2],
        [scale, shift]: [FlexTensor; 2],
    ) -> [FlexTensor; 3] {
        let channel = [dims(&x)[1]];
        let statistics: Vec<Statistics> = values(&mean)
            .iter()
            .zip(values(&variance).iter())
            .map(|(&mean, &variance)| Statistics { mean, variance })
            .collect();
        let NormalisationGradients { x: dx, scale, shift } = training_kernels::normalise_gradients(
            &values(&grad),
            &values(&x),
            &statistics,
            [&values(&scale), &values(&shift)],
            dims(&x),
        );
        [tensor(dx, dims(&x)), tensor(scale, channel), tensor(shift, channel)]
    }

    fn depth_to_space(x: FlexTensor) -> FlexTensor {
        let shape @ [n, c, h, w] = dims(&x);
        tensor(training_kernels::depth_to_space(&values(&x), shape), [n, c / 4, 2 * h, 2 * w])
    }

    fn space_to_depth(x: FlexTensor) -> FlexTensor {
        let shape @ [n, c, h, w] = dims(&x);
        tensor(training_kernels::space_to_depth(&values(&x), shape), [n, 4 * c, h / 2, w / 2])
    }

    fn max_pool(x: FlexTensor) -> FlexTensor {
        let shape @ [n, c, h, w] = dims(&x);
        tensor(training_kernels::max_pool(&values(&x), shape), [n, c, h / 2, w / 2])
    }

    fn max_pool_gradient(grad: FlexTensor, x: FlexTensor) -> FlexTensor {
        tensor(training_kernels::max_pool_gradient(&values(&grad), &values(&x), dims(&x)), dims(&x))
    }

    fn network(
        shape: NetworkShape,
        precision: Precision,
        x: FlexTensor,
        numbers: FlexTensor,
    ) -> Option<NetworkResult<Self>> {
        if precision == Precision::F32 && !precision.is_fast() {
            // The kernels that go layer by layer gain more from short vectors.
            return None;
        }
        let [n, _, height, width] = dims(&x);
        let values_nchw = values(&x);
        let batch = PictureBatch { values: &values_nchw, count: n, height, width };
        let output = training_kernels::forward(&shape, batch, &values(&numbers), precision);
        let statistics = output.statistics.iter().map(|of_layer| {
            let numbers = |number: fn(&Statistics) -> f32| {
                tensor(of_layer.iter().map(number).collect(), [of_layer.len()])
            };
            [numbers(|s| s.mean), numbers(|s| s.variance)]
        });
        Some(NetworkResult {
            logits: tensor(output.logits, [n, shape.outputs, height, width]),
            statistics: statistics.collect(),
            tape: Arc::new(Mutex::new(output.tape)),
        })
    }

    fn network_gradient(grad: FlexTensor, numbers: FlexTensor, tape: &NetworkTape) -> Option<FlexTensor> {
        let mut tape = tape.lock().ok()?;
        let gradients = tape.gradients(&values(&grad), &values(&numbers));
        let count = gradients.len();
        Some(tensor(gradients, [count]))
    }

    fn loss(LossTensors { logits, truth, weight }: LossTensors<Self>, masks: usize) -> FlexTensor {
        let (values, shape) = ([logits.clone(), truth, weight], dims(&logits));
        tensor(vec![with_loss_input(&values, shape, |input| input.loss(masks))], [1])
    }

    fn loss_gradient(
        grad: FlexTensor,
        LossTensors { logits, truth, weight }: LossTensors<Self>,
        masks: usize,
    ) -> FlexTensor {
        let grad = values(&grad)[0];
        let (values, shape) = ([logits.clone(), truth, weight], dims(&logits));
        tensor(with_loss_input(&values, shape, |input| input.gradient(masks, grad)), shape)
    }
}

fn with_loss_input<T>(
    [logits, truth, weight]: &[FlexTensor; 3],
    [_, channels, h, w]: [usize; 4],
    compute: impl FnOnce(LossInput<'_>) -> T,
) -> T {
    let (logits, truth, weight) = (values(logits), values(truth), values(weight));
    compute(LossInput { logits: &logits, truth: &truth, weight: &weight, channels, area: h * w })
}

fn dims(tensor: &FlexTensor) -> [usize; 4] {
    let shape = tensor.layout().shape();
    std::array::from_fn(|axis| shape[axis])
}

/// A tensor's values, row-major, copied only where they lie otherwise.
fn values(tensor: &FlexTensor) -> Cow<'_, [f32]> {
    match tensor.as_slice::<f32>() {
        Some(values) => Cow::Borrowed(values),
        None => Cow::Owned(tensor.to_contiguous().storage::<f32>().to_vec()),
    }
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}
