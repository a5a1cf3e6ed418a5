//! From tract's forms to C4 blocks, and back.

use super::kernel::put;
use super::{CHANNEL_BLOCK, Quantizer, c4_layout};
use crate::layout::Layout;
use crate::simd::{Int8Task, Isa, SimdInt8};
use crate::threads::{DisjointWrites, Threads};

/// Rounds row-major floats to C4 blocks. With a block of 2, the four pixels of each 2x2 square become channels,
/// `[channel, y, x]`: a convolution of such squares is then one of points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantizeInput {
    from: Layout,
    /// Channels that there are, counting those of squares.
    channels: usize,
    to: Layout,
    block: usize,
    rounding: Quantizer,
    isa: Isa,
}

impl QuantizeInput {
    /// For `[channels, height, width]` floats and a block of 1 or 2.
    ///
    /// # Panics
    /// When this CPU lacks the instruction set.
    pub fn new([channels, height, width]: [usize; 3], block: usize, rounding: Quantizer, isa: Isa) -> Self {
        assert!(isa.is_available(), "this CPU has no {isa}");
        let squares = channels * block * block;
        Self {
            from: Layout::plain(channels, height, width),
            channels: squares,
            to: c4_layout(squares, height / block, width / block),
            block,
            rounding,
            isa,
        }
    }

    /// The output's layout.
    pub const fn output(&self) -> &Layout {
        &self.to
    }

    /// What a word of zeros is in the output.
    pub fn padding(&self) -> u32 {
        self.isa.int8().stored(self.rounding.zero_point)
    }

    /// Reads `plain_chw` and writes the pixels of `words`.
    ///
    /// # Panics
    /// When a slice is not as long as its layout says.
    pub fn run(&self, plain_chw: &[f32], words: &mut [u32], threads: &Threads) {
        assert_eq!((plain_chw.len(), words.len()), (self.from.len(), self.to.len()));
        let to = DisjointWrites::new(words.as_mut_ptr());
        threads.each(self.to.height(), |y| {
            let row = PackedRow { quantization: self, plain_chw, output: to.pointer(), y };
            // SAFETY: `new` made sure that this CPU has the set; the lengths are those of the layouts; each row is
            // written by one task, and nobody else has `words`.
            unsafe { self.isa.run_int8(row) }
        });
    }
}

struct PackedRow<'a> {
    quantization: &'a QuantizeInput,
    plain_chw: &'a [f32],
    output: *mut u32,
    y: usize,
}

impl PackedRow<'_> {
    /// The floats of a vector of pixels of a channel, as bits; zero beyond the columns and the channels.
    ///
    /// # Safety
    /// The CPU has the set of `S`.
    #[inline(always)]
    unsafe fn load<S: SimdInt8>(&self, channel: usize, x: usize) -> S::V {
        let QuantizeInput { from, channels, to, block, .. } = self.quantization;
        let (source, place) = (channel / (block * block), channel % (block * block));
        let inside = (to.width() - x) * block;
        // SAFETY: the caller's contract; of the plain row, only floats within it are read.
        unsafe {
            if channel >= *channels {
                return S::total(S::zero());
            }
            let start = from.index(source, self.y * block + place / block, x * block);
            let row = &self.plain_chw[start..][..inside.min(block * S::LANES)];
            let mut cut = [0_u32; 32];
            let mut values = row.as_ptr().cast::<u32>();
            if row.len() < block * S::LANES {
                std::ptr::copy_nonoverlapping(values, cut.as_mut_ptr(), row.len());
                values = cut.as_mut_ptr();
            }
            if *block == 1 {
                return S::load(values);
            }
            let [even, odd] = S::deinterleave(S::load(values), S::load(values.add(S::LANES)));
            if place.is_multiple_of(2) { even } else { odd }
        }
    }
}

impl Int8Task for PackedRow<'_> {
    #[inline(always)]
    unsafe fn run<S: SimdInt8>(self) {
        let QuantizeInput { to, rounding, .. } = self.quantization;
        let (inverse, zero) = (rounding.inverse, i32::from(rounding.zero_point));
        for group in 0..to.channels() {
            for x in (0..to.width()).step_by(S::LANES) {
                // SAFETY: the caller's contract; the pixel is the output's, and of a vector that is cut only pixels
                // of the row are written.
                unsafe {
                    let mut levels = [S::total(S::zero()); CHANNEL_BLOCK];
                    for (at, levels) in levels.iter_mut().enumerate() {
                        *levels = S::quantize(self.load::<S>(CHANNEL_BLOCK * group + at, x), inverse, zero);
                    }
                    let words = S::pack(levels);
                    put::<S>(self.output.add(to.index(group, self.y, x)), to.width() - x, words);
                }
            }
        }
    }
}

/// Copies row-major `[channels, height, width]` quantized values into words.
///
/// # Panics
/// When the lengths do not fit.
pub fn pack_c4(plain_chw: &[u8], shape: [usize; 3], words: &mut [u32], isa: Isa) {
    let [channels, height, width] = shape;
    let (from, to) = (Layout::plain(channels, height, width), c4_layout(channels, height, width));
    assert_eq!((plain_chw.len(), words.len()), (from.len(), to.len()));
    let sign = isa.int8().sign;
    for y in 0..height {
        for group in 0..to.channels() {
            let row = &mut words[to.index(group, y, 0)..][..width];
            row.fill(sign);
            for at in 0..CHANNEL_BLOCK.min(channels - CHANNEL_BLOCK * group) {
                let levels = &plain_chw[from.index(CHANNEL_BLOCK * group + at, y, 0)..][..width];
                for (word, &level) in row.iter_mut().zip(levels) {
                    *word ^= u32::from(level) << (8 * at);
                }
            }
        }
    }
}

/// Copies words into row-major `[channels, height, width]` quantized values.
///
/// # Panics
/// When the lengths do not fit.
pub fn unpack_c4(words: &[u32], shape: [usize; 3], plain_chw: &mut [u8], isa: Isa) {
    let [channels, height, width] = shape;
    let (from, to) = (c4_layout(channels, height, width), Layout::plain(channels, height, width));
    assert_eq!((words.len(), plain_chw.len()), (from.len(), to.len()));
    let sign = isa.int8().sign;
    for channel in 0..channels {
        for y in 0..height {
            let row = &words[from.index(channel / CHANNEL_BLOCK, y, 0)..][..width];
            let levels = &mut plain_chw[to.index(channel, y, 0)..][..width];
            for (level, &word) in levels.iter_mut().zip(row) {
                *level = ((word ^ sign) >> (8 * (channel % CHANNEL_BLOCK))) as u8;
            }
        }
    }
}
