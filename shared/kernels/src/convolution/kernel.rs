//! The sums of a tile of output channels for a few vectors of pixels.

use std::ops::Range;

use super::{Activation, ConvKind, ConvSpec, DirectConv, PixelPosition, PixelTiles};
use crate::simd::{PIXELS, Simd, Task};

/// A share of a convolution: some tiles of output channels of some rows of the input.
pub(super) struct Job<'a> {
    pub(super) convolution: &'a DirectConv,
    pub(super) input: &'a [f32],
    pub(super) skip: Option<&'a [f32]>,
    pub(super) output: *mut f32,
    pub(super) tiles: Range<usize>,
    pub(super) rows: Range<usize>,
}

impl Task for Job<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's contract is the callee's.
        unsafe {
            match (self.convolution.spec.kind, S::TILE) {
                (ConvKind::Conv1x1 | ConvKind::ConvTranspose2x2, 8) => self.tiles_of::<S, 1, 8>(),
                (ConvKind::Conv1x1 | ConvKind::ConvTranspose2x2, _) => self.tiles_of::<S, 1, 4>(),
                (ConvKind::Conv3x3, 8) => self.tiles_of::<S, 3, 8>(),
                (ConvKind::Conv3x3, _) => self.tiles_of::<S, 3, 4>(),
            }
        }
    }
}

