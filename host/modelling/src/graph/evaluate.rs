//! The slow reference evaluation of a graph, with which every runtime is compared.

use super::{Convolution, Graph, GraphError, Op, PoolWindow, ValueId, ValueShape};

impl Graph {
    /// The result for one image, by the definition of each operation, with sums in `f64`.
    ///
    /// # Shapes
    /// `image_chw` is `[c, h, w]` of [`Graph::input_shape`]; the result is `[c, h, w]` of
    /// [`Graph::output`].
    ///
    /// # Errors
    /// If `image_chw` has another length.
    pub fn evaluate(&self, image_chw: &[f32]) -> Result<Vec<f32>, GraphError> {
        let expected = self.input_shape().elements();
        if image_chw.len() != expected {
            return Err(GraphError::InputLength { expected, actual: image_chw.len() });
        }
        let mut values = vec![image_chw.to_vec()];
        for (index, node) in self.nodes().iter().enumerate() {
            let inputs: Vec<_> =
                node.inputs.iter().map(|&id| (values[id.index()].as_slice(), self.shape(id))).collect();
            values.push(apply(&node.op, &inputs, self.shape(ValueId::of_node(index))));
        }
        Ok(values.swap_remove(self.output().index()))
    }
}

type Input<'a> = (&'a [f32], ValueShape);

fn apply(op: &Op, inputs: &[Input], shape: ValueShape) -> Vec<f32> {
    let (first, first_shape) = inputs[0];
    match op {
        Op::Conv(parameters) => convolve(parameters, Direction::Plain, inputs[0], shape),
        Op::ConvTranspose(parameters) => convolve(parameters, Direction::Transposed, inputs[0], shape),
        Op::BatchNorm(norm) => {
            let channels = first.chunks_exact(shape.pixels()).enumerate();
            let map = |(channel, plane): (usize, &[f32])| {
                let (factor, offset) = norm.affine(channel);
                plane.iter().map(move |&x| (f64::from(x) * factor + offset) as f32).collect::<Vec<_>>()
            };
            channels.flat_map(map).collect()
        }
        Op::Relu => first.iter().map(|x| x.max(0.0)).collect(),
        Op::Sigmoid => first.iter().map(|&x| (1.0 / (1.0 + (-f64::from(x)).exp())) as f32).collect(),
        Op::MaxPool(window) => max_pool(first, first_shape, *window, shape),
        Op::Add => first.iter().zip(inputs[1].0).map(|(a, b)| a + b).collect(),
        Op::Concat => inputs.iter().flat_map(|(values, _)| *values).copied().collect(),
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Plain,
    Transposed,
}

/// A plain convolution joins output `o` and input `o * stride + k - padding`; its
/// transpose joins input `i` and output `i * stride + k - padding`.
fn convolve(
    parameters: &Convolution,
    direction: Direction,
    (input, from): Input,
    to: ValueShape,
) -> Vec<f32> {
    let Convolution { weight, bias, stride, padding } = parameters;
    let [rows, columns, kernel_height, kernel_width] = weight.shape();
    let (narrow, wide) = match direction {
        Direction::Plain => (to, from),
        Direction::Transposed => (from, to),
    };
    let taps = |narrow: usize, wide: usize, k: usize| {
        (0..narrow).filter_map(move |n| {
            let position = (n * stride + k).checked_sub(*padding)?;
            (position < wide).then_some((n, position))
        })
    };
    let mut sums: Vec<f64> =
        bias.iter().flat_map(|&bias| std::iter::repeat_n(f64::from(bias), to.pixels())).collect();
    let mut weights = weight.data().iter().copied().map(f64::from);
    for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
        let (out, taken) = match direction {
            Direction::Plain => (row, column),
            Direction::Transposed => (column, row),
        };
        let sums = &mut sums[out * to.pixels()..][..to.pixels()];
        let input = &input[taken * from.pixels()..][..from.pixels()];
        let kernel = (0..kernel_height).flat_map(|y| (0..kernel_width).map(move |x| (y, x)));
        for ((ky, kx), weight) in kernel.zip(weights.by_ref()) {
            for (ny, wy) in taps(narrow.height, wide.height, ky) {
                for (nx, wx) in taps(narrow.width, wide.width, kx) {
                    let (n, w) = (ny * narrow.width + nx, wy * wide.width + wx);
                    let (o, i) = match direction {
                        Direction::Plain => (n, w),
                        Direction::Transposed => (w, n),
                    };
                    sums[o] += weight * f64::from(input[i]);
                }
            }
        }
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

fn max_pool(input: &[f32], from: ValueShape, window: PoolWindow, to: ValueShape) -> Vec<f32> {
    let PoolWindow { size, stride, padding } = window;
    let reach = |at: usize, length: usize| {
        (at * stride).saturating_sub(padding)..(at * stride + size - padding).min(length)
    };
    let mut output = Vec::with_capacity(to.elements());
    for plane in input.chunks_exact(from.pixels()) {
        for (y, x) in (0..to.height).flat_map(|y| (0..to.width).map(move |x| (y, x))) {
            let rows = reach(y, from.height).map(|row| &plane[row * from.width..][..from.width]);
            let window = rows.flat_map(|row| &row[reach(x, from.width)]);
            output.push(window.copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
    output
}
