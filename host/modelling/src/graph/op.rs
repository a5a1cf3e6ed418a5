//! The operations and their parameters.

use super::GraphError;

/// A four-axis tensor of weights, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor4 {
    shape: [usize; 4],
    data: Vec<f32>,
}

impl Tensor4 {
    /// A tensor of `shape` over `data`.
    ///
    /// # Errors
    /// If an axis is empty or `data` does not fill the shape exactly.
    pub fn new(shape: [usize; 4], data: Vec<f32>) -> Result<Self, GraphError> {
        let len = shape.iter().try_fold(1_usize, |product, &axis| product.checked_mul(axis));
        if data.is_empty() || len != Some(data.len()) {
            return Err(GraphError::TensorLength { shape, len: data.len() });
        }
        Ok(Self { shape, data })
    }

    /// The four axes.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The values, last axis fastest.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Applies `map(index along axis, number)` to every number.
    pub(super) fn map_along(&mut self, axis: usize, mut map: impl FnMut(usize, f32) -> f32) {
        let inner: usize = self.shape[axis + 1..].iter().product();
        let axis = self.shape[axis];
        for (block, numbers) in self.data.chunks_exact_mut(inner).enumerate() {
            for number in numbers {
                *number = map(block % axis, *number);
            }
        }
    }
}

/// The parameters of a convolution, plain or transposed, with equal stride and zero
/// padding on both axes and both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Convolution {
    /// `[out, in, kh, kw]` for [`Op::Conv`], `[in, out, kh, kw]` for [`Op::ConvTranspose`].
    pub weight: Tensor4,
    /// One per output channel.
    pub bias: Vec<f32>,
    /// Stride, at least 1.
    pub stride: usize,
    /// Pixels of zeros around the input (plain) or cut from the output (transposed).
    pub padding: usize,
}

/// Batch normalization at inference: `(x - mean) / sqrt(var + eps) * scale + shift`,
/// a channel (Ioffe and Szegedy 2015).
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// Gamma, one per channel.
    pub scale: Vec<f32>,
    /// Beta, one per channel.
    pub shift: Vec<f32>,
    /// Running mean, one per channel.
    pub mean: Vec<f32>,
    /// Running variance, one per channel.
    pub var: Vec<f32>,
    /// Added to the variance.
    pub eps: f32,
}

impl BatchNorm {
    /// The same map as `factor * x + offset`, for one channel.
    pub(super) fn affine(&self, channel: usize) -> (f64, f64) {
        let deviation = (f64::from(self.var[channel]) + f64::from(self.eps)).sqrt();
        let factor = f64::from(self.scale[channel]) / deviation;
        let offset = f64::from(self.shift[channel]) - f64::from(self.mean[channel]) * factor;
        (factor, offset)
    }
}

/// The square windows of a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolWindow {
    /// Side of the window, at least 1.
    pub size: usize,
    /// Stride, at least 1.
    pub stride: usize,
    /// Pixels around the input that are in windows and never the greatest, less than `size`.
    pub padding: usize,
}

impl PoolWindow {
    /// Windows of `size` by `size` that do not overlap.
    pub const fn apart(size: usize) -> Self {
        Self { size, stride: size, padding: 0 }
    }
}

/// What a node does.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Cross-correlation, as every framework's convolution.
    Conv(Convolution),
    /// The transpose (gradient) of [`Op::Conv`], without output padding.
    ConvTranspose(Convolution),
    /// Batch normalization.
    BatchNorm(BatchNorm),
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Maximum over windows.
    MaxPool(PoolWindow),
    /// Sum of two values of one shape.
    Add,
    /// Values of one height and width, stacked along the channels in order.
    Concat,
}

impl Op {
    /// The convolution's parameters and the axis of its output channels in the weight.
    pub fn convolution(&self) -> Option<(&Convolution, usize)> {
        match self {
            Self::Conv(convolution) => Some((convolution, 0)),
            Self::ConvTranspose(convolution) => Some((convolution, 1)),
            _ => None,
        }
    }

    /// Whether this is a convolution that integers can compute: a transposed one must have windows that do not
    /// overlap, which make it a 1x1 convolution and a shuffle.
    pub(super) fn has_integer_form(&self) -> bool {
        match self {
            Self::Conv(_) => true,
            Self::ConvTranspose(Convolution { weight, stride, padding, .. }) => {
                let [.., height, width] = weight.shape();
                [height, width] == [*stride; 2] && *padding == 0
            }
            _ => false,
        }
    }

    pub(super) fn convolution_mut(&mut self) -> Option<(&mut Convolution, usize)> {
        match self {
            Self::Conv(convolution) => Some((convolution, 0)),
            Self::ConvTranspose(convolution) => Some((convolution, 1)),
            _ => None,
        }
    }
}
