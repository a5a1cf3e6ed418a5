//! Convolutions, direct, with bias, rectifier and an added skip in one pass.
//!
//! A kernel keeps the sums of a tile of output channels for a few vectors of neighboring pixels in registers,
//! while it walks over rows, channels and columns of the input. Padding is read from the zeros around the pixels,
//! so that there is no case for the border.

mod kernel;
mod pixel_tiles;

use crate::layout::Layout;
use crate::simd::{Isa, PIXELS};
use crate::threads::{DisjointWrites, Threads};

use self::kernel::Job;
pub(crate) use self::pixel_tiles::{PixelPosition, PixelTiles};

/// Which pixels a convolution reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConvKind {
    /// 1x1, stride 1.
    Conv1x1,
    /// 3x3, stride 1, padded by 1.
    Conv3x3,
    /// Transposed 2x2, stride 2: each pixel becomes four.
    ConvTranspose2x2,
}

impl ConvKind {
    /// Side of the kernel as stored.
    pub const fn side(self) -> usize {
        match self {
            Self::Conv1x1 => 1,
            Self::Conv3x3 => 3,
            Self::ConvTranspose2x2 => 2,
        }
    }

    /// Pixels of the output for one of the input, along each side.
    pub const fn scale(self) -> usize {
        match self {
            Self::Conv1x1 | Self::Conv3x3 => 1,
            Self::ConvTranspose2x2 => 2,
        }
    }
}

/// What follows the sum of products and bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
}

/// A convolution's size and settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvSpec {
    /// The pixels read.
    pub kind: ConvKind,
    /// What follows the sum, before a skip is added.
    pub activation: Activation,
    /// The input, padded.
    pub input: Layout,
    /// The output.
    pub output: Layout,
}

/// A convolution, its weights packed for one instruction set.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectConv {
    spec: ConvSpec,
    isa: Isa,
    /// `[tile, kernel row, input channel, kernel column, channel of the tile]`; for [`ConvKind::ConvTranspose2x2`]
    /// `[output row, tile, input channel, channel of the tile, output column]`.
    weights: Vec<f32>,
    /// `[tile, channel of the tile]`, or with an output column, too.
    bias: Vec<f32>,
}

impl DirectConv {
    /// Packs `weights`, `[output channels, input channels, side, side]`, and `bias`, one per output channel.
    ///
    /// # Panics
    /// When the lengths do not fit the layouts, the input is not padded, or this CPU lacks the instruction set.
    pub fn new(spec: ConvSpec, weights_oihw: &[f32], bias: &[f32], isa: Isa) -> Self {
        let ConvSpec { kind, input, output, .. } = spec;
        let (side, scale) = (kind.side(), kind.scale());
        assert!(isa.is_available(), "this CPU has no {isa}");
        assert!(input.is_padded(), "the input of a convolution is padded");
        assert_eq!((output.height(), output.width()), (input.height() * scale, input.width() * scale));
        assert_eq!(weights_oihw.len(), output.channels() * input.channels() * side * side);
        assert_eq!(bias.len(), output.channels());
        let weight = |o: usize, i: usize, y: usize, x: usize| {
            if o < output.channels() {
                weights_oihw[((o * input.channels() + i) * side + y) * side + x]
            } else {
                0.0
            }
        };
        let bias_of = |o: usize| bias.get(o).copied().unwrap_or(0.0);
        let tile = isa.tile();
        let (mut packed, mut packed_bias) = (Vec::new(), Vec::new());
        match kind {
            ConvKind::Conv1x1 | ConvKind::Conv3x3 => {
                for first in (0..output.channels()).step_by(tile) {
                    for y in 0..side {
                        for i in 0..input.channels() {
                            for x in 0..side {
                                packed.extend((first..first + tile).map(|o| weight(o, i, y, x)));
                            }
                        }
                    }
                    packed_bias.extend((first..first + tile).map(bias_of));
                }
            }
            ConvKind::ConvTranspose2x2 => {
                for y in 0..2 {
                    for first in (0..output.channels()).step_by(tile / 2) {
                        for i in 0..input.channels() {
                            packed.extend((0..tile).map(|at| weight(first + at / 2, i, y, at % 2)));
                        }
                        packed_bias.extend((0..tile).map(|at| bias_of(first + at / 2)));
                    }
                }
            }
        }
        Self { spec, isa, weights: packed, bias: packed_bias }
    }

    /// Size and settings.
    pub const fn spec(&self) -> &ConvSpec {
        &self.spec
    }

    /// The instruction set that it runs on.
    pub const fn isa(&self) -> Isa {
        self.isa
    }

    /// Multiply-accumulates of a run.
    pub const fn macs(&self) -> usize {
        let ConvSpec { kind, input, output, .. } = self.spec;
        let taps = kind.side() * kind.side();
        input.height() * input.width() * input.channels() * output.channels() * taps
    }

    /// Reads `input` and writes the pixels of `output`; `skip`, which lies as the output does, is added last.
    ///
    /// # Panics
    /// When a slice is not as long as its layout says, or a skip comes with a plain output.
    pub fn run(&self, input: &[f32], skip: Option<&[f32]>, output: &mut [f32], threads: &Threads) {
        let ConvSpec { input: from, output: to, .. } = self.spec;
        assert_eq!((input.len(), output.len()), (from.len(), to.len()));
        // Beyond a row's end a skip is read: there are zeros in the padded form only.
        assert!(skip.is_none_or(|skip| to.is_padded() && skip.len() == to.len()));
        let tiles = self.bias.len() / self.isa.tile();
        // Where weights outweigh pixels, a thread keeps its weights and walks over all pixels.
        let by_tile = self.weights.len() > input.len();
        let rows = if by_tile { from.height() } else { self.rows_at_once() };
        let blocks = if by_tile { tiles } else { from.height().div_ceil(rows) };
        let to = DisjointWrites::new(output.as_mut_ptr());
        threads.each(blocks, |block| {
            let (tiles, first) = if by_tile { (block..block + 1, 0) } else { (0..tiles, block * rows) };
            let rows = first..(first + rows).min(from.height());
            let job = Job { convolution: self, input, skip, output: to.pointer(), tiles, rows };
            // SAFETY: `new` made sure that this CPU has the set. Lengths were compared with the layouts that
            // the kernel's indices come from. Blocks are apart in tiles, which write channels (and for `ConvTranspose2x2`
            // rows) of their own, or in rows, so no two write the same value; nobody else has `output`.
            unsafe { self.isa.run(job) }
        });
    }

    /// Rows whose vectors fill the registers without a rest.
    fn rows_at_once(&self) -> usize {
        let vectors = self.spec.input.width().div_ceil(self.isa.lanes());
        if vectors.is_multiple_of(PIXELS) { 1 } else { PIXELS }
    }
}

#[cfg(test)]
mod tests;
