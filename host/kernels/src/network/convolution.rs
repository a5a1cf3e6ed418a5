//! The network's three convolutions on maps of sixteen pictures a line: forward, and both gradients.

use rayon::prelude::*;

use super::lines::{Floats, Map, Precision, Raw, Size};
use super::machine::{Engine, GradientJob, OUTPUTS, RowJob};

/// What a convolution does to sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvolutionKind {
    /// 3x3, padded: keeps them. Weight `[out, in, 3, 3]`.
    Same,
    /// 1x1: keeps them. Weight `[out, in]`.
    Point,
    /// 2x2 transposed, stride 2: doubles them. Weight `[in, out, 2, 2]`.
    Up,
}

/// A convolution of a network.
#[derive(Debug, Clone, Copy)]
pub struct NetworkConvolution {
    pub kind: ConvolutionKind,
    pub input: usize,
    pub output: usize,
}

/// Pixels of a row, or of several short ones, that a weight's gradient is summed over in registers.
const GRADIENT_PIXELS: usize = 64;
/// Channels of the result's gradient of one task.
const GRADIENT_CHANNELS: usize = 4;

impl NetworkConvolution {
    const fn taps(self) -> usize {
        match self.kind {
            ConvolutionKind::Same => 9,
            ConvolutionKind::Point => 1,
            ConvolutionKind::Up => 4,
        }
    }

    /// Numbers of the weight.
    pub const fn weights(self) -> usize {
        self.taps() * self.input * self.output
    }

    /// Pixels of the result for each of the input, along a side.
    const fn scale(self) -> usize {
        match self.kind {
            ConvolutionKind::Same | ConvolutionKind::Point => 1,
            ConvolutionKind::Up => 2,
        }
    }

    /// The size of the result.
    pub const fn result(self, input: Size) -> Size {
        let scale = self.scale();
        Size { height: input.height * scale, width: input.width * scale, channels: self.output }
    }

    /// Where a number of the weight lies.
    const fn place(self, output: usize, input: usize, tap: usize) -> usize {
        match self.kind {
            ConvolutionKind::Same | ConvolutionKind::Point => {
                (output * self.input + input) * self.taps() + tap
            }
            ConvolutionKind::Up => (input * self.output + output) * 4 + tap,
        }
    }

    /// Computes the result's sums, and what `each_run` makes of every row, or pair of rows, while it is in the cache.
    pub fn forward<R: Send>(
        self,
        engine: Engine,
        x: &Map,
        weight: &[f32],
        y: &mut Raw,
        each_run: impl Fn(&[Floats]) -> R + Sync,
    ) -> Vec<R> {
        let precision = x.precision;
        let (units, row, scale) = (x.units(), x.row(), self.scale());
        let (taps, first): (Vec<usize>, usize) = match self.kind {
            ConvolutionKind::Same => ((0..9).map(|tap| tap / 3 * row + tap % 3 * units).collect(), 0),
            ConvolutionKind::Point | ConvolutionKind::Up => (vec![0], row + units),
        };
        let passes: Vec<Vec<u32>> = (0..scale * scale)
            .map(|pass| {
                pack(precision, [self.output, self.input, taps.len()], |o, i, tap| {
                    weight[self.place(o, i, tap + pass)]
                })
            })
            .collect();
        let Size { height, width, channels } = x.size;
        debug_assert_eq!(channels, self.input, "a map of the convolution's input");
        let y_row = y.size.row();
        let runs = y.lines.par_chunks_exact_mut(scale * y_row).enumerate().map(|(at, y)| {
            let from = (at / height * (height + 2) + at % height) * row + first;
            for (pass, weight) in passes.iter().enumerate() {
                let job = RowJob {
                    x: &x.by_channel[from..],
                    x_step: units,
                    taps: &taps,
                    units,
                    weight,
                    channels: self.output,
                    width,
                    y: &mut y[pass / 2 * y_row + pass % 2 * self.output..],
                    y_step: scale * self.output,
                };
                job.run(engine, precision);
            }
            each_run(y)
        });
        runs.collect()
    }

    /// Computes the gradient of the input from that of the result.
    pub fn input_gradient(self, engine: Engine, grad: &Map, weight: &[f32], dx: &mut Raw) {
        let precision = grad.precision;
        let (units, row, scale) = (grad.units(), grad.row(), self.scale());
        let (taps, first): (Vec<usize>, usize) = match self.kind {
            ConvolutionKind::Same => ((0..9).map(|tap| tap / 3 * row + tap % 3 * units).collect(), 0),
            ConvolutionKind::Point => (vec![0], row + units),
            ConvolutionKind::Up => ((0..4).map(|tap| tap / 2 * row + tap % 2 * units).collect(), row + units),
        };
        let turned = |tap: usize| if self.kind == ConvolutionKind::Same { 8 - tap } else { tap };
        let weight = pack(precision, [self.input, self.output, taps.len()], |i, o, tap| {
            weight[self.place(o, i, turned(tap))]
        });
        let Size { height, width, .. } = dx.size;
        let dx_row = dx.size.row();
        dx.lines.par_chunks_exact_mut(dx_row).enumerate().for_each(|(at, dx)| {
            let from = at / height * (grad.size.height + 2) + at % height * scale;
            let job = RowJob {
                x: &grad.by_channel[from * row + first..],
                x_step: scale * units,
                taps: &taps,
                units,
                weight: &weight,
                channels: self.input,
                width,
                y: dx,
                y_step: self.input,
            };
            job.run(engine, precision);
        });
    }

