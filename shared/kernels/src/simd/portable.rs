//! Vectors as arrays.

use super::Simd;

#[derive(Clone, Copy)]
pub(super) struct Portable;

const LANES: usize = 8;

impl Simd for Portable {
    type V = [f32; LANES];
    const LANES: usize = LANES;
    const TILE: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the caller gives `LANES` readable values; the read is unaligned.
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: Self::V) {
        // SAFETY: the caller gives `LANES` writable values; the write is unaligned.
        unsafe { to.cast::<Self::V>().write_unaligned(vector) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| if a[lane] > b[lane] { a[lane] } else { b[lane] })
    }

    #[inline(always)]
    unsafe fn multiply_add<const P: usize>(
        sums: &mut [[Self::V; P]],
        weights: *const f32,
        pixels: &[Self::V; P],
    ) {
        for (index, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller gives a readable weight for each sum.
            let weight = unsafe { *weights.add(index) };
            for (sum, pixel) in sums.iter_mut().zip(pixels) {
                for lane in 0..LANES {
                    sum[lane] += weight * pixel[lane];
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn interleave(a: Self::V, b: Self::V) -> [Self::V; 2] {
        let at = |place: usize| if place.is_multiple_of(2) { a[place / 2] } else { b[place / 2] };
        [std::array::from_fn(at), std::array::from_fn(|lane| at(LANES + lane))]
    }

    #[inline(always)]
    unsafe fn deinterleave(a: Self::V, b: Self::V) -> [Self::V; 2] {
        let at = |place: usize| if place < LANES { a[place] } else { b[place - LANES] };
        [std::array::from_fn(|lane| at(2 * lane)), std::array::from_fn(|lane| at(2 * lane + 1))]
    }
}
