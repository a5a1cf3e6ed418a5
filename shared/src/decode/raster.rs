//! Raw pixels of a file, and decoding PNG, JPEG, BMP and WebP to them.

use ::image::error::{ImageError, UnsupportedErrorKind};
use ::image::metadata::Orientation;
use ::image::{ColorType, ImageDecoder, ImageFormat, ImageReader, Limits};
use alloc::borrow::Cow;
use alloc::{boxed::Box, vec, vec::Vec};
use std::io::Cursor;

use super::{DecodeError, ImageFileFormat, jpeg};
use crate::image::{Channels, checked_pixels};

/// Memory limit for a file's metadata and one row while reading its header.
pub(super) const HEADER_BYTES: u64 = 64 << 20;

/// Samples without alpha, `[height, width, channels]`, as the file stores them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Samples {
    /// Unsigned, up to 8 bits.
    Bytes(Vec<u8>),
    /// Unsigned, up to 16 bits.
    Words(Vec<u16>),
    /// Other integers: signed, or with more bits.
    Integers(Vec<f64>),
    /// Floating point.
    Reals(Vec<f64>),
}

/// Original sample layout, if the decoder changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// As decoded.
    Whole,
    /// 1, 2 or 4 bits, scaled to 0 to 255.
    Bits(u8),
    /// Indices, which have been replaced by colors.
    Palette,
}

impl Depth {
    /// Reads bit depth and color type of a PNG: bytes 24 and 25, in the header chunk that must
    /// come first (PNG specification, 11.2.1).
    fn of_png(bytes: &[u8]) -> Self {
        match (bytes.get(24), bytes.get(25)) {
            (_, Some(3)) => Self::Palette,
            (Some(&bits @ (1 | 2 | 4)), _) => Self::Bits(bits),
            _ => Self::Whole,
        }
    }

    /// The difference of neighboring values after decoding.
    pub(super) fn step(self) -> u8 {
        match self {
            Self::Bits(bits) => u8::MAX / ((1 << bits) - 1),
            Self::Whole | Self::Palette => 1,
        }
    }
}

/// The meaning of a pixel's samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Light, or colors.
    Intensity,
    /// The absence of light.
    WhiteIsZero,
    /// Palette indices: all reds, all greens, all blues, 0 to 65535 (TIFF 6.0, section 5).
    Index(Vec<u16>),
}

/// A file's pixels, upright.
#[derive(Debug)]
pub(super) struct Raster {
    pub(super) format: ImageFileFormat,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) channels: Channels,
    pub(super) depth: Depth,
    pub(super) meaning: Meaning,
    pub(super) samples: Samples,
}

impl Raster {
    /// Decodes the `image` crate's formats other than TIFF.
    pub(super) fn decode(bytes: &[u8], format: ImageFileFormat) -> Result<Self, DecodeError> {
        let explain = |error| explain(format, error);
        let (kind, bytes) = match format {
            ImageFileFormat::Png => (ImageFormat::Png, Cow::Borrowed(bytes)),
            ImageFileFormat::Bmp => (ImageFormat::Bmp, Cow::Borrowed(bytes)),
            ImageFileFormat::WebP => (ImageFormat::WebP, Cow::Borrowed(bytes)),
            ImageFileFormat::Jpeg => (ImageFormat::Jpeg, jpeg::completed(bytes)?),
            ImageFileFormat::Tiff => return Err(DecodeError::Unsupported { format, source: None }),
        };
        let mut reader = ImageReader::with_format(Cursor::new(&bytes[..]), kind);
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(HEADER_BYTES);
        reader.limits(limits.clone());
        let mut decoder = reader.into_decoder().map_err(explain)?;

        let (width, height) = decoder.dimensions();
        checked_pixels(width, height)?;
        let layout = RasterLayout::of(decoder.color_type())
            .ok_or(DecodeError::Unsupported { format, source: None })?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let total = decoder.total_bytes();
        limits.max_alloc = Some(HEADER_BYTES + 2 * total);
        decoder.set_limits(limits).map_err(explain)?;
        let mut raw = vec![0; total as usize];
        decoder.read_image(&mut raw).map_err(explain)?;

        let depth = if format == ImageFileFormat::Png { Depth::of_png(&bytes) } else { Depth::Whole };
        let samples = if layout.bytes == 2 {
            let wide = raw.chunks_exact(2).map(|b| u16::from_ne_bytes([b[0], b[1]])).collect();
            Samples::Words(without_alpha(wide, layout))
        } else {
            Samples::Bytes(without_alpha(raw, layout))
        };
        let raster = Self {
            format,
            width,
            height,
            channels: layout.channels,
            depth,
            meaning: Meaning::Intensity,
            samples,
        };
        Ok(raster.upright(orientation))
    }