    /// Computes the gradient of the weight.
    pub fn weight_gradient(self, engine: Engine, x: &Map, grad: &Map, gradient: &mut [f32]) {
        match self.kind {
            ConvolutionKind::Same | ConvolutionKind::Point => {
                self.gradient_by_output(engine, x, grad, gradient)
            }
            ConvolutionKind::Up => {
                let mut by_output = vec![0.0; gradient.len()];
                self.gradient_by_output(engine, x, grad, &mut by_output);
                for (at, &value) in by_output.iter().enumerate() {
                    let (output, input, tap) = (at / (4 * self.input), at / 4 % self.input, at % 4);
                    gradient[self.place(output, input, tap)] = value;
                }
            }
        }
    }

    /// The gradient of the weight, `[out, in, tap]`.
    fn gradient_by_output(self, engine: Engine, x: &Map, grad: &Map, gradient: &mut [f32]) {
        let precision = x.precision;
        let (units, scale) = (x.units(), self.scale());
        // Passes of taps side by side; the last tap of a pass is its own index above the first.
        let (passes, taps) = match self.kind {
            ConvolutionKind::Same => (3, 3),
            ConvolutionKind::Point => (1, 1),
            ConvolutionKind::Up => (4, 1),
        };
        let Size { height, width, .. } = x.size;
        let groups = x.by_channel.len() / ((height + 2) * x.row());
        let chunk = (GRADIENT_PIXELS / width).clamp(1, height);
        let channel_weights = self.input * self.taps();
        let blocks = gradient.par_chunks_mut(GRADIENT_CHANNELS * channel_weights).enumerate();
        blocks.for_each_init(Vec::new, |scratch: &mut Vec<Floats>, (block, gradient)| {
            let (first, count) = (block * GRADIENT_CHANNELS, gradient.len() / channel_weights);
            let pass_sums = units * count * taps;
            scratch.clear();
            scratch.resize(passes * pass_sums, Floats::ZERO);
            for (group, row) in
                (0..groups).flat_map(|group| (0..height).step_by(chunk).map(move |row| (group, row)))
            {
                for (pass, sums) in scratch.chunks_exact_mut(pass_sums).enumerate() {
                    let (x_first, grad_first) = match self.kind {
                        ConvolutionKind::Same => (pass * x.row(), grad.row() + grad.units()),
                        ConvolutionKind::Point => (x.row() + units, grad.row() + grad.units()),
                        ConvolutionKind::Up => {
                            (x.row() + units, (1 + pass / 2) * grad.row() + (1 + pass % 2) * grad.units())
                        }
                    };
                    let x_row = group * (height + 2) + row;
                    let grad_row = group * (grad.size.height + 2) + scale * row;
                    let job = GradientJob {
                        x: &x.for_pictures()[x_row * x.row() + x_first..],
                        x_steps: [units, x.row()],
                        units,
                        taps,
                        grad: &grad.for_pictures()[grad_row * grad.row() + grad_first..],
                        grad_steps: [scale * grad.units(), scale * grad.row()],
                        channels: [first, count],
                        area: [chunk.min(height - row), width],
                        sums,
                    };
                    job.run(engine, precision);
                }
            }
            for (pass, sums) in scratch.chunks_exact(pass_sums).enumerate() {
                for (at, sums) in sums.iter().enumerate() {
                    let (tap, channel, unit) = (at % taps, at / taps % count, at / (taps * count));
                    let mut put = |input: usize, sum: f32| {
                        if input < self.input {
                            gradient[(channel * self.input + input) * passes * taps + pass * taps + tap] =
                                sum;
                        }
                    };
                    let [low, high] = sums.halves();
                    match precision {
                        Precision::F32 => put(unit, low + high),
                        Precision::Bf16 => {
                            put(2 * unit, low);
                            put(2 * unit + 1, high);
                        }
                    }
                }
            }
        });
    }
}

/// A weight as [`RowJob`] takes it, of `[rows, columns, taps]`, where a result's channel is a row.
fn pack(
    precision: Precision,
    [rows, columns, taps]: [usize; 3],
    weight: impl Fn(usize, usize, usize) -> f32 + Sync,
) -> Vec<u32> {
    let units = precision.units(columns);
    let mut words = vec![0; rows * taps * units];
    words.par_chunks_mut(OUTPUTS * taps * units).enumerate().for_each(|(block, words)| {
        let outputs = words.len() / (taps * units);
        for (at, words) in words.chunks_exact_mut(outputs).enumerate() {
            let (tap, unit) = (at / units, at % units);
            for (o, word) in words.iter_mut().enumerate() {
                let of = |column: usize| {
                    if column < columns { weight(block * OUTPUTS + o, column, tap) } else { 0.0 }
                };
                *word = match precision {
                    Precision::F32 => of(unit).to_bits(),
                    Precision::Bf16 => rounded(of(2 * unit)) >> 16 | rounded(of(2 * unit + 1)) & 0xffff_0000,
                };
            }
        }
    });
    words
}

/// The bits of a number rounded to `bf16`, in the upper half, to even; the lower half is rest.
#[inline(always)]
pub fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1))
}
