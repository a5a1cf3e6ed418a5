//! Conversion of camera data to images.

use shared::{Channels, DecodeError, Image, SizeError, checked_pixels, decode_image};
use thiserror::Error;

/// How a camera lays out its pixels. Colors first, raw before compressed: the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PixelFormat {
    /// Red, green, blue, one byte each.
    Rgb3,
    /// Blue, green, red, one byte each.
    Bgr3,
    /// Two brightnesses that share a color: Y0 Cb Y1 Cr, BT.601 of limited range.
    Yuyv,
    /// Brightness only, one byte.
    Grey,
    /// One JPEG per frame.
    Mjpg,
}

impl PixelFormat {
    /// Every format, the best first.
    pub(super) const ALL: [Self; 5] = [Self::Rgb3, Self::Bgr3, Self::Yuyv, Self::Grey, Self::Mjpg];

    /// V4L2's code.
    pub(super) const fn fourcc(self) -> &'static [u8; 4] {
        match self {
            Self::Rgb3 => b"RGB3",
            Self::Bgr3 => b"BGR3",
            Self::Yuyv => b"YUYV",
            Self::Grey => b"GREY",
            Self::Mjpg => b"MJPG",
        }
    }

    /// Bytes of a row without padding.
    const fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::Rgb3 | Self::Bgr3 => 3 * width,
            Self::Yuyv => 4 * width.div_ceil(2),
            Self::Grey | Self::Mjpg => width,
        }
    }
}

/// How a camera's frames are laid out in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PixelLayout {
    pub(super) format: PixelFormat,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bytes from one row to the next; 0 if rows are contiguous.
    pub(super) stride: u32,
}

/// Why camera data cannot be converted to an image.
#[derive(Debug, Error)]
pub enum ConvertError {
    /// The size is out of range.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The frame is truncated.
    #[error("the frame has {actual} of {expected} bytes")]
    Short {
        /// Bytes of a whole frame.
        expected: usize,
        /// Bytes that came.
        actual: usize,
    },
    /// Rows overlap.
    #[error("the camera's rows are {stride} bytes apart, but a row has {row} bytes")]
    Stride {
        /// Bytes from one row to the next.
        stride: usize,
        /// Bytes of a row.
        row: usize,
    },
    /// The frame is not a JPEG.
    #[error("the frame's JPEG is damaged")]
    Jpeg(#[from] DecodeError),
}

/// Converts a frame's bytes to an image.
pub(super) fn convert(bytes: &[u8], layout: PixelLayout) -> Result<Image, ConvertError> {
    let PixelLayout { format, width, height, stride } = layout;
    if format == PixelFormat::Mjpg {
        return Ok(decode_image(bytes)?);
    }
    let pixels = checked_pixels(width, height)?;
    let (width_px, height_px) = (width as usize, height as usize);
    let row = format.row_bytes(width_px);
    let stride = if stride == 0 { row } else { stride as usize };
    if stride < row {
        return Err(ConvertError::Stride { stride, row });
    }
    let expected = (height_px - 1) * stride + row;
    if bytes.len() < expected {
        return Err(ConvertError::Short { expected, actual: bytes.len() });
    }
    let rows = bytes.chunks(stride).take(height_px).map(|padded| &padded[..row]);
    let channels = if format == PixelFormat::Grey { Channels::Grey } else { Channels::Rgb };
    let mut samples_hwc = Vec::with_capacity(pixels * channels.count());
    match format {
        PixelFormat::Grey | PixelFormat::Rgb3 | PixelFormat::Mjpg => {
            rows.for_each(|row| samples_hwc.extend_from_slice(row));
        }
        PixelFormat::Bgr3 => {
            rows.for_each(|row| samples_hwc.extend(row.chunks_exact(3).flat_map(|p| [p[2], p[1], p[0]])));
        }
        PixelFormat::Yuyv => rows.for_each(|row| {
            let end = samples_hwc.len() + 3 * width_px;
            for pair in row.as_chunks().0 {
                samples_hwc.extend_from_slice(yuyv_pair(*pair).as_flattened());
            }
            samples_hwc.truncate(end);
        }),
    }
    Ok(Image::new(width, height, channels, samples_hwc)?)
}

/// Two pixels of RGB from Y0 Cb Y1 Cr: BT.601 of limited range in 8-bit fixed point.
fn yuyv_pair([y0, cb, y1, cr]: [u8; 4]) -> [[u8; 3]; 2] {
    let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
    let (red, green, blue) = (409 * cr, -100 * cb - 208 * cr, 516 * cb);
    [y0, y1].map(|y| {
        let y = 298 * (i32::from(y) - 16) + 128;
        [red, green, blue].map(|colour| ((y + colour) >> 8).clamp(0, 255) as u8)
    })
}

#[cfg(test)]
mod tests;
