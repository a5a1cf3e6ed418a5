//! AVX2 with FMA, and AVX-512.

use std::arch::x86_64::*;

use super::{Simd, Task};

/// # Safety
/// As [`Task::run`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_avx2<T: Task>(task: T) {
    // SAFETY: the caller vouches for the CPU and for the task.
    unsafe { task.run::<Avx2Float>() }
}

/// # Safety
/// As [`Task::run`].
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn run_avx512<T: Task>(task: T) {
    // SAFETY: the caller vouches for the CPU and for the task.
    unsafe { task.run::<Avx512>() }
}

/// What the two sets do alike, by the names of their instructions.
///
/// SAFETY of every block: the trait's contract gives the CPU's features and pointers good for a vector.
macro_rules! arithmetic {
    ($splat:ident, $load:ident, $store:ident, $add:ident, $max:ident, $fmadd:ident) => {
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self::V {
            // SAFETY: see above.
            unsafe { $splat(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::V {
            // SAFETY: see above.
            unsafe { $load(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, vector: Self::V) {
            // SAFETY: see above.
            unsafe { $store(to, vector) }
        }

        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: see above.
            unsafe { $add(a, b) }
        }

        #[inline(always)]
        unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: see above.
            unsafe { $max(a, b) }
        }

        #[inline(always)]
        unsafe fn multiply_add<const P: usize>(
            sums: &mut [[Self::V; P]],
            weights: *const f32,
            pixels: &[Self::V; P],
        ) {
            for (index, sums) in sums.iter_mut().enumerate() {
                // SAFETY: see above; the caller gives a readable weight for each sum.
                unsafe {
                    let weight = $splat(*weights.add(index));
                    for (sum, pixel) in sums.iter_mut().zip(pixels) {
                        *sum = $fmadd(weight, *pixel, *sum);
                    }
                }
            }
        }
    };
}

#[derive(Clone, Copy)]
pub(super) struct Avx2Float;

// SAFETY of every block below: the trait's contract gives the CPU's feature and pointers good for a vector.
impl Simd for Avx2Float {
    type V = __m256;
    const LANES: usize = 8;
    const TILE: usize = 4;

    arithmetic!(
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_max_ps,
        _mm256_fmadd_ps
    );

    #[inline(always)]
    unsafe fn interleave(a: Self::V, b: Self::V) -> [Self::V; 2] {
        // SAFETY: see above.
        unsafe {
            let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
        }
    }

    #[inline(always)]
    unsafe fn deinterleave(a: Self::V, b: Self::V) -> [Self::V; 2] {
        // SAFETY: see above.
        unsafe {
            let first = _mm256_permute2f128_ps::<0x20>(a, b);
            let second = _mm256_permute2f128_ps::<0x31>(a, b);
            [_mm256_shuffle_ps::<0x88>(first, second), _mm256_shuffle_ps::<0xdd>(first, second)]
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Avx512;

// SAFETY of every block below: the trait's contract gives the CPU's features and pointers good for a vector.
impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    const TILE: usize = 8;

    arithmetic!(
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_add_ps,
        _mm512_max_ps,
        _mm512_fmadd_ps
    );

    #[inline(always)]
    unsafe fn interleave(a: Self::V, b: Self::V) -> [Self::V; 2] {
        // SAFETY: see above.
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            [_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b)]
        }
    }

    #[inline(always)]
    unsafe fn deinterleave(a: Self::V, b: Self::V) -> [Self::V; 2] {
        // SAFETY: see above.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            [_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b)]
        }
    }
}
