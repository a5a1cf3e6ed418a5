//! The most that a core can do, to compare with.

use std::hint::black_box;

use crate::simd::{Int8Task, Isa, PIXELS, Simd, SimdInt8, Task};

/// Multiplies and adds in registers for some rounds with the best instruction set of this CPU, and returns how many
/// multiply-accumulates that were: the time of it is the peak of the core that calls.
pub fn peak_f32_macs(rounds: u32) -> u64 {
    let isa = Isa::best();
    // SAFETY: `best` is what this CPU has; the task's pointers are to its own arrays.
    unsafe { isa.run(PeakLoop { rounds }) };
    u64::from(rounds) * (isa.tile() * PIXELS * isa.lanes()) as u64
}

/// The same with bytes, of which four products are added to a sum at a time.
pub fn peak_int8_macs(rounds: u32) -> u64 {
    let isa = Isa::best();
    // SAFETY: `best` is what this CPU has; the task's pointers are to its own arrays.
    unsafe { isa.run_int8(PeakLoop { rounds }) };
    let format = isa.int8();
    // Two sets of pixels of four channels each.
    u64::from(rounds) * (2 * 4 * format.tile * format.pixels * format.lanes) as u64
}

struct PeakLoop {
    rounds: u32,
}

impl PeakLoop {
    /// # Safety
    /// As [`Task::run`]; `T` is `S::TILE`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize>(&self) {
        // Small enough to stay finite, large enough to stay normal.
        let weights = black_box([1e-3_f32; T]);
        // SAFETY: the caller vouches for the CPU; each quarter reads four weights and has four sums.
        unsafe {
            let pixels = black_box([S::splat(1.0); PIXELS]);
            let mut sums = [[S::splat(1.0); PIXELS]; T];
            for _ in 0..self.rounds {
                for quarter in 0..T / 4 {
                    let sums = &mut sums[4 * quarter..4 * quarter + 4];
                    S::multiply_add(sums, weights.as_ptr().add(4 * quarter), &pixels);
                }
            }
            black_box(sums);
        }
    }
}

impl Task for PeakLoop {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's contract is the callee's.
        unsafe {
            match S::TILE {
                8 => self.tile::<S, 8>(),
                _ => self.tile::<S, 4>(),
            }
        }
    }
}

impl PeakLoop {
    /// # Safety
    /// As [`Int8Task::run`]; `T` is `S::TILE` and `P` is `S::PIXELS`.
    #[inline(always)]
    unsafe fn int8_tile<S: SimdInt8, const T: usize, const P: usize>(&self) {
        // Four words a sum: two sets of weights, of two words each at most.
        let weights = black_box([[1_u32; 4]; T]);
        // SAFETY: the caller vouches for the CPU; there are as many words as are read.
        unsafe {
            let pixels = black_box([S::total(S::zero()); P]);
            let mut sums = [[S::zero(); P]; T];
            for _ in 0..self.rounds {
                S::multiply_add_pair(&mut sums, weights.as_ptr().cast(), &pixels, &pixels);
            }
            black_box(sums);
        }
    }
}

impl Int8Task for PeakLoop {
    #[inline(always)]
    unsafe fn run<S: SimdInt8>(self) {
        // SAFETY: the caller's contract is the callee's.
        unsafe {
            match (S::TILE, S::PIXELS) {
                (8, 3) => self.int8_tile::<S, 8, 3>(),
                (_, 3) => self.int8_tile::<S, 4, 3>(),
                _ => self.int8_tile::<S, 4, 2>(),
            }
        }
    }
}
