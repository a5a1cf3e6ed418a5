//! Vectors of one instruction set, and which sets this CPU has.

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust: any CPU, and the reference for the others.
    Portable,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Advanced SIMD, which every aarch64 CPU has.
    #[cfg(target_arch = "aarch64")]
    Neon,
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
            if avx512 {
                available.push(Self::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                available.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        available.push(Self::Neon);
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
            Self::Avx2 => x86::Avx2::TILE,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => x86::Avx512::TILE,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => neon::Neon::TILE,
        }
    }

    /// Pixels of a vector.
    pub(crate) const fn lanes(self) -> usize {
        match self {
            Self::Portable => portable::Portable::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86::Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => x86::Avx512::LANES,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => neon::Neon::LANES,
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
                Self::Avx2 => x86::run_avx2(task),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => x86::run_avx512(task),
                #[cfg(target_arch = "aarch64")]
                Self::Neon => task.run::<neon::Neon>(),
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
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
        })
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
