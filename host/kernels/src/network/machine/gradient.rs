//! A part of a weight's gradient: its loop.

use super::super::lines::{Floats, Precision, Words};
#[cfg(target_arch = "x86_64")]
use super::registers::{Avx2, Avx512Bf16, Avx512F32};
use super::registers::{PortableBf16, PortableF32};
use super::{Engine, Machine};

/// The sums of a weight's gradient over some rows, for a few channels of the result's gradient.
#[derive(Debug)]
pub struct GradientJob<'a> {
    /// The input's factors, by picture, from the first pixel and first tap on.
    pub x: &'a [Words],
    /// Lines from a pixel to the next, and from a row to the next.
    pub x_steps: [usize; 2],
    /// Lines of a tap.
    pub units: usize,
    /// Taps side by side, `x_steps[0]` lines apart: 1 or 3.
    pub taps: usize,
    /// The gradient's factors, by picture, from the first pixel on.
    pub grad: &'a [Words],
    /// Lines from a pixel to the next, and from a row to the next.
    pub grad_steps: [usize; 2],
    /// The first channel of the gradient, and how many: 4 at most.
    pub channels: [usize; 2],
    /// Rows and pixels of a row.
    pub area: [usize; 2],
    /// `[unit, channel, tap]`, added to.
    pub sums: &'a mut [Floats],
}

impl GradientJob<'_> {
    /// Adds the rows.
    ///
    /// # Panics
    /// When a slice is too short.
    pub fn run(self, engine: Engine, precision: Precision) {
        let Self { x, x_steps, units, taps, grad, grad_steps, channels: [first, count], area, ref sums } =
            self;
        let reach = |steps: [usize; 2]| steps[0] * (area[1] - 1) + steps[1] * (area[0] - 1);
        assert!(x.len() >= reach(x_steps) + (taps - 1) * x_steps[0] + units, "a line for every tap");
        assert!(grad.len() >= reach(grad_steps) + precision.units(first + count), "a line for every channel");
        assert!((1..=4).contains(&count) && (taps == 1 || taps == 3), "a tile that is compiled");
        assert!(sums.len() >= units * count * taps, "a place for every sum");
        // Safety: the lengths are checked, and an engine is the machine's own by `Engine::detect`.
        unsafe {
            match (engine, precision) {
                (Engine::Portable, Precision::F32) => gradient::<PortableF32>(self),
                (Engine::Portable, Precision::Bf16) => gradient::<PortableBf16>(self),
                #[cfg(target_arch = "x86_64")]
                (Engine::Avx2, _) => gradient_avx2(self),
                #[cfg(target_arch = "x86_64")]
                (Engine::Avx512, _) => gradient_avx512(self),
                #[cfg(target_arch = "x86_64")]
                (Engine::Avx512Bf16, _) => gradient_avx512_bf16(self),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn gradient_avx2(job: GradientJob<'_>) {
    unsafe { gradient::<Avx2>(job) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn gradient_avx512(job: GradientJob<'_>) {
    unsafe { gradient::<Avx512F32>(job) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn gradient_avx512_bf16(job: GradientJob<'_>) {
    unsafe { gradient::<Avx512Bf16>(job) }
}

#[inline(always)]
unsafe fn gradient<M: Machine>(job: GradientJob<'_>) {
    let [first, count] = job.channels;
    let mut unit = 0;
    let block = match (job.taps, M::GRADIENTS) {
        (3, 4) => 2,
        (3, _) => 1,
        (_, 4) => 6,
        _ => 3,
    };
    let mut sums = job.sums.as_mut_ptr();
    while unit < job.units {
        let units = block.min(job.units - unit);
        let mut channel = 0;
        while channel < count {
            let channels = M::GRADIENTS.min(count - channel);
            unsafe {
                let tile = GradientTile {
                    x: job.x.as_ptr().add(unit),
                    x_steps: job.x_steps,
                    grad: job.grad.as_ptr().cast::<u8>().add((first + channel) * M::CHANNEL),
                    grad_steps: job.grad_steps.map(|lines| lines * size_of::<Words>()),
                    area: job.area,
                    sums: sums.add(channel * job.taps),
                    unit_step: count * job.taps,
                };
                match (job.taps, units) {
                    (3, 2) => tile.channels::<M, 2, 3>(channels),
                    (3, _) => tile.channels::<M, 1, 3>(channels),
                    (_, 6) => tile.channels::<M, 6, 1>(channels),
                    (_, 5) => tile.channels::<M, 5, 1>(channels),
                    (_, 4) => tile.channels::<M, 4, 1>(channels),
                    (_, 3) => tile.channels::<M, 3, 1>(channels),
                    (_, 2) => tile.channels::<M, 2, 1>(channels),
                    _ => tile.channels::<M, 1, 1>(channels),
                }
            }
            channel += channels;
        }
        unit += units;
        sums = unsafe { sums.add(units * count * job.taps) };
    }
}

struct GradientTile {
    x: *const Words,
    x_steps: [usize; 2],
    grad: *const u8,
    /// Bytes.
    grad_steps: [usize; 2],
    area: [usize; 2],
    sums: *mut Floats,
    /// Sums from a unit to the next.
    unit_step: usize,
}

impl GradientTile {
    #[inline(always)]
    unsafe fn channels<M: Machine, const U: usize, const T: usize>(self, channels: usize) {
        unsafe {
            match channels {
                1 => self.compute::<M, U, T, 1>(),
                2 => self.compute::<M, U, T, 2>(),
                3 => self.compute::<M, U, T, 3>(),
                _ => self.compute::<M, U, T, 4>(),
            }
        }
    }

    #[inline(always)]
    unsafe fn compute<M: Machine, const U: usize, const T: usize, const O: usize>(self) {
        unsafe {
            let mut sums = [[[M::zero(); T]; O]; U];
            for row in 0..self.area[0] {
                let mut x = self.x.add(row * self.x_steps[1]);
                let mut grad = self.grad.add(row * self.grad_steps[1]);
                for _ in 0..self.area[1] {
                    let mut grads = [M::channel(grad); O];
                    for o in 1..O {
                        grads[o] = M::channel(grad.add(o * M::CHANNEL));
                    }
                    for u in 0..U {
                        for t in 0..T {
                            let x = M::load(x.add(t * self.x_steps[0] + u));
                            for o in 0..O {
                                sums[u][o][t] = M::multiply_add(sums[u][o][t], x, grads[o]);
                            }
                        }
                    }
                    x = x.add(self.x_steps[0]);
                    grad = grad.add(self.grad_steps[0]);
                }
            }
            for u in 0..U {
                for o in 0..O {
                    for t in 0..T {
                        M::add(self.sums.add(u * self.unit_step + o * T + t), sums[u][o][t]);
                    }
                }
            }
        }
    }
}
