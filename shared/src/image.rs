//! Images: interleaved 8-bit samples, grayscale or RGB.

use alloc::{vec, vec::Vec};
use thiserror::Error;

/// Maximum side of an image, in pixels.
pub const MAX_SIDE: u32 = 32_768;
/// Maximum pixels of an image, so that its probability maps and labels stay under a gigabyte.
pub const MAX_PIXELS: u64 = 1 << 26;

/// Why an image or label image cannot be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SizeError {
    /// A side is zero.
    #[error("an image of {width}x{height} pixels is empty")]
    Empty {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// Over [`MAX_SIDE`] or [`MAX_PIXELS`].
    #[error("{width}x{height} pixels are over the limit of {MAX_SIDE} per side and {MAX_PIXELS} in total")]
    TooLarge {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// The buffer does not match the size.
    #[error("expected {expected} samples, got {actual}")]
    Samples {
        /// Samples expected for the size.
        expected: usize,
        /// Samples that were given.
        actual: usize,
    },
}

/// Checks a size against the limits and returns the number of pixels.
///
/// # Errors
/// [`SizeError::Empty`] or [`SizeError::TooLarge`].
pub fn checked_pixels(width: u32, height: u32) -> Result<usize, SizeError> {
    if width == 0 || height == 0 {
        return Err(SizeError::Empty { width, height });
    }
    let pixels = u64::from(width) * u64::from(height);
    if width > MAX_SIDE || height > MAX_SIDE || pixels > MAX_PIXELS {
        return Err(SizeError::TooLarge { width, height });
    }
    Ok(pixels as usize)
}

/// The samples of one pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// One sample: brightness.
    Grey,
    /// Three samples: red, green, blue.
    Rgb,
}

impl Channels {
    /// Samples a pixel.
    pub const fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

/// What a sample of 0 to 255 is worth in the units of the file or camera that it came from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueScale {
    /// The value of sample 0.
    pub offset: f32,
    /// How much each sample above it adds.
    pub step: f32,
}

impl ValueScale {
    /// Of an image with 8 bits: samples are the values.
    pub const BYTES: Self = Self { offset: 0.0, step: 1.0 };

    /// The value of a sample, or of a mean of samples.
    pub fn value(self, sample: f32) -> f32 {
        self.offset + self.step * sample
    }
}

/// An image, `[height, width, channels]`, row-major, 0 to 255.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    width: u32,
    height: u32,
    channels: Channels,
    value_scale: ValueScale,
    samples_hwc: Vec<u8>,
}

impl Image {
    /// Wraps samples laid out `[height, width, channels]`.
    ///
    /// # Errors
    /// [`SizeError`] when the size is out of range or the buffer does not fit it.
    pub fn new(width: u32, height: u32, channels: Channels, samples_hwc: Vec<u8>) -> Result<Self, SizeError> {
        let expected = checked_pixels(width, height)? * channels.count();
        if samples_hwc.len() != expected {
            return Err(SizeError::Samples { expected, actual: samples_hwc.len() });
        }
        Ok(Self { width, height, channels, value_scale: ValueScale::BYTES, samples_hwc })
    }

    /// An image with all samples zero.
    ///
    /// # Errors
    /// [`SizeError`] when the size is out of range.
    pub fn black(width: u32, height: u32, channels: Channels) -> Result<Self, SizeError> {
        let pixels = checked_pixels(width, height)?;
        Self::new(width, height, channels, vec![0; pixels * channels.count()])
    }

    /// The image with what its samples are worth.
    #[must_use]
    pub const fn with_value_scale(mut self, value_scale: ValueScale) -> Self {
        self.value_scale = value_scale;
        self
    }

    /// What its samples are worth in its source's units.
    pub const fn value_scale(&self) -> ValueScale {
        self.value_scale
    }

    /// Pixels across.
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// Pixels down.
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// What a pixel holds.
    pub const fn channels(&self) -> Channels {
        self.channels
    }

    /// The samples, `[height, width, channels]`.
    pub fn samples_hwc(&self) -> &[u8] {
        &self.samples_hwc
    }

    /// The samples, to write to.
    pub fn samples_hwc_mut(&mut self) -> &mut [u8] {
        &mut self.samples_hwc
    }

    /// Brightness of every pixel, `[height, width]`: Rec. 601 luma in integer arithmetic.
    pub fn luma_hw(&self) -> Vec<u8> {
        match self.channels {
            Channels::Grey => self.samples_hwc.clone(),
            Channels::Rgb => self
                .samples_hwc
                .chunks_exact(3)
                .map(|p| {
                    ((77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2]) + 128) >> 8) as u8
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_buffer_must_agree() {
        assert!(Image::new(2, 2, Channels::Rgb, vec![0; 12]).is_ok());
        assert_eq!(
            Image::new(2, 2, Channels::Grey, vec![0; 5]),
            Err(SizeError::Samples { expected: 4, actual: 5 })
        );
        assert_eq!(Image::black(0, 3, Channels::Grey), Err(SizeError::Empty { width: 0, height: 3 }));
        assert!(matches!(Image::black(20_000, 20_000, Channels::Grey), Err(SizeError::TooLarge { .. })));
    }

    #[test]
    fn luma_of_grey_rgb_is_the_grey() {
        let image = Image::new(1, 2, Channels::Rgb, vec![10, 10, 10, 255, 255, 255]).unwrap();
        assert_eq!(image.luma_hw(), [10, 255]);
    }
}
