//! The operations of training on the CPU, in vectors of the machine's own width.
//!
//! Burn's CPU backend spreads a convolution into columns for a general matrix product and normalises in a
//! dozen passes. These kernels do the same arithmetic in place; the forms in terms of Burn's tensors, which
//! the GPU runs, are their references. Vectors come from `pulp`, which picks the instruction set at run time
//! and needs no unsafe code of ours.

mod conv3x3;
mod normalisation;

use std::borrow::Cow;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::TensorData;
use pulp::Simd;

use super::normalisation::Normalised;
use super::ops::TrainingOps;

impl TrainingOps for Flex {
    fn conv3x3(x: FlexTensor, weight: FlexTensor) -> FlexTensor {
        let (shape, output) = (dims(&x), dims(&weight)[0]);
        let y = conv3x3::forward(&values(&x), &values(&weight), shape, output);
        from_values(y, [shape[0], output, shape[2], shape[3]])
    }

    fn conv3x3_weight_gradient(x: FlexTensor, grad: FlexTensor) -> FlexTensor {
        let (shape, output) = (dims(&x), dims(&grad)[1]);
        let gradient = conv3x3::weight_gradient(&values(&x), &values(&grad), shape, output);
        from_values(gradient, [output, shape[1], 3, 3])
    }

    fn normalise(x: FlexTensor, scale: FlexTensor, shift: FlexTensor) -> Normalised<Self> {
        let shape = dims(&x);
        let (y, statistics) = normalisation::forward(&values(&x), &values(&scale), &values(&shift), shape);
        Normalised {
            y: from_values(y, shape),
            mean: from_values(statistics.iter().map(|s| s.mean).collect(), [shape[1]]),
            variance: from_values(statistics.iter().map(|s| s.variance).collect(), [shape[1]]),
        }
    }

    fn normalise_gradients(
        grad: FlexTensor,
        x: FlexTensor,
        [mean, variance]: [FlexTensor; 2],
        [scale, shift]: [FlexTensor; 2],
    ) -> [FlexTensor; 3] {
        let shape = dims(&x);
        let (mean, variance) = (values(&mean), values(&variance));
        let statistics: Vec<normalisation::Statistics> = mean
            .iter()
            .zip(variance.iter())
            .map(|(&mean, &variance)| normalisation::Statistics { mean, variance })
            .collect();
        let gradients = normalisation::backward(
            &values(&grad),
            &values(&x),
            &statistics,
            [&values(&scale), &values(&shift)],
            shape,
        );
        [
            from_values(gradients.x, shape),
            from_values(gradients.scale, [shape[1]]),
            from_values(gradients.shift, [shape[1]]),
        ]
    }
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

fn from_values<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// The vector at the start of `values`.
#[inline(always)]
fn load<S: Simd>(values: &[f32]) -> S::f32s {
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&values[..S::F32_LANES]))
}
