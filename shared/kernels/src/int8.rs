//! Quantized convolutions: quantized values in, sums of 32 bits, quantized values or floats out.
//!
//! A quantized value `q` of 0 to 255 stands for the number `(q - zero_point) * scale` (Jacob et al. 2018, section 2.1). Weights are
//! signed bytes with a scale for each output channel. The arithmetic is that of ONNX's `QLinearConv`, with one
//! rounding that is defined to the bit, so that every CPU makes the same quantized values:
//!
//! ```text
//! sum   = bias + Σ weight * (level - zero_point)          32 bits, exact
//! level = round(f32(sum) * multiplier) + zero_point, saturated to 0..=255    f32, ties to even
//! ```
//!
//! where `multiplier` is the input's scale times the weight's, divided by the output's. Four channels of a pixel lie
//! in a word of 32 bits (a C4 block, as in MNN), so that a vector holds as many pixels as one of `f32`, and an int8 dot product adds four
//! channels to the sum of each. The padding around the pixels is the zero point.

mod kernel;
mod pack_c4;
mod pooling;

use std::fmt;

use crate::convolution::ConvKind;
use crate::layout::Layout;
use crate::simd::Isa;
use crate::threads::{DisjointWrites, Threads};

use self::kernel::Int8Job;

pub use self::pack_c4::{QuantizeInput, pack_c4, unpack_c4};
pub use self::pooling::QuantizedMaxPool;

/// Channels of a word.
pub(crate) const CHANNEL_BLOCK: usize = 4;
/// Output channels of a tile.
const TILE: usize = 8;
/// What sums and rescaled sums stay below, so that no conversion overflows.
const MOST: f64 = (1 << 30) as f64;

/// Where the quantized values of an image lie: as [`Layout::padded`] of C4 blocks. Bytes of channels that a
/// image does not have hold any quantized value.
pub const fn c4_layout(channels: usize, height: usize, width: usize) -> Layout {
    Layout::padded(channels.div_ceil(CHANNEL_BLOCK), height, width)
}

/// How quantized values stand for numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantParams {
    /// Between neighbouring quantized values, positive.
    pub scale: f32,
    /// The zero point.
    pub zero_point: u8,
}

/// How numbers become quantized values: `round(number * inverse) + zero_point`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantizer {
    /// One over the scale, positive.
    pub inverse: f32,
    /// The zero point.
    pub zero_point: u8,
}

/// What becomes of the quantized values that a convolution makes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Epilogue {
    /// They are the output.
    Requantize,
    /// Those of a skip are added, number by number, and the sum is rounded to quantized values of its own:
    /// `round((f32(level - zero) * scale + f32(other - skip.zero_point) * skip.scale) * inverse) + sum.zero_point`.
    AddRequantize {
        /// The skip's.
        skip: QuantParams,
        /// The output's.
        sum: Quantizer,
    },
    /// The numbers that they stand for, row-major.
    Dequantize,
}

/// A convolution's size and settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantizedConvSpec {
    /// The pixels read.
    pub kind: ConvKind,
    /// Channels, height and width read.
    pub input: [usize; 3],
    /// The input's quantized values.
    pub read: QuantParams,
    /// Output channels.
    pub channels: usize,
    /// The quantized values made, before what [`Epilogue`] says.
    pub made: QuantParams,
    /// What becomes of them.
    pub epilogue: Epilogue,
}

impl QuantizedConvSpec {
    /// Where the input lies.
    pub const fn input_layout(&self) -> Layout {
        let [channels, height, width] = self.input;
        c4_layout(channels, height, width)
    }

    /// Where the output lies.
    pub const fn output_layout(&self) -> Layout {
        let [_, height, width] = self.input;
        let scale = self.kind.scale();
        match self.epilogue {
            Epilogue::Requantize | Epilogue::AddRequantize { .. } => {
                c4_layout(self.channels, height * scale, width * scale)
            }
            Epilogue::Dequantize => Layout::plain(self.channels, height * scale, width * scale),
        }
    }
}

/// A convolution's numbers.
#[derive(Debug, Clone, Copy)]
pub struct QuantizedWeights<'a> {
    /// `[output channels, input channels, side, side]`; greater than -128.
    pub values_oihw: &'a [i8],
    /// One per output channel, positive.
    pub scales: &'a [f32],
    /// One per output channel, in units of the input's scale times the weight's.
    pub bias: &'a [i32],
}