impl Job<'_> {
    /// # Safety
    /// As [`Task::run`]; `T` is `S::TILE` and `K` the side of the kernel as it is walked over.
    #[inline(always)]
    unsafe fn tiles_of<S: Simd, const K: usize, const T: usize>(&self) {
        let width = self.convolution.spec.input.width();
        let vectors = self.rows.len() * width.div_ceil(S::LANES);
        for tile in self.tiles.clone() {
            let mut places = PixelTiles::from(self.rows.start, width, S::LANES);
            let mut left = vectors;
            // SAFETY: as above; the places taken are `vectors` in all, which end with the rows.
            unsafe {
                while left >= PIXELS {
                    self.group::<S, K, T, PIXELS>(tile, places.take());
                    left -= PIXELS;
                }
                match left {
                    2 => self.group::<S, K, T, 2>(tile, places.take()),
                    1 => self.group::<S, K, T, 1>(tile, places.take()),
                    _ => (),
                }
            }
        }
    }

    /// # Safety
    /// As [`Job::tiles_of`]; the places are within the rows and begin within the columns.
    #[inline(always)]
    unsafe fn group<S: Simd, const K: usize, const T: usize, const P: usize>(
        &self,
        tile: usize,
        places: [PixelPosition; P],
    ) {
        // SAFETY: as above.
        unsafe {
            let mut sums = self.sums::<S, K, T, P>(tile, &places);
            if self.convolution.spec.activation == Activation::Relu {
                let zero = S::splat(0.0);
                for sum in sums.as_flattened_mut() {
                    *sum = S::max(*sum, zero);
                }
            }
            match self.convolution.spec.kind {
                ConvKind::Conv1x1 | ConvKind::Conv3x3 => self.write::<S, T, P>(tile, &places, &sums),
                ConvKind::ConvTranspose2x2 => self.write_doubled::<S, T, P>(tile, &places, &sums),
            }
        }
    }

    /// # Safety
    /// As [`Job::group`].
    #[inline(always)]
    unsafe fn sums<S: Simd, const K: usize, const T: usize, const P: usize>(
        &self,
        tile: usize,
        places: &[PixelPosition; P],
    ) -> [[S::V; P]; T] {
        let DirectConv { spec: ConvSpec { input, .. }, weights, bias, .. } = self.convolution;
        let (channel, line) = (input.channel_stride(), input.line_stride());
        let reach = K / 2;
        // SAFETY: the packed weights hold `K * channels * K * T` values a tile, and the bias `T`. A place begins
        // within the columns: its vector and one pixel on either side lie within its stored row, and the rows
        // above and below are stored, too; the origin is at least one row and one pixel into the buffer.
        unsafe {
            let mut sums = [[S::splat(0.0); P]; T];
            for (at, sums) in sums.iter_mut().enumerate() {
                *sums = [S::splat(*bias.as_ptr().add(tile * T + at)); P];
            }
            let mut weights = weights.as_ptr().add(tile * K * K * input.channels() * T);
            let mut lines = [self.input.as_ptr(); P];
            for (at, place) in lines.iter_mut().zip(places) {
                *at = at.add(input.index(0, place.y, place.x) - reach * line - reach);
            }
            for _ in 0..K {
                let mut offset = 0;
                for _ in 0..input.channels() {
                    for column in 0..K {
                        let mut pixels = [S::splat(0.0); P];
                        for (pixel, from) in pixels.iter_mut().zip(&lines) {
                            *pixel = S::load(from.add(offset + column));
                        }
                        for quarter in 0..T / 4 {
                            let sums = &mut sums[4 * quarter..4 * quarter + 4];
                            S::multiply_add(sums, weights.add(4 * quarter), &pixels);
                        }
                        weights = weights.add(T);
                    }
                    offset += channel;
                }
                for at in &mut lines {
                    *at = at.wrapping_add(line);
                }
            }
            sums
        }
    }

    /// # Safety
    /// As [`Job::group`]; no other task writes these channels and rows.
    #[inline(always)]
    unsafe fn write<S: Simd, const T: usize, const P: usize>(
        &self,
        tile: usize,
        places: &[PixelPosition; P],
        sums: &[[S::V; P]; T],
    ) {
        let output = &self.convolution.spec.output;
        for (channel, sums) in (tile * T..output.channels()).zip(sums) {
            for (place, &sum) in places.iter().zip(sums) {
                // SAFETY: the channel is the output's and the place within its rows and columns.
                unsafe { self.put::<S>(channel, place.y, place.x, sum) }
            }
        }
    }

    /// # Safety
    /// As [`Job::write`].
    #[inline(always)]
    unsafe fn write_doubled<S: Simd, const T: usize, const P: usize>(
        &self,
        tile: usize,
        places: &[PixelPosition; P],
        sums: &[[S::V; P]; T],
    ) {
        let output = &self.convolution.spec.output;
        let tiles = output.channels().div_ceil(T / 2);
        let (row, first) = (tile / tiles, tile % tiles * (T / 2));
        for (channel, pair) in (first..output.channels()).zip(sums.chunks_exact(2)) {
            for (at, place) in places.iter().enumerate() {
                // SAFETY: as in `write`; a doubled place begins within the columns, and its second half is only
                // written where it does, too.
                unsafe {
                    let [left, right] = S::interleave(pair[0][at], pair[1][at]);
                    let (y, x) = (2 * place.y + row, 2 * place.x);
                    self.put::<S>(channel, y, x, left);
                    if x + S::LANES < output.width() {
                        self.put::<S>(channel, y, x + S::LANES, right);
                    }
                }
            }
        }
    }

    /// Adds the skip and stores the part of a vector that lies within the columns.
    ///
    /// # Safety
    /// The pixel is the output's; no other task writes its row of its channel.
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, channel: usize, y: usize, x: usize, mut values: S::V) {
        let output = &self.convolution.spec.output;
        let index = output.index(channel, y, x);
        // SAFETY: `index` is within the output and the skip, which lie alike. A skip is padded, so that a whole
        // vector can be read from it; of a vector that is cut, only pixels of the row are written.
        unsafe {
            if let Some(skip) = self.skip {
                values = S::add(values, S::load(skip.as_ptr().add(index)));
            }
            let to = self.output.add(index);
            let inside = output.width() - x;
            if inside >= S::LANES {
                S::store(to, values);
            } else {
                let mut cut = [0.0; 16];
                S::store(cut.as_mut_ptr(), values);
                std::ptr::copy_nonoverlapping(cut.as_ptr(), to, inside);
            }
        }
    }
}
