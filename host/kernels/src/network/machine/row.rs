//! A row of a convolution's result: the loop of the forward pass and of the input's gradient.

use super::super::lines::{Floats, Precision, Words};
#[cfg(target_arch = "x86_64")]
use super::registers::{Avx2, Avx512Bf16, Avx512F32};
use super::registers::{PortableBf16, PortableF32};
use super::{Engine, Machine};

/// Channels of a tile forward; weights lie in blocks of so many.
pub const OUTPUTS: usize = 6;
/// Pixels that share a block's weights while their factors are in the first cache.
const STRIP: usize = 8;

/// A row of a convolution's result.
#[derive(Debug)]
pub struct RowJob<'a> {
    /// The input's factors, by channel, from the row's first pixel and first tap on.
    pub x: &'a [Words],
    /// Lines from a pixel's first tap to the next pixel's.
    pub x_step: usize,
    /// Where each tap's lines lie from the first.
    pub taps: &'a [usize],
    /// Lines of a tap.
    pub units: usize,
    /// Blocks of [`OUTPUTS`] channels, the last of the rest, each `[tap, unit, channel]`.
    pub weight: &'a [u32],
    /// The result's channels.
    pub channels: usize,
    /// Pixels.
    pub width: usize,
    /// The result, from the row's first pixel on.
    pub y: &'a mut [Floats],
    /// Lines from a pixel to the next.
    pub y_step: usize,
}

impl RowJob<'_> {
    /// Computes the row.
    ///
    /// # Panics
    /// When a slice is too short.
    pub fn run(self, engine: Engine, precision: Precision) {
        let Self { x, x_step, taps, units, weight, channels, width, ref y, y_step } = self;
        let last = taps.iter().max().map_or(0, |tap| tap + units) + x_step * (width - 1);
        assert!(x.len() >= last, "a line for every tap");
        assert!(weight.len() >= taps.len() * units * channels, "a weight for every tap");
        assert!(y.len() >= y_step * (width - 1) + channels, "a place for every sum");
        // Safety: the lengths are checked, and an engine is the machine's own by `Engine::detect`.
        unsafe {
            match (engine, precision) {
                (Engine::Portable, Precision::F32) => row::<PortableF32>(self),
                (Engine::Portable, Precision::Bf16) => row::<PortableBf16>(self),
                #[cfg(target_arch = "x86_64")]
                (Engine::Avx2, _) => row_avx2(self),
                #[cfg(target_arch = "x86_64")]
                (Engine::Avx512, _) => row_avx512(self),
                #[cfg(target_arch = "x86_64")]
                (Engine::Avx512Bf16, _) => row_avx512_bf16(self),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn row_avx2(job: RowJob<'_>) {
    unsafe { row::<Avx2>(job) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn row_avx512(job: RowJob<'_>) {
    unsafe { row::<Avx512F32>(job) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn row_avx512_bf16(job: RowJob<'_>) {
    unsafe { row::<Avx512Bf16>(job) }
}

#[inline(always)]
unsafe fn row<M: Machine>(job: RowJob<'_>) {
    let (x, weight, y) = (job.x.as_ptr(), job.weight.as_ptr(), job.y.as_mut_ptr());
    for strip in (0..job.width).step_by(STRIP) {
        let end = job.width.min(strip + STRIP);
        for first in (0..job.channels).step_by(OUTPUTS) {
            let mut pixel = strip;
            unsafe {
                let weight = weight.add(first * job.taps.len() * job.units);
                while pixel < end {
                    let tile = Tile {
                        x: x.add(pixel * job.x_step),
                        x_step: job.x_step,
                        taps: job.taps,
                        units: job.units,
                        weight,
                        y: y.add(pixel * job.y_step + first),
                        y_step: job.y_step,
                    };
                    let outputs = OUTPUTS.min(job.channels - first);
                    pixel += match end - pixel {
                        4.. if M::PIXELS == 4 => tile.outputs::<M, 4>(outputs),
                        2.. if M::PIXELS == 2 => tile.outputs::<M, 2>(outputs),
                        _ => tile.outputs::<M, 1>(outputs),
                    };
                }
            }
        }
    }
}

struct Tile<'a> {
    x: *const Words,
    x_step: usize,
    taps: &'a [usize],
    units: usize,
    weight: *const u32,
    y: *mut Floats,
    y_step: usize,
}

impl Tile<'_> {
    /// Computes `P` pixels of a block of channels, and returns `P`.
    #[inline(always)]
    unsafe fn outputs<M: Machine, const P: usize>(self, outputs: usize) -> usize {
        unsafe {
            match outputs {
                1 => self.compute::<M, P, 1>(),
                2 => self.compute::<M, P, 2>(),
                3 => self.compute::<M, P, 3>(),
                4 => self.compute::<M, P, 4>(),
                5 => self.compute::<M, P, 5>(),
                _ => self.compute::<M, P, 6>(),
            }
        }
        P
    }

    #[inline(always)]
    unsafe fn compute<M: Machine, const P: usize, const O: usize>(self) {
        unsafe {
            let mut sums = [[M::zero(); P]; O];
            let mut weight = self.weight;
            for &tap in self.taps {
                let mut x = self.x.add(tap);
                for _ in 0..self.units {
                    let mut factors = [M::load(x); P];
                    for p in 1..P {
                        factors[p] = M::load(x.add(p * self.x_step));
                    }
                    for o in 0..O {
                        let weight = M::splat(weight.add(o));
                        for p in 0..P {
                            sums[o][p] = M::multiply_add(sums[o][p], factors[p], weight);
                        }
                    }
                    x = x.add(1);
                    weight = weight.add(O);
                }
            }
            for o in 0..O {
                for p in 0..P {
                    M::store(self.y.add(p * self.y_step + o), sums[o][p]);
                }
            }
        }
    }
}
