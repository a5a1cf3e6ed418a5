//! The sums of a tile of output channels for a few vectors of pixels, and the quantized values that they become.

use std::ops::Range;

use super::{CHANNEL_BLOCK, Epilogue, QuantizedConv, QuantizedConvSpec, TILE};
use crate::convolution::{ConvKind, PixelPosition, PixelTiles};
use crate::layout::Layout;
use crate::simd::{Int8Task, SimdInt8};

/// A share of a convolution: some tiles of output channels of some rows of the input.
pub(super) struct Int8Job<'a> {
    pub(super) convolution: &'a QuantizedConv,
    pub(super) input: &'a [u32],
    pub(super) skip: Option<&'a [u32]>,
    /// C4 blocks, or floats.
    pub(super) output: *mut u32,
    pub(super) tiles: Range<usize>,
    pub(super) rows: Range<usize>,
}

impl Int8Task for Int8Job<'_> {
    #[inline(always)]
    unsafe fn run<S: SimdInt8>(self) {
        // SAFETY: the caller's contract is the callee's.
        unsafe {
            match (S::TILE, S::PIXELS) {
                (8, 3) => self.tiles_of::<S, 8, 3>(),
                (_, 3) => self.tiles_of::<S, 4, 3>(),
                _ => self.tiles_of::<S, 4, 2>(),
            }
        }
    }
}

/// The quantized values of a tile: `[channel of the tile, vector of pixels]`.
type Levels<S, const P: usize> = [[<S as SimdInt8>::V; P]; TILE];

