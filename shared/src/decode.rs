//! Decodes PNG, TIFF, JPEG, BMP and WebP to images, masks and label images.
//!
//! The format is detected from the content, never from the file name. The header's size is checked against
//! [`MAX_SIDE`](crate::MAX_SIDE) and [`MAX_PIXELS`](crate::MAX_PIXELS) before memory for pixels is taken. Alpha and
//! color profiles are ignored, images are rotated according to their orientation tag, and a [`PlaneSelection`] selects
//! the plane of a TIFF with several.

use ::image::ImageFormat;
use alloc::{boxed::Box, vec::Vec};
use core::error::Error as StdError;
use core::fmt;
use thiserror::Error;

use crate::image::{Channels, Image, SizeError, ValueScale};
use crate::label_image::LabelImage;
use crate::units::PixelSize;
use raster::{Depth, Meaning, Raster, Samples};
use tiff::TiffPlane;

mod depth;
mod directory;
mod jpeg;
mod planes;
mod raster;
mod tiff;

pub use planes::{ChannelChoice, PlaneChoice, PlaneChoiceError, PlaneError, PlaneSelection, PlaneSummary};

/// What a decoder found.
type Cause = Box<dyn StdError + Send + Sync>;

/// The supported formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFileFormat {
    /// Portable Network Graphics.
    Png,
    /// Tagged Image File Format.
    Tiff,
    /// JPEG.
    Jpeg,
    /// Windows bitmap.
    Bmp,
    /// WebP.
    WebP,
}

impl ImageFileFormat {
    fn of(bytes: &[u8]) -> Result<Self, DecodeError> {
        // BigTIFF has a version of its own, which `image` does not know.
        if matches!(bytes, [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..]) {
            return Ok(Self::Tiff);
        }
        if let Some(format) = Proprietary::of(bytes) {
            return Err(DecodeError::Proprietary { format });
        }
        match ::image::guess_format(bytes) {
            Ok(ImageFormat::Png) => Ok(Self::Png),
            Ok(ImageFormat::Jpeg) => Ok(Self::Jpeg),
            Ok(ImageFormat::Bmp) => Ok(Self::Bmp),
            Ok(ImageFormat::WebP) => Ok(Self::WebP),
            _ => Err(DecodeError::UnknownFormat),
        }
    }
}

impl fmt::Display for ImageFileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Tiff => "TIFF",
            Self::Jpeg => "JPEG",
            Self::Bmp => "BMP",
            Self::WebP => "WebP",
        })
    }
}

/// Microscope vendors' containers, which are recognized so that the error can explain how to export from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proprietary {
    /// Nikon NIS-Elements.
    Nd2,
    /// Zeiss ZEN.
    Czi,
    /// Leica LAS X.
    Lif,
    /// OLE compound files: Zeiss AxioVision, Olympus FluoView, Nikon.
    Ole,
    /// HDF5: Imaris and others.
    Hdf5,
}

impl Proprietary {
    /// The magic bytes of such a file.
    fn of(bytes: &[u8]) -> Option<Self> {
        let begins = |magic: &[u8]| bytes.starts_with(magic);
        Some(match bytes {
            _ if begins(&[0xDA, 0xCE, 0xBE, 0x0A]) => Self::Nd2,
            _ if begins(b"ZISRAWFILE") => Self::Czi,
            [0x70, 0, 0, 0, _, _, _, _, 0x2A, ..] => Self::Lif,
            _ if begins(&[0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1]) => Self::Ole,
            _ if begins(b"\x89HDF\r\n\x1A\n") => Self::Hdf5,
            _ => return None,
        })
    }

    /// How to export an image from it.
    pub const fn export(self) -> &'static str {
        match self {
            Self::Nd2 => "export it as TIFF: File > Export in NIS-Elements, or Bio-Formats in Fiji",
            Self::Czi => "export it as TIFF: Image Export in ZEN, or Bio-Formats in Fiji",
            Self::Lif => "export it as TIFF: Export in LAS X, or Bio-Formats in Fiji",
            Self::Ole | Self::Hdf5 => {
                "export it as TIFF from the microscope's program, or with Bio-Formats in Fiji"
            }
        }
    }
}

