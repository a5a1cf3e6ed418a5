//! PNG, TIFF and JPEG bytes to pictures, masks and label images.
//!
//! The format is read from the bytes, never from a file's name. The header's size is checked against
//! [`MAX_SIDE`](crate::MAX_SIDE) and [`MAX_PIXELS`](crate::MAX_PIXELS) before memory for pixels is
//! taken. Alpha is ignored, and so are orientation tags and colour profiles; of a TIFF with several pages
//! the first is read.

use ::image::error::{ImageError, UnsupportedErrorKind};
use ::image::{ColorType, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader, Limits};
use alloc::{vec, vec::Vec};
use core::fmt;
use std::io::Cursor;
use thiserror::Error;

use crate::image::{Channels, Image, SizeError, checked_pixels};
use crate::label_image::LabelImage;

/// Most bytes that a file's metadata and one row may take while its header is read.
const HEADER_BYTES: u64 = 64 << 20;

/// The kinds of file that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PictureFormat {
    /// Portable Network Graphics.
    Png,
    /// Tagged Image File Format.
    Tiff,
    /// JPEG.
    Jpeg,
}

impl fmt::Display for PictureFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Tiff => "TIFF",
            Self::Jpeg => "JPEG",
        })
    }
}

/// Why bytes are no picture that can be used.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// Neither PNG, TIFF nor JPEG.
    #[error("the bytes are no PNG, TIFF or JPEG")]
    UnknownFormat,
    /// The header's size is out of range.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The file breaks the rules of its format, or ends too soon.
    #[error("the {format} is damaged or incomplete")]
    Damaged {
        /// What the file claims to be.
        format: PictureFormat,
        /// What the decoder found.
        #[source]
        source: Option<ImageError>,
    },
    /// A layout that is not read, such as floating point samples.
    #[error("this kind of {format} is not read")]
    Unsupported {
        /// What the file is.
        format: PictureFormat,
        /// What the decoder does not know.
        #[source]
        source: Option<ImageError>,
    },
    /// The file asks for more memory than its size in pixels explains.
    #[error("decoding the {format} would take more memory than a picture of its size may")]
    Memory {
        /// What the file is.
        format: PictureFormat,
    },
    /// Labels in colour or from a palette, whose numbers are lost.
    #[error(
        "a label image must be a grey PNG or TIFF whose samples are the labels, this {format} is {found}"
    )]
    NotLabels {
        /// What the file is.
        format: PictureFormat,
        /// What was found instead of grey samples.
        found: &'static str,
    },
}

/// One nucleus of a picture, `[height, width]`, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Whether each pixel is part of the nucleus.
    pub inside_hw: Vec<bool>,
}

/// Decodes a picture to 8 bits, grey or RGB.
///
/// A colour picture whose three channels are equal everywhere becomes [`Channels::Grey`].
///
/// Cameras put 10, 12 or 14 bits into 16, so the depth of a 16-bit picture is taken as the smallest
/// `b >= 8` with all its colour samples below `2^b`, and samples are shifted right by `b - 8`.
///
/// # Errors
/// [`DecodeError`], but not `NotLabels`.
pub fn decode_image(bytes: &[u8]) -> Result<Image, DecodeError> {
    let raster = Raster::decode(bytes)?;
    let (width, height) = (raster.width, raster.height);
    let samples = match raster.samples {
        Samples::Eight(samples) => samples,
        Samples::Sixteen(samples) => {
            let max = samples.iter().copied().max().unwrap_or(0);
            let shift = (u16::BITS - max.leading_zeros()).saturating_sub(8);
            samples.into_iter().map(|sample| (sample >> shift) as u8).collect()
        }
    };
    let all_grey = || samples.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]);
    Ok(match raster.channels {
        Channels::Rgb if all_grey() => {
            Image::new(width, height, Channels::Grey, samples.into_iter().step_by(3).collect())?
        }
        channels => Image::new(width, height, channels, samples)?,
    })
}

/// Decodes a label image: a grey PNG or TIFF whose samples are the labels, as they are.
///
/// # Errors
/// [`DecodeError`]; `NotLabels` for colour, for a palette and for JPEG, which changes samples.
pub fn decode_labels(bytes: &[u8]) -> Result<LabelImage, DecodeError> {
    let raster = Raster::decode(bytes)?;
    let refused = |found| Err(DecodeError::NotLabels { format: raster.format, found });
    if raster.format == PictureFormat::Jpeg {
        return refused("lossy");
    }
    if raster.depth == Depth::Palette {
        return refused("drawn from a palette");
    }
    if raster.channels == Channels::Rgb {
        return refused("in colour");
    }
    let step = raster.depth.step();
    let labels_hw = match raster.samples {
        Samples::Eight(samples) => samples.into_iter().map(|sample| u32::from(sample / step)).collect(),
        Samples::Sixteen(samples) => samples.into_iter().map(u32::from).collect(),
    };
    Ok(LabelImage::new(raster.width, raster.height, labels_hw)?)
}

/// Decodes the mask of one nucleus: every pixel with a colour sample above zero is part of it.
///
/// # Errors
/// [`DecodeError`], but not `NotLabels`.
pub fn decode_mask(bytes: &[u8]) -> Result<Mask, DecodeError> {
    let raster = Raster::decode(bytes)?;
    let channels = raster.channels.count();
    let inside_hw = match raster.samples {
        Samples::Eight(samples) => samples.chunks_exact(channels).map(|p| p.iter().any(|&s| s > 0)).collect(),
        Samples::Sixteen(samples) => {
            samples.chunks_exact(channels).map(|p| p.iter().any(|&s| s > 0)).collect()
        }
    };
    Ok(Mask { width: raster.width, height: raster.height, inside_hw })
}

