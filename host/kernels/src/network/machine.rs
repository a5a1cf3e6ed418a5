//! The two loops that take a step's time, for each kind of processor. All unsafe code of the package is here.
//!
//! Safety rests on two things. A [`Machine`] is used only in a function that enables its instructions, and that
//! only where [`Engine::detect`] found them. Pointers are made by the jobs' `run`, which check beforehand that the
//! last line that any tap can reach lies within its slice.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as x86;

use super::lines::{Floats, PICTURES, Precision, Words};

/// A kind of processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Any, in plain Rust: the reference.
    Portable,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512, for `f32`.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-512 with products of `bf16`.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

impl Engine {
    /// The best of this machine for a precision.
    pub fn detect(precision: Precision) -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            if precision == Precision::Bf16 && avx512 && is_x86_feature_detected!("avx512bf16") {
                return Self::Avx512Bf16;
            }
            if precision == Precision::F32 && avx512 {
                return Self::Avx512;
            }
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if precision == Precision::F32 && avx2 {
                return Self::Avx2;
            }
        }
        Self::Portable
    }
}

impl Precision {
    /// What trains fastest on this machine, or none where its vectors are too short to gain by these kernels.
    pub fn fastest() -> Option<Self> {
        [Self::Bf16, Self::F32].into_iter().find(|&precision| Engine::detect(precision) != Engine::Portable)
    }
}

/// Runs `work` compiled for this machine's widest vectors.
#[inline]
pub fn wide<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn avx512<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        let has_512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // Safety: the processor has these instructions.
            return unsafe { if has_512 { avx512(work) } else { avx2(work) } };
        }
    }
    work()
}

/// Registers and the product that adds to them.
trait Machine {
    /// Sixteen sums.
    type Sums: Copy;
    /// Sixteen words of factors.
    type Factors: Copy;
    /// Pixels of a tile: with [`OUTPUTS`] sums for each, all registers but those of the factors.
    const PIXELS: usize;
    /// Channels of the result's gradient in a tile of the weight's.
    const GRADIENTS: usize;
    /// Bytes of a channel's factors in the order of pictures.
    const CHANNEL: usize;

    unsafe fn zero() -> Self::Sums;
    unsafe fn load(line: *const Words) -> Self::Factors;
    unsafe fn splat(word: *const u32) -> Self::Factors;
    /// A channel's pictures, in the order of pictures, over the whole line.
    unsafe fn channel(at: *const u8) -> Self::Factors;
    unsafe fn multiply_add(sums: Self::Sums, a: Self::Factors, b: Self::Factors) -> Self::Sums;
    unsafe fn store(line: *mut Floats, sums: Self::Sums);
    unsafe fn add(line: *mut Floats, sums: Self::Sums);
}

struct PortableF32;
struct PortableBf16;

fn portable_channel(at: *const u8, bytes: usize) -> [u32; PICTURES] {
    // Safety: as the trait's caller promises, `bytes` can be read there.
    let bytes = unsafe { std::slice::from_raw_parts(at, bytes) };
    std::array::from_fn(|word| {
        let at = word * 4 % bytes.len();
        u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    })
}

macro_rules! portable {
    ($machine:ty, $channel:expr, |$a:ident, $b:ident| $product:expr) => {
        impl Machine for $machine {
            type Sums = [f32; PICTURES];
            type Factors = [u32; PICTURES];
            const PIXELS: usize = 2;
            const GRADIENTS: usize = 2;
            const CHANNEL: usize = $channel;

            unsafe fn zero() -> Self::Sums {
                [0.0; PICTURES]
            }
            unsafe fn load(line: *const Words) -> Self::Factors {
                unsafe { (*line).0 }
            }
            unsafe fn splat(word: *const u32) -> Self::Factors {
                [unsafe { *word }; PICTURES]
            }
            unsafe fn channel(at: *const u8) -> Self::Factors {
                portable_channel(at, Self::CHANNEL)
            }
            unsafe fn multiply_add(sums: Self::Sums, a: Self::Factors, b: Self::Factors) -> Self::Sums {
                std::array::from_fn(|lane| {
                    let ($a, $b) = (a[lane], b[lane]);
                    sums[lane] + $product
                })
            }
            unsafe fn store(line: *mut Floats, sums: Self::Sums) {
                unsafe { *line = Floats(sums) }
            }
            unsafe fn add(line: *mut Floats, sums: Self::Sums) {
                let line = unsafe { &mut *line };
                line.0.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum);
            }
        }
    };
}

