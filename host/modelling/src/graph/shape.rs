//! Shape inference.

use super::{BatchNorm, Convolution, GraphError, Op, PoolWindow};

/// Shape of one value, `[1, channels, height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueShape {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ValueShape {
    /// A shape.
    ///
    /// # Errors
    /// If an axis is zero or the elements overflow a `u32`.
    pub fn new(channels: usize, height: usize, width: usize) -> Result<Self, GraphError> {
        let elements = channels
            .checked_mul(height)
            .and_then(|rows| rows.checked_mul(width))
            .filter(|&elements| elements > 0 && u32::try_from(elements).is_ok());
        match elements {
            Some(_) => Ok(Self { channels, height, width }),
            None => Err(GraphError::Shape { channels, height, width }),
        }
    }

    /// Numbers in the value.
    pub fn elements(self) -> usize {
        self.channels * self.height * self.width
    }

    /// Numbers in one channel.
    pub fn pixels(self) -> usize {
        self.height * self.width
    }
}

/// Length of a convolution's output, `floor((i + 2p - k) / s) + 1` (Dumoulin and Visin 2016, relationship 6); `None` if
/// no window fits.
pub fn conv_output(input: usize, kernel: usize, stride: usize, padding: usize) -> Option<usize> {
    let padded = padding.checked_mul(2)?.checked_add(input)?;
    if kernel == 0 {
        return None;
    }
    padded.checked_sub(kernel)?.checked_div(stride)?.checked_add(1)
}

/// Length of a transposed convolution's output, `(i - 1) s - 2p + k` (Dumoulin and Visin 2016, relationship 13); `None`
/// if nothing remains.
pub fn conv_transpose_output(input: usize, kernel: usize, stride: usize, padding: usize) -> Option<usize> {
    if kernel == 0 || stride == 0 {
        return None;
    }
    let spread = input.checked_sub(1)?.checked_mul(stride)?.checked_add(kernel)?;
    spread.checked_sub(padding.checked_mul(2)?).filter(|&length| length > 0)
}

type OutputLength = fn(usize, usize, usize, usize) -> Option<usize>;

/// Shape of what `op` makes of `inputs`, or why it cannot.
pub(super) fn infer(node: &str, op: &Op, inputs: &[ValueShape]) -> Result<ValueShape, GraphError> {
    let check = Check { node };
    match op {
        Op::Conv(convolution) => {
            let [out, taken, ..] = convolution.weight.shape();
            check.convolution(check.one(inputs)?, convolution, taken, out, conv_output)
        }
        Op::ConvTranspose(convolution) => {
            let [taken, out, ..] = convolution.weight.shape();
            check.convolution(check.one(inputs)?, convolution, taken, out, conv_transpose_output)
        }
        Op::BatchNorm(norm) => check.batch_norm(check.one(inputs)?, norm),
        Op::Relu | Op::Sigmoid => check.one(inputs),
        Op::MaxPool(PoolWindow { size, stride, padding }) => {
            let input = check.one(inputs)?;
            check.window(input, input.channels, [*size, *size], |length, kernel| {
                // Every window holds a pixel of the input.
                conv_output(length, kernel, *stride, *padding).filter(|_| padding < size)
            })
        }
        Op::Add => {
            let [first, second] = inputs else {
                return Err(check.input_count("two", inputs.len()));
            };
            check.equal("channels of the second input", first.channels, second.channels)?;
            check.equal_plane(first, second)?;
            Ok(*first)
        }
        Op::Concat => {
            let [first, rest @ ..] = inputs else {
                return Err(check.input_count("one or more", 0));
            };
            let mut channels = first.channels;
            for other in rest {
                check.equal_plane(first, other)?;
                channels += other.channels;
            }
            ValueShape::new(channels, first.height, first.width)
        }
    }
}

/// The checks, with the node's name for their errors.
struct Check<'a> {
    node: &'a str,
}

impl Check<'_> {
    fn input_count(&self, expected: &'static str, actual: usize) -> GraphError {
        GraphError::InputCount { node: self.node.into(), expected, actual }
    }

    fn one(&self, inputs: &[ValueShape]) -> Result<ValueShape, GraphError> {
        match inputs {
            [input] => Ok(*input),
            _ => Err(self.input_count("one", inputs.len())),
        }
    }

    fn equal(&self, what: &'static str, expected: usize, actual: usize) -> Result<(), GraphError> {
        if expected == actual {
            Ok(())
        } else {
            Err(GraphError::Mismatch { node: self.node.into(), what, expected, actual })
        }
    }

    fn equal_plane(&self, first: &ValueShape, other: &ValueShape) -> Result<(), GraphError> {
        self.equal("height of a further input", first.height, other.height)?;
        self.equal("width of a further input", first.width, other.width)
    }

    fn values(
        &self,
        what: &'static str,
        values: &[f32],
        allowed: impl Fn(f32) -> bool,
    ) -> Result<(), GraphError> {
        if values.iter().all(|&value| value.is_finite() && allowed(value)) {
            Ok(())
        } else {
            Err(GraphError::Value { node: self.node.into(), what })
        }
    }

    fn window(
        &self,
        input: ValueShape,
        channels: usize,
        [kernel_height, kernel_width]: [usize; 2],
        length: impl Fn(usize, usize) -> Option<usize>,
    ) -> Result<ValueShape, GraphError> {
        let plane = length(input.height, kernel_height).zip(length(input.width, kernel_width));
        let (height, width) = plane.ok_or_else(|| GraphError::Window {
            node: self.node.into(),
            height: input.height,
            width: input.width,
        })?;
        ValueShape::new(channels, height, width)
    }

    fn convolution(
        &self,
        input: ValueShape,
        convolution: &Convolution,
        taken: usize,
        out: usize,
        length: OutputLength,
    ) -> Result<ValueShape, GraphError> {
        let Convolution { weight, bias, stride, padding } = convolution;
        self.equal("input channels", taken, input.channels)?;
        self.equal("length of the bias", out, bias.len())?;
        self.values("weight", weight.data(), |_| true)?;
        self.values("bias", bias, |_| true)?;
        let [.., kernel_height, kernel_width] = weight.shape();
        self.window(input, out, [kernel_height, kernel_width], |input, kernel| {
            length(input, kernel, *stride, *padding)
        })
    }

    fn batch_norm(&self, input: ValueShape, norm: &BatchNorm) -> Result<ValueShape, GraphError> {
        let BatchNorm { scale, shift, mean, var, eps } = norm;
        for (what, values) in [("scale", scale), ("shift", shift), ("mean", mean), ("var", var)] {
            self.equal("length of a batch-norm parameter", input.channels, values.len())?;
            self.values(what, values, |_| true)?;
        }
        self.values("eps", &[*eps], |_| true)?;
        self.values("var + eps", var, |var| var + eps > 0.0)?;
        Ok(input)
    }
}