impl fmt::Display for Proprietary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nd2 => "a Nikon ND2 file",
            Self::Czi => "a Zeiss CZI file",
            Self::Lif => "a Leica LIF file",
            Self::Ole => "an OLE compound file, as some microscopes write",
            Self::Hdf5 => "an HDF5 file, as Imaris writes",
        })
    }
}

/// Why data cannot be used as an image.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// None of the supported formats.
    #[error("the data is not PNG, TIFF, JPEG, BMP or WebP")]
    UnknownFormat,
    /// A microscope vendor's container.
    #[error("this is {format}, which only the vendor's programs and Bio-Formats can read")]
    Proprietary {
        /// Which one.
        format: Proprietary,
    },
    /// The header's size is out of range.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The file has no plane or channel of that number or name.
    #[error(transparent)]
    Plane(#[from] PlaneError),
    /// The file violates its format, or is truncated.
    #[error("the {format} is damaged or incomplete")]
    Damaged {
        /// The file's format.
        format: ImageFileFormat,
        /// What the decoder found.
        #[source]
        source: Option<Cause>,
    },
    /// An unsupported layout, such as samples of 12 bits without padding.
    #[error("this kind of {format} is not supported")]
    Unsupported {
        /// The file's format.
        format: ImageFileFormat,
        /// The unsupported feature.
        #[source]
        source: Option<Cause>,
    },
    /// The file needs more memory than its size in pixels justifies.
    #[error("decoding the {format} would need more memory than allowed for an image of its size")]
    Memory {
        /// The file's format.
        format: ImageFileFormat,
    },
    /// Labels in color, from a palette, lossy or fractional, so that their numbers are lost.
    #[error(
        "a label image must be a grayscale PNG or TIFF whose samples are the labels; this {format} is {found}"
    )]
    NotLabels {
        /// The file's format.
        format: ImageFileFormat,
        /// What was found instead of grayscale samples.
        found: &'static str,
    },
}

/// The mask of one nucleus, `[height, width]`, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Whether each pixel is part of the nucleus.
    pub inside_hw: Vec<bool>,
}

/// An image with its file's metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedImage {
    /// The image, 8 bits, gray or RGB.
    pub image: Image,
    /// The file's planes and channels, if it has several.
    pub planes: Option<PlaneSummary>,
    /// Size of a pixel, if OME or ImageJ metadata state it.
    pub pixel_size: Option<PixelSize>,
}

/// Decodes an image, or its first plane, to 8 bits, grayscale or RGB.
///
/// # Errors
/// As [`decode_plane`].
pub fn decode_image(bytes: &[u8]) -> Result<Image, DecodeError> {
    Ok(decode_plane(bytes, &PlaneSelection::default())?.image)
}

/// Decodes the selected plane of an image to 8 bits, grayscale or RGB, with the file's metadata.
///
/// Samples of more than 8 bits are mapped linearly, by quantiles, so that an offset or single hot pixels do not matter;
/// [`Image::value_scale`] restores the file's own values. A color image becomes
/// [`Channels::Grey`] where its three channels are equal everywhere, or where only one of them holds a signal,
/// as when a fluorescence image is saved in its channel's color. So does a palette that is a ramp, as ImageJ's
/// look-up tables are.
///
/// # Errors
/// [`DecodeError`], but not `NotLabels`.
pub fn decode_plane(bytes: &[u8], selection: &PlaneSelection) -> Result<DecodedImage, DecodeError> {
    let (raster, planes, pixel_size) = match ImageFileFormat::of(bytes)? {
        ImageFileFormat::Tiff => {
            let TiffPlane { raster, planes, pixel_size } = TiffPlane::decode(bytes, selection)?;
            (raster, planes, pixel_size)
        }
        format => {
            check_single(selection)?;
            (Raster::decode(bytes, format)?, None, None)
        }
    };
    Ok(DecodedImage { image: image_of(raster)?, planes, pixel_size })
}