impl Int8Job<'_> {
    /// # Safety
    /// As [`Int8Task::run`]; `T` is `S::TILE` and `P` is `S::PIXELS`.
    #[inline(always)]
    unsafe fn tiles_of<S: SimdInt8, const T: usize, const P: usize>(&self) {
        let [.., width] = self.convolution.spec.input;
        let vectors = self.rows.len() * width.div_ceil(S::LANES);
        let layouts = (self.convolution.spec.input_layout(), self.convolution.spec.output_layout());
        for tile in self.tiles.clone() {
            let mut places = PixelTiles::from(self.rows.start, width, S::LANES);
            let mut left = vectors;
            // SAFETY: as above; the places taken are `vectors` in all, which end with the rows.
            unsafe {
                while left >= P {
                    self.group::<S, T, P>(&layouts, tile, places.take());
                    left -= P;
                }
                match left {
                    2 => self.group::<S, T, 2>(&layouts, tile, places.take()),
                    1 => self.group::<S, T, 1>(&layouts, tile, places.take()),
                    _ => (),
                }
            }
        }
    }

    /// # Safety
    /// As [`Int8Job::tiles_of`]; the places are within the rows and begin within the columns.
    #[inline(always)]
    unsafe fn group<S: SimdInt8, const T: usize, const P: usize>(
        &self,
        (from, to): &(Layout, Layout),
        tile: usize,
        places: [PixelPosition; P],
    ) {
        let QuantizedConv { spec, bias, multipliers, .. } = self.convolution;
        let zero = i32::from(spec.made.zero_point);
        // SAFETY: as above; there are a bias and a multiplier for each channel of each tile.
        unsafe {
            let mut levels: Levels<S, P> = [[S::total(S::zero()); P]; TILE];
            for part in 0..TILE / T {
                let sums = self.sums::<S, T, P>(from, tile * (TILE / T) + part, &places);
                for (at, sums) in sums.iter().enumerate() {
                    let at = part * T + at;
                    let bias = *bias.as_ptr().add(tile * TILE + at);
                    let multiplier = *multipliers.as_ptr().add(tile * TILE + at);
                    for (level, &sum) in levels[at].iter_mut().zip(sums) {
                        *level = S::requantize(S::total(sum), bias, multiplier, zero);
                    }
                }
            }
            match (spec.kind, spec.epilogue) {
                (ConvKind::Conv1x1 | ConvKind::Conv3x3, Epilogue::Dequantize) => {
                    self.write_floats::<S, P>(to, tile, &places, &levels)
                }
                (ConvKind::Conv1x1 | ConvKind::Conv3x3, _) => self.write::<S, P>(to, tile, &places, &levels),
                (ConvKind::ConvTranspose2x2, Epilogue::Dequantize) => {
                    self.double_floats::<S, P>(to, tile, &places, &levels)
                }
                (ConvKind::ConvTranspose2x2, _) => self.double::<S, P>(to, tile, &places, &levels),
            }
        }
    }

    /// # Safety
    /// As [`Int8Job::group`]; the part is one of the packed weights.
    #[inline(always)]
    unsafe fn sums<S: SimdInt8, const T: usize, const P: usize>(
        &self,
        from: &Layout,
        part: usize,
        places: &[PixelPosition; P],
    ) -> [[S::Sums; P]; T] {
        let QuantizedConv { weights, taps, .. } = self.convolution;
        // SAFETY: the packed weights hold `T * S::WORDS` words for each tap and part. A place begins within the
        // columns: its vector and one pixel on either side lie within its stored row, and the rows above and below
        // are stored, too; taps reach no further than one row and one pixel from the place, in any channel.
        unsafe {
            let mut sums = [[S::zero(); P]; T];
            let mut weights = weights.as_ptr().add(part * taps.len() * T * S::WORDS);
            let mut lines = [self.input.as_ptr(); P];
            for (at, place) in lines.iter_mut().zip(places) {
                *at = at.add(from.index(0, place.y, place.x));
            }
            let (mut first, mut second) = ([S::total(S::zero()); P], [S::total(S::zero()); P]);
            let (pairs, rest) = taps.as_chunks::<2>();
            for taps in pairs {
                for (pixels, line) in first.iter_mut().zip(&lines) {
                    *pixels = S::load(line.byte_offset(taps[0]));
                }
                for (pixels, line) in second.iter_mut().zip(&lines) {
                    *pixels = S::load(line.byte_offset(taps[1]));
                }
                S::multiply_add_pair(&mut sums, weights, &first, &second);
                weights = weights.add(2 * T * S::WORDS);
            }
            if let &[last] = rest {
                for (pixels, line) in first.iter_mut().zip(&lines) {
                    *pixels = S::load(line.byte_offset(last));
                }
                S::multiply_add(&mut sums, weights, &first);
            }
            sums
        }
    }

    /// Writes C4 blocks.
    ///
    /// # Safety
    /// As [`Int8Job::group`]; no other task writes these words and rows.
    #[inline(always)]
    unsafe fn write<S: SimdInt8, const P: usize>(
        &self,
        to: &Layout,
        tile: usize,
        places: &[PixelPosition; P],
        levels: &Levels<S, P>,
    ) {
        let groups = TILE / CHANNEL_BLOCK * tile..to.channels();
        for (group, levels) in groups.zip(levels.chunks_exact(CHANNEL_BLOCK)) {
            for (at, place) in places.iter().enumerate() {
                // SAFETY: the word is the output's and the place within its rows and columns; from there a whole
                // vector of the skip, which lies as the output does, can be read.
                unsafe {
                    let mut levels = [levels[0][at], levels[1][at], levels[2][at], levels[3][at]];
                    let index = to.index(group, place.y, place.x);
                    if let Some(skip) = self.skip {
                        levels = self.add::<S>(levels, S::load(skip.as_ptr().add(index)));
                    }
                    put::<S>(self.output.add(index), to.width() - place.x, S::pack(levels));
                }
            }
        }
    }

    /// # Safety
    /// As [`Int8Job::write`].
    #[inline(always)]
    unsafe fn double<S: SimdInt8, const P: usize>(
        &self,
        to: &Layout,
        tile: usize,
        places: &[PixelPosition; P],
        levels: &Levels<S, P>,
    ) {
        let (row, group) = (tile / to.channels(), tile % to.channels());
        for (at, place) in places.iter().enumerate() {
            let (y, x) = (2 * place.y + row, 2 * place.x);
            // SAFETY: as in `write`; a doubled place begins within the columns, and its second half is only written
            // where it does, too. A padded row is stored in whole vectors of the widest set, and one more: two
            // vectors can be read from an even place.
            unsafe {
                let mut left = [levels[0][at], levels[1][at], levels[2][at], levels[3][at]];
                let mut right = [levels[4][at], levels[5][at], levels[6][at], levels[7][at]];
                let index = to.index(group, y, x);
                if let Some(skip) = self.skip {
                    let skip = skip.as_ptr().add(index);
                    let [even, odd] = S::deinterleave(S::load(skip), S::load(skip.add(S::LANES)));
                    left = self.add::<S>(left, even);
                    right = self.add::<S>(right, odd);
                }
                let [low, high] = S::interleave(S::pack(left), S::pack(right));
                put::<S>(self.output.add(index), to.width() - x, low);
                if x + S::LANES < to.width() {
                    put::<S>(self.output.add(index + S::LANES), to.width() - x - S::LANES, high);
                }
            }
        }
    }

    /// # Safety
    /// As [`Int8Job::write`].
    #[inline(always)]
    unsafe fn write_floats<S: SimdInt8, const P: usize>(
        &self,
        to: &Layout,
        tile: usize,
        places: &[PixelPosition; P],
        levels: &Levels<S, P>,
    ) {
        for (channel, levels) in (tile * TILE..to.channels()).zip(levels) {
            for (place, &levels) in places.iter().zip(levels) {
                // SAFETY: the channel is the output's and the place within its rows and columns.
                unsafe {
                    let to_place = self.output.add(to.index(channel, place.y, place.x));
                    put::<S>(to_place, to.width() - place.x, self.number::<S>(levels));
                }
            }
        }
    }

    /// # Safety
    /// As [`Int8Job::write`].
    #[inline(always)]
    unsafe fn double_floats<S: SimdInt8, const P: usize>(
        &self,
        to: &Layout,
        tile: usize,
        places: &[PixelPosition; P],
        levels: &Levels<S, P>,
    ) {
        let tiles = to.channels().div_ceil(CHANNEL_BLOCK);
        let (row, first) = (tile / tiles, tile % tiles * CHANNEL_BLOCK);
        let (left, right) = levels.split_at(CHANNEL_BLOCK);
        for ((channel, left), right) in (first..to.channels()).zip(left).zip(right) {
            for (at, place) in places.iter().enumerate() {
                let (y, x) = (2 * place.y + row, 2 * place.x);
                // SAFETY: as in `double`.
                unsafe {
                    let [low, high] = S::interleave(left[at], right[at]);
                    let to_place = self.output.add(to.index(channel, y, x));
                    put::<S>(to_place, to.width() - x, self.number::<S>(low));
                    if x + S::LANES < to.width() {
                        let rest = to.width() - x - S::LANES;
                        put::<S>(to_place.add(S::LANES), rest, self.number::<S>(high));
                    }
                }
            }
        }
    }

    /// Quantized values of the sum with a skip.
    ///
    /// # Safety
    /// The CPU has the set of `S`.
    #[inline(always)]
    unsafe fn add<S: SimdInt8>(&self, levels: [S::V; CHANNEL_BLOCK], skip: S::V) -> [S::V; CHANNEL_BLOCK] {
        let QuantizedConvSpec { made, epilogue, .. } = self.convolution.spec;
        let Epilogue::AddRequantize { skip: other, sum } = epilogue else { return levels };
        // SAFETY: the caller's contract.
        unsafe {
            let mut result = S::unpack(skip);
            for (skip, level) in result.iter_mut().zip(levels) {
                let level = S::dequantize(S::saturate(level), i32::from(made.zero_point), made.scale);
                let added = S::dequantize(*skip, i32::from(other.zero_point), other.scale);
                *skip = S::quantize(S::add(level, added), sum.inverse, i32::from(sum.zero_point));
            }
            result
        }
    }

    /// What quantized values stand for.
    ///
    /// # Safety
    /// The CPU has the set of `S`.
    #[inline(always)]
    unsafe fn number<S: SimdInt8>(&self, levels: S::V) -> S::V {
        let made = self.convolution.spec.made;
        // SAFETY: the caller's contract.
        unsafe { S::dequantize(S::saturate(levels), i32::from(made.zero_point), made.scale) }
    }
}

/// Stores the part of a vector that lies within the columns, of which `inside` are left.
///
/// # Safety
/// The CPU has the set of `S`, and `to` is good for as many values.
#[inline(always)]
pub(super) unsafe fn put<S: SimdInt8>(to: *mut u32, inside: usize, values: S::V) {
    // SAFETY: the caller's contract; `cut` holds a vector of any set.
    unsafe {
        if inside >= S::LANES {
            S::store(to, values);
        } else {
            let mut cut = [0; 16];
            S::store(cut.as_mut_ptr(), values);
            std::ptr::copy_nonoverlapping(cut.as_ptr(), to, inside);
        }
    }
}
