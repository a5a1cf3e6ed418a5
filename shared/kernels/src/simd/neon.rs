//! Advanced SIMD of aarch64.

use std::arch::aarch64::*;

use super::Simd;

#[derive(Clone, Copy)]
pub(super) struct NeonFloat;

// SAFETY of every block below: every aarch64 CPU has the set, and the trait's contract gives pointers good for a
// vector.
impl Simd for NeonFloat {
    type V = float32x4_t;
    const LANES: usize = 4;
    const TILE: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        // SAFETY: see above.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: see above.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: Self::V) {
        // SAFETY: see above.
        unsafe { vst1q_f32(to, vector) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { vmaxq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add<const P: usize>(
        sums: &mut [[Self::V; P]],
        weights: *const f32,
        pixels: &[Self::V; P],
    ) {
        // SAFETY: see above; the caller gives four readable weights, and a sum for each.
        unsafe {
            let weights = vld1q_f32(weights);
            for (pixel, &x) in pixels.iter().enumerate() {
                sums[0][pixel] = vfmaq_laneq_f32::<0>(sums[0][pixel], x, weights);
                sums[1][pixel] = vfmaq_laneq_f32::<1>(sums[1][pixel], x, weights);
                sums[2][pixel] = vfmaq_laneq_f32::<2>(sums[2][pixel], x, weights);
                sums[3][pixel] = vfmaq_laneq_f32::<3>(sums[3][pixel], x, weights);
            }
        }
    }

    #[inline(always)]
    unsafe fn interleave(a: Self::V, b: Self::V) -> [Self::V; 2] {
        // SAFETY: see above.
        unsafe { [vzip1q_f32(a, b), vzip2q_f32(a, b)] }
    }

    #[inline(always)]
    unsafe fn deinterleave(a: Self::V, b: Self::V) -> [Self::V; 2] {
        // SAFETY: see above.
        unsafe { [vuzp1q_f32(a, b), vuzp2q_f32(a, b)] }
    }
}
