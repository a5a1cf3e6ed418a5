//! The registers of each kind of processor.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as x86;

use super::super::lines::{Floats, PICTURES, Words};
use super::Machine;

pub struct PortableF32;
pub struct PortableBf16;

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
pub struct Avx2;

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
pub struct Avx512F32;
#[cfg(target_arch = "x86_64")]
pub struct Avx512Bf16;

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
avx512!(Avx512Bf16, 32, |at| x86::_mm512_broadcast_i64x4(x86::_mm256_load_si256(at.cast())), |sums, a, b| {
    x86::_mm512_dpbf16_ps(sums, pairs(a), pairs(b))
});

/// Words as sixteen pairs of `bf16`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
const fn pairs(words: x86::__m512i) -> x86::__m512bh {
    // Safety: both are 64 bytes, and any bits are numbers.
    unsafe { std::mem::transmute::<x86::__m512i, x86::__m512bh>(words) }
}
