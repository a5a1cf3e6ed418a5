//! Bytes by AVX2, by AVX-VNNI, and by AVX-512 with VNNI.

use std::arch::x86_64::*;

use super::int8::{GREATEST, Int8Task, SimdInt8};

/// # Safety
/// As [`Int8Task::run`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_avx2<T: Int8Task>(task: T) {
    // SAFETY: the caller vouches for the CPU and for the task.
    unsafe { task.run::<Avx2Int8>() }
}

/// # Safety
/// As [`Int8Task::run`].
#[target_feature(enable = "avx2,fma,avxvnni")]
pub(super) unsafe fn run_avx_vnni<T: Int8Task>(task: T) {
    // SAFETY: the caller vouches for the CPU and for the task.
    unsafe { task.run::<AvxVnni>() }
}

/// # Safety
/// As [`Int8Task::run`].
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn run_avx512<T: Int8Task>(task: T) {
    // SAFETY: the caller vouches for the CPU and for the task.
    unsafe { task.run::<Avx512Vnni>() }
}

/// What vectors of 256 bits do alike, whatever multiplies.
///
/// SAFETY of every block: the trait's contract gives the CPU's features and pointers good for a vector.
macro_rules! of_256_bits {
    () => {
        type V = __m256i;
        type Sums = __m256i;
        const LANES: usize = 8;
        const TILE: usize = 4;
        const SIGN: u32 = 0;

        #[inline(always)]
        unsafe fn load(from: *const u32) -> __m256i {
            // SAFETY: see above.
            unsafe { _mm256_loadu_si256(from.cast()) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut u32, vector: __m256i) {
            // SAFETY: see above.
            unsafe { _mm256_storeu_si256(to.cast(), vector) }
        }

        #[inline(always)]
        unsafe fn zero() -> __m256i {
            // SAFETY: see above.
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        unsafe fn total(sums: __m256i) -> __m256i {
            sums
        }

        #[inline(always)]
        unsafe fn requantize(sum: __m256i, bias: i32, multiplier: f32, zero_point: i32) -> __m256i {
            // SAFETY: see above.
            unsafe {
                let sum = _mm256_cvtepi32_ps(_mm256_add_epi32(sum, _mm256_set1_epi32(bias)));
                let level = _mm256_cvtps_epi32(_mm256_mul_ps(sum, _mm256_set1_ps(multiplier)));
                _mm256_add_epi32(level, _mm256_set1_epi32(zero_point))
            }
        }

        #[inline(always)]
        unsafe fn saturate(levels: __m256i) -> __m256i {
            // SAFETY: see above.
            unsafe {
                let least = _mm256_max_epi32(levels, _mm256_setzero_si256());
                _mm256_min_epi32(least, _mm256_set1_epi32(255))
            }
        }

        #[inline(always)]
        unsafe fn dequantize(levels: __m256i, zero_point: i32, scale: f32) -> __m256i {
            // SAFETY: see above.
            unsafe {
                let levels = _mm256_cvtepi32_ps(_mm256_sub_epi32(levels, _mm256_set1_epi32(zero_point)));
                _mm256_castps_si256(_mm256_mul_ps(levels, _mm256_set1_ps(scale)))
            }
        }

        #[inline(always)]
        unsafe fn add(a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: see above.
            unsafe { _mm256_castps_si256(_mm256_add_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b))) }
        }

        #[inline(always)]
        unsafe fn quantize(values: __m256i, inverse: f32, zero_point: i32) -> __m256i {
            // SAFETY: see above.
            unsafe {
                let scaled = _mm256_mul_ps(_mm256_castsi256_ps(values), _mm256_set1_ps(inverse));
                let scaled = _mm256_min_ps(scaled, _mm256_set1_ps(GREATEST));
                _mm256_add_epi32(_mm256_cvtps_epi32(scaled), _mm256_set1_epi32(zero_point))
            }
        }

        #[inline(always)]
        unsafe fn pack(levels: [__m256i; 4]) -> __m256i {
            // SAFETY: see above.
            unsafe {
                let [a, b, c, d] = levels;
                let bytes = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
                let order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
                _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(order))
            }
        }

        #[inline(always)]
        unsafe fn unpack(bytes: __m256i) -> [__m256i; 4] {
            // SAFETY: see above.
            unsafe {
                let low = _mm256_set1_epi32(0xff);
                [
                    _mm256_and_si256(bytes, low),
                    _mm256_and_si256(_mm256_srli_epi32::<8>(bytes), low),
                    _mm256_and_si256(_mm256_srli_epi32::<16>(bytes), low),
                    _mm256_srli_epi32::<24>(bytes),
                ]
            }
        }

        #[inline(always)]
        unsafe fn max(a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: see above.
            unsafe { _mm256_max_epu8(a, b) }
        }

        #[inline(always)]
        unsafe fn interleave(a: __m256i, b: __m256i) -> [__m256i; 2] {
            // SAFETY: see above.
            unsafe {
                let (low, high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
                [_mm256_permute2x128_si256::<0x20>(low, high), _mm256_permute2x128_si256::<0x31>(low, high)]
            }
        }

        #[inline(always)]
        unsafe fn deinterleave(a: __m256i, b: __m256i) -> [__m256i; 2] {
            // SAFETY: see above.
            unsafe {
                let first = _mm256_castsi256_ps(_mm256_permute2x128_si256::<0x20>(a, b));
                let second = _mm256_castsi256_ps(_mm256_permute2x128_si256::<0x31>(a, b));
                [
                    _mm256_castps_si256(_mm256_shuffle_ps::<0x88>(first, second)),
                    _mm256_castps_si256(_mm256_shuffle_ps::<0xdd>(first, second)),
                ]
            }
        }
    };
}