impl QuantizedWeights<'_> {
    /// Whether a convolution of these numbers fits the arithmetic: no sum, rescaled sum or product of weights can
    /// overflow, whatever the input.
    pub fn fit(&self, spec: &QuantizedConvSpec) -> bool {
        let per_output = self.values_oihw.len() / spec.channels.max(1);
        let factors = match spec.epilogue {
            Epilogue::AddRequantize { skip, sum } => {
                [spec.made.scale, skip.scale].map(|scale| scale * sum.inverse)
            }
            Epilogue::Requantize | Epilogue::Dequantize => [1.0; 2],
        };
        let rows = self.values_oihw.chunks(per_output.max(1)).zip(self.scales).zip(self.bias);
        factors.iter().all(|&factor| factor > 0.0 && f64::from(factor) * 512.0 < MOST)
            && self.values_oihw.iter().all(|&weight| weight > i8::MIN)
            && rows.into_iter().all(|((weights, &scale), &bias)| {
                let magnitude: f64 = weights.iter().map(|&weight| f64::from(weight).abs() * 512.0).sum();
                let most = magnitude + f64::from(bias).abs();
                let multiplier = f64::from(multiplier(spec, scale));
                multiplier > 0.0 && most < MOST && most * multiplier < MOST
            })
    }
}

/// From a sum to a quantized value.
fn multiplier(spec: &QuantizedConvSpec, weight_scale: f32) -> f32 {
    spec.read.scale * weight_scale / spec.made.scale
}

/// A quantized convolution, its weights packed for one instruction set.
#[derive(Clone, PartialEq)]
pub struct QuantizedConv {
    spec: QuantizedConvSpec,
    isa: Isa,
    /// From the word of a pixel's first channels to each word that is read for it, in bytes.
    taps: Vec<isize>,
    /// `[part of a tile, tap, channel of the part, word]`; the taps two by two, an odd one last.
    weights: Vec<u32>,
    /// `[tile, channel of the tile]`, the input's zero counted in.
    bias: Vec<i32>,
    /// As `bias`; zero for channels that there are not.
    multipliers: Vec<f32>,
}

impl QuantizedConv {
    /// Packs weights.
    ///
    /// # Panics
    /// When lengths do not fit, the numbers do not ([`QuantizedWeights::fit`]), or this CPU lacks the instruction set.
    pub fn new(spec: QuantizedConvSpec, weights: &QuantizedWeights<'_>, isa: Isa) -> Self {
        let QuantizedConvSpec { kind, input: [channels, ..], .. } = spec;
        let side = kind.side();
        assert!(isa.is_available(), "this CPU has no {isa}");
        assert_eq!(weights.values_oihw.len(), spec.channels * channels * side * side);
        assert_eq!((weights.scales.len(), weights.bias.len()), (spec.channels, spec.channels));
        assert!(weights.fit(&spec), "a sum could overflow");
        let format = isa.int8();
        let reads = Reads::of(&spec);
        let weight = |o: usize, i: usize, (y, x): (usize, usize)| {
            let exists = o < spec.channels && i < channels;
            if exists { weights.values_oihw[((o * channels + i) * side + y) * side + x] } else { 0 }
        };
        let outputs = outputs(&spec);
        let mut packed = Vec::new();
        for part in outputs.chunks(format.tile) {
            for read in &reads.0 {
                for output in part {
                    let place = output.place.unwrap_or(read.place);
                    let four = core::array::from_fn(|at| {
                        weight(output.channel, CHANNEL_BLOCK * read.group + at, place)
                    });
                    packed.extend(&(format.words)(four)[..format.word_count]);
                }
            }
        }
        // What is stored for a quantized value is as much less than what is summed.
        let stored = if format.sign == 0 { 0 } else { 128 };
        let shift = stored - i64::from(spec.read.zero_point);
        let mut bias = Vec::new();
        let mut multipliers = Vec::new();
        for output in &outputs {
            let exists = output.channel < spec.channels;
            let sum: i64 = reads
                .0
                .iter()
                .flat_map(|read| (0..CHANNEL_BLOCK).map(move |at| (read, at)))
                .map(|(read, at)| {
                    let place = output.place.unwrap_or(read.place);
                    i64::from(weight(output.channel, CHANNEL_BLOCK * read.group + at, place))
                })
                .sum();
            let of_channel = if exists { i64::from(weights.bias[output.channel]) } else { 0 };
            // `fit` bounds it.
            bias.push((of_channel + shift * sum) as i32);
            multipliers.push(if exists { multiplier(&spec, weights.scales[output.channel]) } else { 0.0 });
        }
        let taps = reads.0.iter().map(|read| read.offset * size_of::<u32>().cast_signed()).collect();
        Self { spec, isa, taps, weights: packed, bias, multipliers }
    }

    /// Size and settings.
    pub const fn spec(&self) -> &QuantizedConvSpec {
        &self.spec
    }

    /// Multiply-accumulates of a run.
    pub const fn macs(&self) -> usize {
        let QuantizedConvSpec { kind, input: [channels, height, width], .. } = self.spec;
        channels * height * width * self.spec.channels * kind.side() * kind.side()
    }

    /// What a word of zeros is in the input.
    pub fn padding(&self) -> u32 {
        self.isa.int8().stored(self.spec.read.zero_point)
    }

    /// Reads `input` and writes the quantized values of `output`; `skip` lies as the output does.
    ///
    /// # Panics
    /// When a slice is not as long as its layout says, there is a skip without a sum or the other way round, or the
    /// output is one of floats.
    pub fn run(&self, input: &[u32], skip: Option<&[u32]>, output: &mut [u32], threads: &Threads) {
        assert!(self.spec.epilogue != Epilogue::Dequantize, "levels are asked for");
        self.run_any(input, skip, output.len(), output.as_mut_ptr(), threads);
    }

