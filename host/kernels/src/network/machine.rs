//! The two loops that take a step's time, for each kind of processor. All unsafe code of the package is here.
//!
//! Safety rests on two things. A [`Machine`] is used only in a function that enables its instructions, and that
//! only where [`Engine::detect`] found them. Pointers are made by the jobs' `run`, which check beforehand that the
//! last line that any tap can reach lies within its slice.
#![allow(unsafe_code)]
#![allow(clippy::needless_range_loop, reason = "sums stay in registers where their places are constants")]

mod gradient;
mod registers;
mod row;

use super::lines::{Floats, Precision, Words};

pub use gradient::GradientJob;
pub use row::{OUTPUTS, RowJob};

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
    /// What trains fastest on this processor.
    pub fn fastest() -> Self {
        if Self::Bf16.is_fast() { Self::Bf16 } else { Self::F32 }
    }

    /// Whether this processor has instructions for it that these kernels use.
    pub fn is_fast(self) -> bool {
        Engine::detect(self) != Engine::Portable
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
