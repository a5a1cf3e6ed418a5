//! Bytes by Advanced SIMD, with and without its dot products.
//!
//! Quantized values are stored as signed bytes, `level - 128`: these are what both multiply. Whoever packs weights takes the
//! difference into account.

use std::arch::aarch64::*;
use std::arch::asm;

use super::int8::{GREATEST, Int8Task, SimdInt8};

/// # Safety
/// As [`Int8Task::run`].
#[target_feature(enable = "dotprod")]
pub(super) unsafe fn run_dot<T: Int8Task>(task: T) {
    // SAFETY: the caller vouches for the CPU and for the task.
    unsafe { task.run::<NeonDot>() }
}

/// What both do alike.
///
/// SAFETY of every block: every aarch64 CPU has Advanced SIMD, and the trait's contract gives pointers good for a
/// vector.
macro_rules! all_but_products {
    () => {
        type V = int32x4_t;
        const LANES: usize = 4;
        const SIGN: u32 = 0x8080_8080;
        const WORDS: usize = 1;

        fn words(weights: [i8; 4]) -> [u32; 2] {
            [u32::from_le_bytes(weights.map(i8::cast_unsigned)), 0]
        }

        #[inline(always)]
        unsafe fn load(from: *const u32) -> int32x4_t {
            // SAFETY: see above.
            unsafe { vld1q_s32(from.cast()) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut u32, vector: int32x4_t) {
            // SAFETY: see above.
            unsafe { vst1q_s32(to.cast(), vector) }
        }

        #[inline(always)]
        unsafe fn requantize(sum: int32x4_t, bias: i32, multiplier: f32, zero_point: i32) -> int32x4_t {
            // SAFETY: see above.
            unsafe {
                let sum = vcvtq_f32_s32(vaddq_s32(sum, vdupq_n_s32(bias)));
                vaddq_s32(vcvtnq_s32_f32(vmulq_n_f32(sum, multiplier)), vdupq_n_s32(zero_point))
            }
        }

        #[inline(always)]
        unsafe fn saturate(levels: int32x4_t) -> int32x4_t {
            // SAFETY: see above.
            unsafe { vminq_s32(vmaxq_s32(levels, vdupq_n_s32(0)), vdupq_n_s32(255)) }
        }

        #[inline(always)]
        unsafe fn dequantize(levels: int32x4_t, zero_point: i32, scale: f32) -> int32x4_t {
            // SAFETY: see above.
            unsafe {
                let levels = vcvtq_f32_s32(vsubq_s32(levels, vdupq_n_s32(zero_point)));
                vreinterpretq_s32_f32(vmulq_n_f32(levels, scale))
            }
        }

        #[inline(always)]
        unsafe fn add(a: int32x4_t, b: int32x4_t) -> int32x4_t {
            // SAFETY: see above.
            unsafe { vreinterpretq_s32_f32(vaddq_f32(vreinterpretq_f32_s32(a), vreinterpretq_f32_s32(b))) }
        }

        #[inline(always)]
        unsafe fn quantize(values: int32x4_t, inverse: f32, zero_point: i32) -> int32x4_t {
            // SAFETY: see above.
            unsafe {
                let scaled = vmulq_n_f32(vreinterpretq_f32_s32(values), inverse);
                let scaled = vminnmq_f32(scaled, vdupq_n_f32(GREATEST));
                vaddq_s32(vcvtnq_s32_f32(scaled), vdupq_n_s32(zero_point))
            }
        }

        #[inline(always)]
        unsafe fn pack(levels: [int32x4_t; 4]) -> int32x4_t {
            // SAFETY: see above.
            unsafe {
                let [a, b, c, d] = levels;
                // The channels two by two, pixel by pixel.
                let ab = vqmovn_high_s32(vqmovn_s32(a), b);
                let cd = vqmovn_high_s32(vqmovn_s32(c), d);
                let bytes = vqmovun_high_s16(vqmovun_s16(ab), cd);
                // `a0..a3 b0..b3 c0..c3 d0..d3`, turned over.
                const ORDER: [u8; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
                let bytes = vqtbl1q_u8(bytes, vld1q_u8(ORDER.as_ptr()));
                vreinterpretq_s32_u8(veorq_u8(bytes, vdupq_n_u8(0x80)))
            }
        }

        #[inline(always)]
        unsafe fn unpack(bytes: int32x4_t) -> [int32x4_t; 4] {
            // SAFETY: see above.
            unsafe {
                let levels = veorq_u32(vreinterpretq_u32_s32(bytes), vdupq_n_u32(Self::SIGN));
                let low = vdupq_n_u32(0xff);
                [
                    vreinterpretq_s32_u32(vandq_u32(levels, low)),
                    vreinterpretq_s32_u32(vandq_u32(vshrq_n_u32::<8>(levels), low)),
                    vreinterpretq_s32_u32(vandq_u32(vshrq_n_u32::<16>(levels), low)),
                    vreinterpretq_s32_u32(vshrq_n_u32::<24>(levels)),
                ]
            }
        }

        #[inline(always)]
        unsafe fn max(a: int32x4_t, b: int32x4_t) -> int32x4_t {
            // SAFETY: see above.
            unsafe { vreinterpretq_s32_s8(vmaxq_s8(vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b))) }
        }

        #[inline(always)]
        unsafe fn interleave(a: int32x4_t, b: int32x4_t) -> [int32x4_t; 2] {
            // SAFETY: see above.
            unsafe { [vzip1q_s32(a, b), vzip2q_s32(a, b)] }
        }

        #[inline(always)]
        unsafe fn deinterleave(a: int32x4_t, b: int32x4_t) -> [int32x4_t; 2] {
            // SAFETY: see above.
            unsafe { [vuzp1q_s32(a, b), vuzp2q_s32(a, b)] }
        }
    };
}

/// Products in words of 16 bits, which two of them fit: weights are greater than -128.
#[derive(Clone, Copy)]
pub(super) struct NeonInt8;

impl SimdInt8 for NeonInt8 {
    all_but_products!();
    /// Of the first two pixels, and of the others: two sums each, of two channels.
    type Sums = [int32x4_t; 2];
    const TILE: usize = 4;
    const PIXELS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Self::Sums {
        // SAFETY: see above.
        unsafe { [vdupq_n_s32(0); 2] }
    }

    #[inline(always)]
    unsafe fn multiply_add<const P: usize>(
        sums: &mut [[Self::Sums; P]],
        weights: *const u32,
        pixels: &[int32x4_t; P],
    ) {
        for (index, sums) in sums.iter_mut().enumerate() {
            // SAFETY: see above; the caller gives a readable word for each sum.
            unsafe {
                let weights = vreinterpretq_s8_u32(vld1q_dup_u32(weights.add(index)));
                for ([low, high], &pixels) in sums.iter_mut().zip(pixels) {
                    let pixels = vreinterpretq_s8_s32(pixels);
                    *low = vpadalq_s16(*low, vmull_s8(vget_low_s8(pixels), vget_low_s8(weights)));
                    *high = vpadalq_s16(*high, vmull_high_s8(pixels, weights));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply_add_pair<const P: usize>(
        sums: &mut [[Self::Sums; P]],
        weights: *const u32,
        first: &[int32x4_t; P],
        second: &[int32x4_t; P],
    ) {
        for (quarter, sums) in sums.chunks_exact_mut(4).enumerate() {
            // SAFETY: see above; the caller gives four readable words for each set of pixels.
            unsafe {
                let v = vld1q_s32(weights.add(4 * quarter).cast());
                let w = vld1q_s32(weights.add(Self::TILE + 4 * quarter).cast());
                let [a, b, c, d] = sums else { return };
                add_products(a, first, second, vdupq_laneq_s32::<0>(v), vdupq_laneq_s32::<0>(w));
                add_products(b, first, second, vdupq_laneq_s32::<1>(v), vdupq_laneq_s32::<1>(w));
                add_products(c, first, second, vdupq_laneq_s32::<2>(v), vdupq_laneq_s32::<2>(w));
                add_products(d, first, second, vdupq_laneq_s32::<3>(v), vdupq_laneq_s32::<3>(w));
            }
        }
    }

    #[inline(always)]
    unsafe fn total([low, high]: Self::Sums) -> int32x4_t {
        // SAFETY: see above.
        unsafe { vpaddq_s32(low, high) }
    }
}

/// Adds the products of the first pixels with `v` and of the second ones with `w`, two at a time in 16 bits. Written in
/// instructions, since the compiler would have more products under way than registers.
///
/// # Safety
/// The CPU has Advanced SIMD.
#[inline(always)]
unsafe fn add_products<const P: usize>(
    sums: &mut [[int32x4_t; 2]; P],
    first: &[int32x4_t; P],
    second: &[int32x4_t; P],
    v: int32x4_t,
    w: int32x4_t,
) {
    for (([low, high], &a), &b) in sums.iter_mut().zip(first).zip(second) {
        // SAFETY: the instructions only access registers.
        unsafe {
            asm!(
                "smull {product:v}.8h, {a:v}.8b, {v:v}.8b",
                "smlal {product:v}.8h, {b:v}.8b, {w:v}.8b",
                "sadalp {low:v}.4s, {product:v}.8h",
                "smull2 {product:v}.8h, {a:v}.16b, {v:v}.16b",
                "smlal2 {product:v}.8h, {b:v}.16b, {w:v}.16b",
                "sadalp {high:v}.4s, {product:v}.8h",
                product = out(vreg) _,
                low = inout(vreg) *low,
                high = inout(vreg) *high,
                a = in(vreg) a,
                b = in(vreg) b,
                v = in(vreg) v,
                w = in(vreg) w,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
    }
}

/// Dot products of four bytes, which CPUs from ARMv8.2 on have (Cortex-A76).
#[derive(Clone, Copy)]
pub(super) struct NeonDot;

impl SimdInt8 for NeonDot {
    all_but_products!();
    type Sums = int32x4_t;
    const TILE: usize = 8;
    const PIXELS: usize = 3;

    #[inline(always)]
    unsafe fn zero() -> int32x4_t {
        // SAFETY: see above.
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    unsafe fn multiply_add<const P: usize>(
        sums: &mut [[int32x4_t; P]],
        weights: *const u32,
        pixels: &[int32x4_t; P],
    ) {
        for (quarter, sums) in sums.chunks_exact_mut(4).enumerate() {
            // SAFETY: the caller runs this where the CPU has dot products, and gives four readable words.
            unsafe {
                let weights = vld1q_s32(weights.add(4 * quarter).cast());
                for (pixel, &pixels) in pixels.iter().enumerate() {
                    sums[0][pixel] = dot::<0>(sums[0][pixel], pixels, weights);
                    sums[1][pixel] = dot::<1>(sums[1][pixel], pixels, weights);
                    sums[2][pixel] = dot::<2>(sums[2][pixel], pixels, weights);
                    sums[3][pixel] = dot::<3>(sums[3][pixel], pixels, weights);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn total(sums: int32x4_t) -> int32x4_t {
        sums
    }
}

/// Adds the products of four bytes of each lane of `pixels` and those of one lane of `weights`. Rust has no stable
/// name for it yet (`vdotq_laneq_s32`).
///
/// # Safety
/// The CPU has dot products.
#[inline(always)]
unsafe fn dot<const LANE: usize>(mut sum: int32x4_t, pixels: int32x4_t, weights: int32x4_t) -> int32x4_t {
    // SAFETY: the caller's contract; the instruction only accesses registers.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {pixels:v}.16b, {weights:v}.4b[{lane}]",
            sum = inout(vreg) sum,
            pixels = in(vreg) pixels,
            weights = in(vreg) weights,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
