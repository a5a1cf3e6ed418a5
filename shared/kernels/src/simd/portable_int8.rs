//! Vectors of bytes as arrays.

use super::int8::{GREATEST, SimdInt8};

#[derive(Clone, Copy)]
pub(super) struct PortableInt8;

const LANES: usize = 8;
type V = [u32; LANES];

fn each(vector: V, change: impl Fn(u32) -> u32) -> V {
    vector.map(change)
}

fn rounded(value: f32, zero_point: i32) -> u32 {
    (value.round_ties_even() as i32).wrapping_add(zero_point).cast_unsigned()
}

impl SimdInt8 for PortableInt8 {
    type V = V;
    type Sums = V;
    const LANES: usize = LANES;
    const TILE: usize = 4;
    const PIXELS: usize = 2;
    const SIGN: u32 = 0;
    const WORDS: usize = 1;

    fn words(weights: [i8; 4]) -> [u32; 2] {
        [u32::from_le_bytes(weights.map(i8::cast_unsigned)), 0]
    }

    #[inline(always)]
    unsafe fn load(from: *const u32) -> V {
        // SAFETY: the caller gives `LANES` readable values; the read is unaligned.
        unsafe { from.cast::<V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut u32, vector: V) {
        // SAFETY: the caller gives `LANES` writable values; the write is unaligned.
        unsafe { to.cast::<V>().write_unaligned(vector) }
    }

    #[inline(always)]
    unsafe fn zero() -> V {
        [0; LANES]
    }

    #[inline(always)]
    unsafe fn multiply_add<const P: usize>(sums: &mut [[V; P]], weights: *const u32, pixels: &[V; P]) {
        for (index, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller gives a readable word for each sum.
            let weights = unsafe { *weights.add(index) }.to_le_bytes();
            for (sum, pixels) in sums.as_flattened_mut().iter_mut().zip(pixels.as_flattened()) {
                let products = pixels.to_le_bytes().into_iter().zip(weights);
                let products =
                    products.map(|(level, weight)| i32::from(level) * i32::from(weight.cast_signed()));
                *sum = sum.wrapping_add(products.sum::<i32>().cast_unsigned());
            }
        }
    }

    #[inline(always)]
    unsafe fn total(sums: V) -> V {
        sums
    }

    #[inline(always)]
    unsafe fn requantize(sum: V, bias: i32, multiplier: f32, zero_point: i32) -> V {
        each(sum, |sum| rounded(sum.cast_signed().wrapping_add(bias) as f32 * multiplier, zero_point))
    }

    #[inline(always)]
    unsafe fn saturate(levels: V) -> V {
        each(levels, |level| level.cast_signed().clamp(0, 255).cast_unsigned())
    }

    #[inline(always)]
    unsafe fn dequantize(levels: V, zero_point: i32, scale: f32) -> V {
        each(levels, |level| (level.cast_signed().wrapping_sub(zero_point) as f32 * scale).to_bits())
    }

    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        let mut sum = a;
        for (a, b) in sum.iter_mut().zip(b) {
            *a = (f32::from_bits(*a) + f32::from_bits(b)).to_bits();
        }
        sum
    }

    #[inline(always)]
    unsafe fn quantize(values: V, inverse: f32, zero_point: i32) -> V {
        each(values, |value| rounded((f32::from_bits(value) * inverse).min(GREATEST), zero_point))
    }

    #[inline(always)]
    unsafe fn pack(levels: [V; 4]) -> V {
        // SAFETY: any CPU has this set.
        let levels = levels.map(|levels| unsafe { Self::saturate(levels) });
        core::array::from_fn(|at| u32::from_le_bytes(levels.map(|levels| levels[at] as u8)))
    }

    #[inline(always)]
    unsafe fn unpack(bytes: V) -> [V; 4] {
        core::array::from_fn(|channel| each(bytes, |bytes| u32::from(bytes.to_le_bytes()[channel])))
    }

    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        let greater = |at: usize| {
            let (a, b) = (a[at].to_le_bytes(), b[at].to_le_bytes());
            u32::from_le_bytes(core::array::from_fn(|channel| a[channel].max(b[channel])))
        };
        core::array::from_fn(greater)
    }

    #[inline(always)]
    unsafe fn interleave(a: V, b: V) -> [V; 2] {
        let at = |place: usize| if place.is_multiple_of(2) { a[place / 2] } else { b[place / 2] };
        [core::array::from_fn(at), core::array::from_fn(|place| at(LANES + place))]
    }

    #[inline(always)]
    unsafe fn deinterleave(a: V, b: V) -> [V; 2] {
        let at = |place: usize| if place < LANES { a[place] } else { b[place - LANES] };
        [core::array::from_fn(|place| at(2 * place)), core::array::from_fn(|place| at(2 * place + 1))]
    }
}
