//! Vectors of one instruction set, and which sets this CPU has.

mod int8;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_int8;
mod portable;
mod portable_int8;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_int8;

use std::fmt;

pub(crate) use int8::{Int8Task, SimdInt8};

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust: any CPU, and the reference for the others.
    Portable,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX2, FMA and AVX-VNNI.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-512 F, BW, DQ, VL and VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// Advanced SIMD, which every aarch64 CPU has.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// Advanced SIMD with int8 dot products.
    #[cfg(target_arch = "aarch64")]
    NeonDot,
}

impl Isa {
    /// Those that this CPU has, best first; [`Isa::Portable`] is always the last.
    pub fn available() -> Vec<Self> {
        let mut available = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx512 && avx2 && is_x86_feature_detected!("avx512vnni") {
                available.push(Self::Avx512Vnni);
            }
            if avx512 && avx2 {
                available.push(Self::Avx512);
            }
            if avx2 && is_x86_feature_detected!("avxvnni") {
                available.push(Self::AvxVnni);
            }
            if avx2 {
                available.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                available.push(Self::NeonDot);
            }
            available.push(Self::Neon);
        }
        available.push(Self::Portable);
        available
    }

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        Self::available().contains(&self)
    }

    /// The best that this CPU has.
    pub fn best() -> Self {
        Self::available()[0]
    }

    /// Output channels that a tile of weights holds.
    pub(crate) const fn tile(self) -> usize {
        match self {
            Self::Portable => portable::Portable::TILE,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::AvxVnni => x86::Avx2Float::TILE,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx512Vnni => x86::Avx512::TILE,
            #[cfg(target_arch = "aarch64")]
            Self::Neon | Self::NeonDot => neon::NeonFloat::TILE,
        }
    }

    /// Pixels of a vector.
    pub(crate) const fn lanes(self) -> usize {
        match self {
            Self::Portable => portable::Portable::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::AvxVnni => x86::Avx2Float::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx512Vnni => x86::Avx512::LANES,
            #[cfg(target_arch = "aarch64")]
            Self::Neon | Self::NeonDot => neon::NeonFloat::LANES,
        }
    }

    /// Runs a task compiled for this set.
    ///
    /// # Safety
    /// This CPU has the set, and what the task asks for holds.
    pub(crate) unsafe fn run<T: Task>(self, task: T) {
        // SAFETY: the caller vouches for the CPU and for the task.
        unsafe {
            match self {
                Self::Portable => task.run::<portable::Portable>(),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 | Self::AvxVnni => x86::run_avx2(task),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 | Self::Avx512Vnni => x86::run_avx512(task),
                #[cfg(target_arch = "aarch64")]
                Self::Neon | Self::NeonDot => task.run::<neon::NeonFloat>(),
            }
        }
    }

    /// How int8 is computed.
    pub(crate) fn int8(self) -> Int8Format {
        match self {
            Self::Portable => Int8Format::of::<portable_int8::PortableInt8>(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx512 => Int8Format::of::<x86_int8::Avx2Int8>(),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => Int8Format::of::<x86_int8::AvxVnni>(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => Int8Format::of::<x86_int8::Avx512Vnni>(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Int8Format::of::<neon_int8::NeonInt8>(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => Int8Format::of::<neon_int8::NeonDot>(),
        }
    }

    /// Runs an int8 task compiled for this set.
    ///
    /// # Safety
    /// This CPU has the set, and what the task asks for holds.
    pub(crate) unsafe fn run_int8<T: Int8Task>(self, task: T) {
        // SAFETY: the caller vouches for the CPU and for the task; a CPU with AVX-512 has AVX2, by `available`.
        unsafe {
            match self {
                Self::Portable => task.run::<portable_int8::PortableInt8>(),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 | Self::Avx512 => x86_int8::run_avx2(task),
                #[cfg(target_arch = "x86_64")]
                Self::AvxVnni => x86_int8::run_avx_vnni(task),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512Vnni => x86_int8::run_avx512(task),
                #[cfg(target_arch = "aarch64")]
                Self::Neon => task.run::<neon_int8::NeonInt8>(),
                #[cfg(target_arch = "aarch64")]
                Self::NeonDot => neon_int8::run_dot(task),
            }
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => "avx2 with vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => "avx512 with vnni",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => "neon with dot products",
        })
    }
}

/// How an instruction set computes in int8, by the constants of [`SimdInt8`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Int8Format {
    /// [`SimdInt8::LANES`]
    pub(crate) lanes: usize,
    /// [`SimdInt8::TILE`]
    pub(crate) tile: usize,
    /// [`SimdInt8::PIXELS`]
    pub(crate) pixels: usize,
    /// [`SimdInt8::SIGN`]
    pub(crate) sign: u32,
    /// [`SimdInt8::WORDS`]
    pub(crate) word_count: usize,
    /// [`SimdInt8::words`]
    pub(crate) words: fn([i8; 4]) -> [u32; 2],
}

impl Int8Format {
    const fn of<S: SimdInt8>() -> Self {
        Self {
            lanes: S::LANES,
            tile: S::TILE,
            pixels: S::PIXELS,
            sign: S::SIGN,
            word_count: S::WORDS,
            words: S::words,
        }
    }

    /// Four quantized values that are alike, as they are stored.
    pub(crate) const fn stored(self, level: u8) -> u32 {
        u32::from_le_bytes([level; 4]) ^ self.sign
    }
}

/// Vectors of pixels whose sums stay in registers, for each channel of a tile: the rest of the registers holds
/// pixels and weights.
pub(crate) const PIXELS: usize = 3;

/// Work that is compiled once for each instruction set.
pub(crate) trait Task {
    /// Does it.
    ///
    /// # Safety
    /// This CPU has the set of `S`; the pointers that the task holds are good for what it reads and writes.
    unsafe fn run<S: Simd>(self);
}

/// Vectors of `f32` of one instruction set.
///
/// # Safety of its functions
/// This CPU has the set; pointers are good for [`Simd::LANES`] values, unaligned.
pub(crate) trait Simd: Copy {
    /// A vector.
    type V: Copy;
    /// Values of a vector, at most 16.
    const LANES: usize;
    /// Output channels whose sums stay in registers, 4 or 8.
    const TILE: usize;

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, vector: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// Adds `weights[i] * pixels[p]` to `sums[i][p]`, for the four sums given and four weights.
    unsafe fn multiply_add<const P: usize>(
        sums: &mut [[Self::V; P]],
        weights: *const f32,
        pixels: &[Self::V; P],
    );
    /// `a0 b0 a1 b1 ...`, in two vectors.
    unsafe fn interleave(a: Self::V, b: Self::V) -> [Self::V; 2];
    /// The values at even places of `a` followed by `b`, and those at odd ones.
    unsafe fn deinterleave(a: Self::V, b: Self::V) -> [Self::V; 2];
}