/// Rejects a plane selection in a format with a single plane.
fn check_single(selection: &PlaneSelection) -> Result<(), PlaneError> {
    planes::single().choose(selection).map(|_| ())
}

fn image_of(raster: Raster) -> Result<Image, DecodeError> {
    let Raster { width, height, mut channels, mut samples, meaning, .. } = raster;
    match meaning {
        Meaning::Intensity => {}
        Meaning::WhiteIsZero => samples = inverted(samples),
        Meaning::Index(table) if is_ramp(&table) => {}
        Meaning::Index(table) => {
            samples = coloured(&samples, &table);
            channels = Channels::Rgb;
        }
    }
    let count = channels.count();
    let wide = |values: &[f64], whole| depth::to_bytes(values, count, whole);
    let (samples, scale) = match samples {
        Samples::Bytes(samples) => (samples, ValueScale::BYTES),
        Samples::Words(samples) => wide(&samples.into_iter().map(f64::from).collect::<Vec<_>>(), true),
        Samples::Integers(samples) => wide(&samples, true),
        Samples::Reals(samples) => wide(&samples, false),
    };
    let (channels, samples) = match channels {
        Channels::Rgb => match signal(&samples) {
            Some(channel) => (Channels::Grey, samples.into_iter().skip(channel).step_by(3).collect()),
            None => (Channels::Rgb, samples),
        },
        Channels::Grey => (Channels::Grey, samples),
    };
    Ok(Image::new(width, height, channels, samples)?.with_value_scale(scale))
}

/// Inverts samples whose zero is white.
fn inverted(samples: Samples) -> Samples {
    match samples {
        Samples::Bytes(samples) => Samples::Bytes(samples.into_iter().map(|sample| !sample).collect()),
        Samples::Words(samples) => Samples::Words(samples.into_iter().map(|sample| !sample).collect()),
        Samples::Integers(samples) => Samples::Integers(samples.into_iter().map(|sample| -sample).collect()),
        Samples::Reals(samples) => Samples::Reals(samples.into_iter().map(|sample| -sample).collect()),
    }
}

/// Whether a palette rises from its first to its last entry in every color. Then the index is the intensity, and the
/// palette only its display color.
fn is_ramp(table: &[u16]) -> bool {
    let colours = table.chunks_exact((table.len() / 3).max(1));
    table.len() >= 6
        && colours.clone().count() == 3
        && colours.clone().all(|colour| colour.is_sorted())
        && colours.clone().any(|colour| colour.first() < colour.last())
}

/// The colors of palette indices.
fn coloured(indices: &Samples, table: &[u16]) -> Samples {
    let colours = table.len() / 3;
    let at = |index: usize| {
        [0, 1, 2].map(|colour| (table.get(colour * colours + index).copied().unwrap_or(0) >> 8) as u8)
    };
    Samples::Bytes(match indices {
        Samples::Bytes(indices) => indices.iter().flat_map(|&index| at(index.into())).collect(),
        Samples::Words(indices) => indices.iter().flat_map(|&index| at(index.into())).collect(),
        Samples::Integers(_) | Samples::Reals(_) => Vec::new(),
    })
}

/// Fraction of the strongest channel's span below which another channel is only its crosstalk.
const CROSSTALK: f32 = 0.1;
/// Level below which the darkest part of a fluorescence image is.
const DARK: u8 = 64;
/// Minimum span of a channel with a signal.
const MIN_SIGNAL: u8 = 16;