/// Products in words of 16 bits: `vpmaddubsw`, which takes bytes, cuts the sums of two.
#[derive(Clone, Copy)]
pub(super) struct Avx2Int8;

impl SimdInt8 for Avx2Int8 {
    of_256_bits!();
    const PIXELS: usize = 2;
    const WORDS: usize = 2;

    fn words([a, b, c, d]: [i8; 4]) -> [u32; 2] {
        let pair = |low: i8, high: i8| {
            let [low, high] = [low, high].map(|weight| u32::from(i16::from(weight).cast_unsigned()));
            low | high << 16
        };
        [pair(a, c), pair(b, d)]
    }

    #[inline(always)]
    unsafe fn multiply_add<const P: usize>(
        sums: &mut [[__m256i; P]],
        weights: *const u32,
        pixels: &[__m256i; P],
    ) {
        // SAFETY: the trait's contract gives the CPU's features; the caller gives two readable words for each sum.
        unsafe {
            let low = _mm256_set1_epi16(0xff);
            let (mut even, mut odd) = (*pixels, *pixels);
            for (even, odd) in even.iter_mut().zip(&mut odd) {
                *even = _mm256_and_si256(*even, low);
                *odd = _mm256_srli_epi16::<8>(*odd);
            }
            for (index, sums) in sums.iter_mut().enumerate() {
                let first = _mm256_set1_epi32((*weights.add(2 * index)).cast_signed());
                let second = _mm256_set1_epi32((*weights.add(2 * index + 1)).cast_signed());
                for ((sum, &even), &odd) in sums.iter_mut().zip(&even).zip(&odd) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(even, first));
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(odd, second));
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct AvxVnni;

impl SimdInt8 for AvxVnni {
    of_256_bits!();
    const PIXELS: usize = 3;
    const WORDS: usize = 1;

    fn words(weights: [i8; 4]) -> [u32; 2] {
        [u32::from_le_bytes(weights.map(i8::cast_unsigned)), 0]
    }

    #[inline(always)]
    unsafe fn multiply_add<const P: usize>(
        sums: &mut [[__m256i; P]],
        weights: *const u32,
        pixels: &[__m256i; P],
    ) {
        for (index, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the trait's contract gives the CPU's features; the caller gives a readable word for each sum.
            unsafe {
                let weights = _mm256_set1_epi32((*weights.add(index)).cast_signed());
                for (sum, &pixels) in sums.iter_mut().zip(pixels) {
                    *sum = _mm256_dpbusd_avx_epi32(*sum, pixels, weights);
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Avx512Vnni;

// SAFETY of every block below: the trait's contract gives the CPU's features and pointers good for a vector.
impl SimdInt8 for Avx512Vnni {
    type V = __m512i;
    type Sums = __m512i;
    const LANES: usize = 16;
    const TILE: usize = 8;
    const PIXELS: usize = 3;
    const SIGN: u32 = 0;
    const WORDS: usize = 1;

    fn words(weights: [i8; 4]) -> [u32; 2] {
        [u32::from_le_bytes(weights.map(i8::cast_unsigned)), 0]
    }

    #[inline(always)]
    unsafe fn load(from: *const u32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut u32, vector: __m512i) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_si512(to.cast(), vector) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn multiply_add<const P: usize>(
        sums: &mut [[__m512i; P]],
        weights: *const u32,
        pixels: &[__m512i; P],
    ) {
        for (index, sums) in sums.iter_mut().enumerate() {
            // SAFETY: see above; the caller gives a readable word for each sum.
            unsafe {
                let weights = _mm512_set1_epi32((*weights.add(index)).cast_signed());
                for (sum, &pixels) in sums.iter_mut().zip(pixels) {
                    *sum = _mm512_dpbusd_epi32(*sum, pixels, weights);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn total(sums: __m512i) -> __m512i {
        sums
    }

    #[inline(always)]
    unsafe fn requantize(sum: __m512i, bias: i32, multiplier: f32, zero_point: i32) -> __m512i {
        // SAFETY: see above.
        unsafe {
            let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(sum, _mm512_set1_epi32(bias)));
            let level = _mm512_cvtps_epi32(_mm512_mul_ps(sum, _mm512_set1_ps(multiplier)));
            _mm512_add_epi32(level, _mm512_set1_epi32(zero_point))
        }
    }

    #[inline(always)]
    unsafe fn saturate(levels: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe {
            let least = _mm512_max_epi32(levels, _mm512_setzero_si512());
            _mm512_min_epi32(least, _mm512_set1_epi32(255))
        }
    }

    #[inline(always)]
    unsafe fn dequantize(levels: __m512i, zero_point: i32, scale: f32) -> __m512i {
        // SAFETY: see above.
        unsafe {
            let levels = _mm512_cvtepi32_ps(_mm512_sub_epi32(levels, _mm512_set1_epi32(zero_point)));
            _mm512_castps_si512(_mm512_mul_ps(levels, _mm512_set1_ps(scale)))
        }
    }

    #[inline(always)]
    unsafe fn add(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b))) }
    }

    #[inline(always)]
    unsafe fn quantize(values: __m512i, inverse: f32, zero_point: i32) -> __m512i {
        // SAFETY: see above.
        unsafe {
            let scaled = _mm512_mul_ps(_mm512_castsi512_ps(values), _mm512_set1_ps(inverse));
            let scaled = _mm512_min_ps(scaled, _mm512_set1_ps(GREATEST));
            _mm512_add_epi32(_mm512_cvtps_epi32(scaled), _mm512_set1_epi32(zero_point))
        }
    }

    #[inline(always)]
    unsafe fn pack(levels: [__m512i; 4]) -> __m512i {
        // SAFETY: see above.
        unsafe {
            let [a, b, c, d] = levels;
            let bytes = _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
            let order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_shuffle_epi8(bytes, _mm512_broadcast_i32x4(order))
        }
    }

    #[inline(always)]
    unsafe fn unpack(bytes: __m512i) -> [__m512i; 4] {
        // SAFETY: see above.
        unsafe {
            let low = _mm512_set1_epi32(0xff);
            [
                _mm512_and_si512(bytes, low),
                _mm512_and_si512(_mm512_srli_epi32::<8>(bytes), low),
                _mm512_and_si512(_mm512_srli_epi32::<16>(bytes), low),
                _mm512_srli_epi32::<24>(bytes),
            ]
        }
    }

    #[inline(always)]
    unsafe fn max(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_max_epu8(a, b) }
    }

    #[inline(always)]
    unsafe fn interleave(a: __m512i, b: __m512i) -> [__m512i; 2] {
        // SAFETY: see above.
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            [_mm512_permutex2var_epi32(a, low, b), _mm512_permutex2var_epi32(a, high, b)]
        }
    }

    #[inline(always)]
    unsafe fn deinterleave(a: __m512i, b: __m512i) -> [__m512i; 2] {
        // SAFETY: see above.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            [_mm512_permutex2var_epi32(a, even, b), _mm512_permutex2var_epi32(a, odd, b)]
        }
    }
}