portable!(PortableF32, 64, |a, b| f32::from_bits(a) * f32::from_bits(b));
portable!(PortableBf16, 32, |a, b| {
    let halves = |word: u32| [f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000)];
    let ([a, c], [b, d]) = (halves(a), halves(b));
    a * b + c * d
});

#[cfg(target_arch = "x86_64")]
struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Machine for Avx2 {
    type Sums = [x86::__m256; 2];
    type Factors = [x86::__m256; 2];
    const PIXELS: usize = 1;
    const GRADIENTS: usize = 2;
    const CHANNEL: usize = 64;

    #[inline(always)]
    unsafe fn zero() -> Self::Sums {
        unsafe { [x86::_mm256_setzero_ps(); 2] }
    }
    #[inline(always)]
    unsafe fn load(line: *const Words) -> Self::Factors {
        unsafe { [x86::_mm256_load_ps(line.cast()), x86::_mm256_load_ps(line.cast::<f32>().add(8))] }
    }
    #[inline(always)]
    unsafe fn splat(word: *const u32) -> Self::Factors {
        unsafe { [x86::_mm256_broadcast_ss(&*word.cast()); 2] }
    }
    #[inline(always)]
    unsafe fn channel(at: *const u8) -> Self::Factors {
        unsafe { Self::load(at.cast()) }
    }
    #[inline(always)]
    unsafe fn multiply_add(sums: Self::Sums, a: Self::Factors, b: Self::Factors) -> Self::Sums {
        unsafe { [x86::_mm256_fmadd_ps(a[0], b[0], sums[0]), x86::_mm256_fmadd_ps(a[1], b[1], sums[1])] }
    }
    #[inline(always)]
    unsafe fn store(line: *mut Floats, sums: Self::Sums) {
        unsafe {
            x86::_mm256_store_ps(line.cast(), sums[0]);
            x86::_mm256_store_ps(line.cast::<f32>().add(8), sums[1]);
        }
    }
    #[inline(always)]
    unsafe fn add(line: *mut Floats, sums: Self::Sums) {
        unsafe {
            let old = Self::load(line.cast());
            Self::store(line, [x86::_mm256_add_ps(old[0], sums[0]), x86::_mm256_add_ps(old[1], sums[1])]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
struct Avx512F32;
#[cfg(target_arch = "x86_64")]
struct Avx512Bf16;

#[cfg(target_arch = "x86_64")]
macro_rules! avx512 {
    ($machine:ty, $channel:expr, |$at:ident| $load:expr, |$sums:ident, $a:ident, $b:ident| $product:expr) => {
        impl Machine for $machine {
            type Sums = x86::__m512;
            type Factors = x86::__m512i;
            const PIXELS: usize = 4;
            const GRADIENTS: usize = 4;
            const CHANNEL: usize = $channel;

            #[inline(always)]
            unsafe fn zero() -> Self::Sums {
                unsafe { x86::_mm512_setzero_ps() }
            }
            #[inline(always)]
            unsafe fn load(line: *const Words) -> Self::Factors {
                unsafe { x86::_mm512_load_si512(line.cast()) }
            }
            #[inline(always)]
            unsafe fn splat(word: *const u32) -> Self::Factors {
                unsafe { x86::_mm512_set1_epi32(word.cast::<i32>().read()) }
            }
            #[inline(always)]
            unsafe fn channel($at: *const u8) -> Self::Factors {
                unsafe { $load }
            }
            #[inline(always)]
            unsafe fn multiply_add($sums: Self::Sums, $a: Self::Factors, $b: Self::Factors) -> Self::Sums {
                unsafe { $product }
            }
            #[inline(always)]
            unsafe fn store(line: *mut Floats, sums: Self::Sums) {
                unsafe { x86::_mm512_store_ps(line.cast(), sums) }
            }
            #[inline(always)]
            unsafe fn add(line: *mut Floats, sums: Self::Sums) {
                unsafe { Self::store(line, x86::_mm512_add_ps(x86::_mm512_load_ps(line.cast()), sums)) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
avx512!(Avx512F32, 64, |at| x86::_mm512_load_si512(at.cast()), |sums, a, b| {
    x86::_mm512_fmadd_ps(x86::_mm512_castsi512_ps(a), x86::_mm512_castsi512_ps(b), sums)
});
#[cfg(target_arch = "x86_64")]
avx512!(
    Avx512Bf16,
    32,
    |at| x86::_mm512_broadcast_i64x4(x86::_mm256_load_si256(at.cast())),
    // Safety: both are sixteen pairs of `bf16`.
    |sums, a, b| x86::_mm512_dpbf16_ps(sums, std::mem::transmute(a), std::mem::transmute(b))
);

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