/// The channel that represents all three: any if they are equal, or the only one with a signal if the others are dark
/// and even. `None` for a color image.
fn signal(samples_hwc: &[u8]) -> Option<usize> {
    let pixels = samples_hwc.as_chunks::<3>().0;
    if pixels.iter().all(|p| p[0] == p[1] && p[1] == p[2]) {
        return Some(0);
    }
    let mut histograms = [[0_u32; 256]; 3];
    for pixel in pixels {
        for (histogram, &sample) in histograms.iter_mut().zip(pixel) {
            histogram[usize::from(sample)] += 1;
        }
    }
    let edge = pixels.len() as u32 / 1000;
    let ranges = histograms.map(|histogram| {
        let reach = |seen: &mut u32, count: u32| {
            *seen += count;
            Some(*seen > edge)
        };
        let low = histogram.iter().scan(0, |seen, &count| reach(seen, count)).position(|found| found);
        let high = histogram.iter().rev().scan(0, |seen, &count| reach(seen, count)).position(|found| found);
        let (low, high) = (low.unwrap_or(0) as u8, 255 - high.unwrap_or(255) as u8);
        (low, high.saturating_sub(low))
    });
    let strongest = (0..3).max_by_key(|&channel| ranges[channel].1)?;
    let (_, span) = ranges[strongest];
    let alone = (0..3).filter(|&channel| channel != strongest).all(|channel| {
        let (low, other) = ranges[channel];
        low < DARK && f32::from(other) <= CROSSTALK * f32::from(span)
    });
    (alone && span >= MIN_SIGNAL && ranges[strongest].0 < DARK).then_some(strongest)
}

/// Decodes a label image: a grayscale PNG or TIFF whose stored samples are the labels, regardless of the TIFF's color
/// interpretation.
///
/// # Errors
/// [`DecodeError`]; `NotLabels` for color, for a palette whose indices are lost, for fractions and negative
/// numbers, and for JPEG, which changes samples.
pub fn decode_label_image(bytes: &[u8]) -> Result<LabelImage, DecodeError> {
    let raster = match ImageFileFormat::of(bytes)? {
        ImageFileFormat::Tiff => TiffPlane::decode(bytes, &PlaneSelection::default())?.raster,
        format => Raster::decode(bytes, format)?,
    };
    let refused = |found| Err(DecodeError::NotLabels { format: raster.format, found });
    if raster.format == ImageFileFormat::Jpeg {
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
        Samples::Bytes(samples) => samples.into_iter().map(|sample| u32::from(sample / step)).collect(),
        Samples::Words(samples) => samples.into_iter().map(u32::from).collect(),
        Samples::Integers(samples) | Samples::Reals(samples) => {
            let is_label = |sample: &f64| {
                (0.0..=f64::from(u32::MAX)).contains(sample) && libm::trunc(*sample) == *sample
            };
            if !samples.iter().all(is_label) {
                return refused("of fractions or negative numbers");
            }
            samples.into_iter().map(|sample| sample as u32).collect()
        }
    };
    Ok(LabelImage::new(raster.width, raster.height, labels_hw)?)
}

/// Decodes the mask of one nucleus: every pixel with a color sample above zero is part of it.
///
/// # Errors
/// [`DecodeError`], but not `NotLabels`.
pub fn decode_mask(bytes: &[u8]) -> Result<Mask, DecodeError> {
    let raster = match ImageFileFormat::of(bytes)? {
        ImageFileFormat::Tiff => TiffPlane::decode(bytes, &PlaneSelection::default())?.raster,
        format => Raster::decode(bytes, format)?,
    };
    let channels = raster.channels.count();
    fn inside<T: Copy + PartialOrd + Default>(samples: &[T], channels: usize) -> Vec<bool> {
        samples
            .chunks_exact(channels)
            .map(|pixel| pixel.iter().any(|&sample| sample > T::default()))
            .collect()
    }
    let inside_hw = match &raster.samples {
        Samples::Bytes(samples) => inside(samples, channels),
        Samples::Words(samples) => inside(samples, channels),
        Samples::Integers(samples) | Samples::Reals(samples) => inside(samples, channels),
    };
    Ok(Mask { width: raster.width, height: raster.height, inside_hw })
}

#[cfg(test)]
mod tests;