    /// As [`QuantizedConv::run`], for an output of floats.
    ///
    /// # Panics
    /// When a slice is not as long as its layout says, or the output is one of quantized values.
    pub fn run_to_floats(&self, input: &[u32], output: &mut [f32], threads: &Threads) {
        assert!(self.spec.epilogue == Epilogue::Dequantize, "floats are asked for");
        self.run_any(input, None, output.len(), output.as_mut_ptr().cast(), threads);
    }

    fn run_any(
        &self,
        input: &[u32],
        skip: Option<&[u32]>,
        length: usize,
        output: *mut u32,
        threads: &Threads,
    ) {
        let (from, to) = (self.spec.input_layout(), self.spec.output_layout());
        assert_eq!((input.len(), length), (from.len(), to.len()));
        assert!(skip.is_none_or(|skip| skip.len() == to.len()));
        assert_eq!(skip.is_some(), matches!(self.spec.epilogue, Epilogue::AddRequantize { .. }));
        let tiles = self.bias.len() / TILE;
        // Where weights outweigh pixels, a thread keeps its weights and walks over all pixels.
        let by_tile = self.weights.len() > input.len();
        let rows = if by_tile { from.height() } else { self.rows_at_once() };
        let blocks = if by_tile { tiles } else { from.height().div_ceil(rows) };
        let to = DisjointWrites::new(output);
        threads.each(blocks, |block| {
            let (tiles, first) = if by_tile { (block..block + 1, 0) } else { (0..tiles, block * rows) };
            let rows = first..(first + rows).min(from.height());
            let job = Int8Job { convolution: self, input, skip, output: to.pointer(), tiles, rows };
            // SAFETY: `new` made sure that this CPU has the set. Lengths were compared with the layouts that the
            // kernel's indices come from. Blocks are apart in tiles, which write words (and for `Doubling` rows) of
            // their own, or in rows, so no two write the same value; nobody else has the output.
            unsafe { self.isa.run_int8(job) }
        });
    }

    /// Rows whose vectors fill the registers without a rest.
    fn rows_at_once(&self) -> usize {
        let format = self.isa.int8();
        let vectors = self.spec.input[2].div_ceil(format.lanes);
        if vectors.is_multiple_of(format.pixels) { 1 } else { format.pixels }
    }
}

impl fmt::Debug for QuantizedConv {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("QuantizedConv").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// A word that a convolution reads for a pixel.
struct Read {
    /// Its channels.
    group: usize,
    /// Row and column of the window.
    place: (usize, usize),
    /// From the word of the pixel's first channels.
    offset: isize,
}

/// All of them, in the order of memory.
struct Reads(Vec<Read>);

impl Reads {
    fn of(spec: &QuantizedConvSpec) -> Self {
        let layout = spec.input_layout();
        // A doubling reads the pixel itself, and the output says which place of the window that is.
        let side = if spec.kind == ConvKind::Conv3x3 { 3 } else { 1 };
        let reach = side / 2;
        let offset = |group: usize, y: usize, x: usize| {
            let to = layout.index(group, y, x).cast_signed();
            to - layout.index(0, reach, reach).cast_signed()
        };
        let places = (0..side).flat_map(|y| {
            (0..layout.channels()).flat_map(move |group| (0..side).map(move |x| (group, (y, x))))
        });
        let read = |(group, place): (usize, (usize, usize))| Read {
            group,
            place,
            offset: offset(group, place.0, place.1),
        };
        Self(places.map(read).collect())
    }
}

/// A sum that a tile keeps.
struct TileSum {
    channel: usize,
    /// Where in the window its weights are, if not where the pixel is read.
    place: Option<(usize, usize)>,
}

/// The sums of all tiles, in their order: eight channels each, or for [`ConvKind::ConvTranspose2x2`] four channels of a row of
/// the output, first those of the left column, then those of the right one.
fn outputs(spec: &QuantizedConvSpec) -> Vec<TileSum> {
    let tiles = |size: usize| spec.channels.div_ceil(size);
    match spec.kind {
        ConvKind::Conv1x1 | ConvKind::Conv3x3 => {
            (0..tiles(TILE) * TILE).map(|channel| TileSum { channel, place: None }).collect()
        }
        ConvKind::ConvTranspose2x2 => {
            let columns = |y: usize, first: usize| {
                [0, 1].into_iter().flat_map(move |x| {
                    (first..first + CHANNEL_BLOCK)
                        .map(move |channel| TileSum { channel, place: Some((y, x)) })
                })
            };
            let firsts = (0..tiles(CHANNEL_BLOCK)).map(|tile| CHANNEL_BLOCK * tile);
            [0, 1].into_iter().flat_map(|y| firsts.clone().flat_map(move |first| columns(y, first))).collect()
        }
    }
}

#[cfg(test)]
mod tests;
