//! Maps in memory: sixteen pictures side by side in every line of the cache.
//!
//! Pixels run row by row, channels within a pixel, and the pictures of a group of sixteen within a channel. A
//! vector is then the same place of sixteen pictures: no convolution, whatever its stride, shifts within one, and
//! no width or number of channels leaves a rest.

use serde::{Deserialize, Serialize};

/// Pictures in a line.
pub const PICTURES: usize = 16;

/// One number of each picture.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub struct Floats(pub [f32; PICTURES]);

/// Factors of products, 32 bits for each picture: an `f32`, or two `bf16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Words(pub [u32; PICTURES]);

impl Floats {
    pub const ZERO: Self = Self([0.0; PICTURES]);

    /// The sums of the first and of the second half.
    #[inline(always)]
    pub fn halves(&self) -> [f32; 2] {
        let quarter = |first: usize| -> f32 {
            let [a, b, c, d] = [self.0[first], self.0[first + 1], self.0[first + 2], self.0[first + 3]];
            (a + b) + (c + d)
        };
        [quarter(0) + quarter(4), quarter(8) + quarter(12)]
    }

    pub fn total(&self) -> f64 {
        self.0.iter().copied().map(f64::from).sum()
    }
}

/// How the factors of products are held. Sums, and all that is not a product of a convolution, are `f32` in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// One `f32` a word.
    F32,
    /// Two `bf16` a word.
    Bf16,
}

impl Precision {
    /// Its display name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::Bf16 => "BF16",
        }
    }

    /// Lines that hold the factors of `channels` channels.
    pub const fn units(self, channels: usize) -> usize {
        match self {
            Self::F32 => channels,
            Self::Bf16 => channels.div_ceil(2),
        }
    }
}

/// Height, width and channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl Size {
    pub const fn lines(self) -> usize {
        self.height * self.width * self.channels
    }

    /// Lines of a row.
    pub const fn row(self) -> usize {
        self.width * self.channels
    }
}

/// Sums or gradients, `[group, height, width, channel]`.
#[derive(Debug)]
pub struct Raw {
    pub size: Size,
    pub lines: Vec<Floats>,
}

impl Raw {
    pub fn new(groups: usize, size: Size) -> Self {
        Self { size, lines: vec![Floats::ZERO; groups * size.lines()] }
    }

    /// A row of all groups laid end to end.
    pub fn row(&self, row: usize) -> &[Floats] {
        &self.lines[row * self.size.row()..(row + 1) * self.size.row()]
    }
}

/// What convolutions take: factors with a border of zeros one pixel wide, `[group, height + 2, width + 2, unit]`.
///
/// A sum over channels takes them in pairs, a sum over pictures takes pictures in pairs: two `bf16` of one word
/// must then be of two channels, or of two pictures. A map of `bf16` is held in both orders.
#[derive(Debug)]
pub struct Map {
    pub size: Size,
    pub precision: Precision,
    /// In a word the picture's channels `2 u` and `2 u + 1`, or an `f32`.
    pub by_channel: Vec<Words>,
    /// In a line's first half all pictures of channel `2 u`, in its second those of `2 u + 1`; empty for `f32`.
    pub by_picture: Vec<Words>,
}

impl Map {
    pub fn new(groups: usize, size: Size, precision: Precision) -> Self {
        let lines = groups * (size.height + 2) * (size.width + 2) * precision.units(size.channels);
        let zeros = |lines| vec![Words([0; PICTURES]); lines];
        let by_picture = zeros(if precision == Precision::Bf16 { lines } else { 0 });
        Self { size, precision, by_channel: zeros(lines), by_picture }
    }

    pub const fn units(&self) -> usize {
        self.precision.units(self.size.channels)
    }

    /// Lines of a row with its border.
    pub const fn row(&self) -> usize {
        (self.size.width + 2) * self.units()
    }

    /// Factors that a sum over pictures takes.
    pub fn for_pictures(&self) -> &[Words] {
        if self.by_picture.is_empty() { &self.by_channel } else { &self.by_picture }
    }
}