/// Samples without alpha, `[height, width, channels]`.
enum Samples {
    Eight(Vec<u8>),
    Sixteen(Vec<u16>),
}

/// How samples lie in the file, where the decoder does not keep it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// As decoded.
    Whole,
    /// 1, 2 or 4 bits, which the decoder spreads over 0 to 255.
    Bits(u8),
    /// Indices, which the decoder replaces by colours.
    Palette,
}

impl Depth {
    /// Reads bit depth and colour type of a PNG: bytes 24 and 25, in the header chunk that must
    /// come first (PNG specification, 11.2.1).
    fn of_png(bytes: &[u8]) -> Self {
        match (bytes.get(24), bytes.get(25)) {
            (_, Some(3)) => Self::Palette,
            (Some(&bits @ (1 | 2 | 4)), _) => Self::Bits(bits),
            _ => Self::Whole,
        }
    }

    /// The distance of two neighbouring values after decoding.
    fn step(self) -> u8 {
        match self {
            Self::Bits(bits) => u8::MAX / ((1 << bits) - 1),
            Self::Whole | Self::Palette => 1,
        }
    }
}

/// A file's pixels, before they mean anything.
struct Raster {
    format: PictureFormat,
    width: u32,
    height: u32,
    channels: Channels,
    depth: Depth,
    samples: Samples,
}

impl Raster {
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (format, kind) = match ::image::guess_format(bytes) {
            Ok(kind @ ImageFormat::Png) => (PictureFormat::Png, kind),
            Ok(kind @ ImageFormat::Tiff) => (PictureFormat::Tiff, kind),
            Ok(kind @ ImageFormat::Jpeg) => (PictureFormat::Jpeg, kind),
            _ => return Err(DecodeError::UnknownFormat),
        };
        let mut reader = ImageReader::with_format(Cursor::new(bytes), kind);
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(HEADER_BYTES);
        reader.limits(limits.clone());
        let mut decoder = reader.into_decoder().map_err(|e| explain(format, e))?;

        let (width, height) = decoder.dimensions();
        checked_pixels(width, height)?;
        let color = decoder.color_type();
        let layout = Layout::of(color).ok_or(DecodeError::Unsupported { format, source: None })?;
        if format == PictureFormat::Jpeg && !jpeg_ends(bytes) {
            return Err(DecodeError::Damaged { format, source: None });
        }
        let bilevel = decoder.original_color_type() == ExtendedColorType::L1;
        let total = decoder.total_bytes();
        limits.max_alloc = Some(HEADER_BYTES + 2 * total);
        decoder.set_limits(limits).map_err(|e| explain(format, e))?;
        let mut raw = vec![0; total as usize];
        decoder.read_image(&mut raw).map_err(|e| explain(format, e))?;

        let depth = match format {
            PictureFormat::Png => Depth::of_png(bytes),
            _ if bilevel => Depth::Bits(1),
            _ => Depth::Whole,
        };
        let samples = if layout.bytes == 2 {
            let wide = raw.chunks_exact(2).map(|b| u16::from_ne_bytes([b[0], b[1]])).collect();
            Samples::Sixteen(without_alpha(wide, layout))
        } else {
            Samples::Eight(without_alpha(raw, layout))
        };
        Ok(Self { format, width, height, channels: layout.channels, depth, samples })
    }
}

/// What the decoder hands over for a pixel.
#[derive(Clone, Copy)]
struct Layout {
    channels: Channels,
    alpha: usize,
    bytes: u8,
}

impl Layout {
    fn of(color: ColorType) -> Option<Self> {
        let (channels, alpha, bytes) = match color {
            ColorType::L8 => (Channels::Grey, 0, 1),
            ColorType::La8 => (Channels::Grey, 1, 1),
            ColorType::Rgb8 => (Channels::Rgb, 0, 1),
            ColorType::Rgba8 => (Channels::Rgb, 1, 1),
            ColorType::L16 => (Channels::Grey, 0, 2),
            ColorType::La16 => (Channels::Grey, 1, 2),
            ColorType::Rgb16 => (Channels::Rgb, 0, 2),
            ColorType::Rgba16 => (Channels::Rgb, 1, 2),
            _ => return None,
        };
        Some(Self { channels, alpha, bytes })
    }
}

fn without_alpha<T: Copy>(samples: Vec<T>, layout: Layout) -> Vec<T> {
    if layout.alpha == 0 {
        return samples;
    }
    let colours = layout.channels.count();
    samples.chunks_exact(colours + layout.alpha).flat_map(|pixel| pixel[..colours].iter().copied()).collect()
}

/// Whether the last scan of a JPEG is followed by its end marker.
///
/// The decoder fills what is missing with grey and says nothing. Inside a scan `FF` is followed by
/// zero or a restart marker (ITU-T T.81, B.1.1.5), so that the end marker cannot appear there.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let scan = bytes.windows(2).rposition(|pair| pair == [0xFF, 0xDA]).unwrap_or(0);
    bytes[scan..].windows(2).any(|pair| pair == [0xFF, 0xD9])
}

fn explain(format: PictureFormat, error: ImageError) -> DecodeError {
    match error {
        ImageError::Limits(_) => DecodeError::Memory { format },
        ImageError::Unsupported(ref reason) if !matches!(reason.kind(), UnsupportedErrorKind::Format(_)) => {
            DecodeError::Unsupported { format, source: Some(error) }
        }
        error => DecodeError::Damaged { format, source: Some(error) },
    }
}

#[cfg(test)]
mod tests;