    /// The raster rotated and mirrored according to its file.
    pub(super) fn upright(self, orientation: Orientation) -> Self {
        let (width, height) = (self.width as usize, self.height as usize);
        let swapped = matches!(
            orientation,
            Orientation::Rotate90
                | Orientation::Rotate270
                | Orientation::Rotate90FlipH
                | Orientation::Rotate270FlipH
        );
        let (across, down) = if swapped { (height, width) } else { (width, height) };
        // The file's position of the pixel `(x, y)` of the upright image.
        let source = |x: usize, y: usize| match orientation {
            Orientation::NoTransforms => (x, y),
            Orientation::FlipHorizontal => (width - 1 - x, y),
            Orientation::Rotate180 => (width - 1 - x, height - 1 - y),
            Orientation::FlipVertical => (x, height - 1 - y),
            Orientation::Rotate90FlipH => (y, x),
            Orientation::Rotate90 => (y, height - 1 - x),
            Orientation::Rotate270FlipH => (width - 1 - y, height - 1 - x),
            Orientation::Rotate270 => (width - 1 - y, x),
        };
        if orientation == Orientation::NoTransforms {
            return self;
        }
        let channels = self.channels.count();
        let order: Vec<usize> = (0..across * down)
            .map(|at| {
                let (x, y) = source(at % across, at / across);
                y * width + x
            })
            .collect();
        let samples = match self.samples {
            Samples::Bytes(samples) => Samples::Bytes(reordered(&samples, channels, &order)),
            Samples::Words(samples) => Samples::Words(reordered(&samples, channels, &order)),
            Samples::Integers(samples) => Samples::Integers(reordered(&samples, channels, &order)),
            Samples::Reals(samples) => Samples::Reals(reordered(&samples, channels, &order)),
        };
        Self { width: across as u32, height: down as u32, samples, ..self }
    }
}

fn reordered<T: Copy>(samples_hwc: &[T], channels: usize, order: &[usize]) -> Vec<T> {
    order.iter().flat_map(|&at| samples_hwc[at * channels..][..channels].iter().copied()).collect()
}

/// What the decoder hands over for a pixel.
#[derive(Clone, Copy)]
struct RasterLayout {
    channels: Channels,
    alpha: usize,
    bytes: u8,
}

impl RasterLayout {
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

fn without_alpha<T: Copy>(samples: Vec<T>, layout: RasterLayout) -> Vec<T> {
    if layout.alpha == 0 {
        return samples;
    }
    let colours = layout.channels.count();
    samples.chunks_exact(colours + layout.alpha).flat_map(|pixel| pixel[..colours].iter().copied()).collect()
}

fn explain(format: ImageFileFormat, error: ImageError) -> DecodeError {
    match error {
        ImageError::Limits(_) => DecodeError::Memory { format },
        ImageError::Unsupported(ref reason) if !matches!(reason.kind(), UnsupportedErrorKind::Format(_)) => {
            DecodeError::Unsupported { format, source: Some(Box::new(error)) }
        }
        error => DecodeError::Damaged { format, source: Some(Box::new(error)) },
    }
}
