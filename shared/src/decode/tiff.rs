//! Microscopy TIFF: any depth, palettes, tiles, stacks, and OME and ImageJ metadata.

use ::image::metadata::Orientation;
use ::tiff::ColorType;
use ::tiff::TiffError;
use ::tiff::decoder::{Decoder, DecodingResult, Limits};
use ::tiff::tags::Tag;
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::{boxed::Box, vec, vec::Vec};
use std::io::Cursor;

use super::directory::{Photometric, readable};
use super::planes::{Chosen, PlaneSelection, PlaneSummary, Stack};
use super::raster::{Depth, HEADER_BYTES, Meaning, Raster, Samples};
use super::{DecodeError, ImageFileFormat};
use crate::image::{Channels, checked_pixels};
use crate::units::PixelSize;

const FORMAT: ImageFileFormat = ImageFileFormat::Tiff;
/// NewSubfileType's bit for a reduced copy of another page (TIFF 6.0, section 8).
const REDUCED: u32 = 1;
/// Maximum bytes of a strip or tile.
const MAX_CHUNK_BYTES: usize = 1 << 30;

/// The content of a TIFF, and the selected plane.
#[derive(Debug)]
pub(super) struct TiffPlane {
    pub(super) raster: Raster,
    pub(super) planes: Option<PlaneSummary>,
    pub(super) pixel_size: Option<PixelSize>,
}

impl TiffPlane {
    /// Reads the selected plane.
    pub(super) fn decode(bytes: &[u8], selection: &PlaneSelection) -> Result<Self, DecodeError> {
        let (bytes, photometric) = readable(bytes);
        let mut pages = Pages::open(bytes)?;
        let stack = Stack::of(pages.description(), pages.indices.len(), pages.bands()?);
        let Chosen { pages: chosen, band, summary } = stack.choose(selection)?;
        let mut merged: Option<Raster> = None;
        for page in chosen {
            let raster = pages.read(page, &photometric, band)?;
            merged = Some(match merged {
                None => raster,
                Some(sum) => brighter(sum, raster),
            });
        }
        let raster = merged.ok_or(DecodeError::Damaged { format: FORMAT, source: None })?;
        Ok(Self { raster, planes: summary, pixel_size: stack.pixel_size(pages.pixels_per_unit()) })
    }
}

/// Maximum projection of two planes of equal size.
fn brighter(a: Raster, b: Raster) -> Raster {
    fn each<T: PartialOrd + Copy>(a: Vec<T>, b: &[T]) -> Vec<T> {
        a.into_iter().zip(b).map(|(a, &b)| if b > a { b } else { a }).collect()
    }
    let samples = match (a.samples, b.samples) {
        (Samples::Bytes(a), Samples::Bytes(b)) => Samples::Bytes(each(a, &b)),
        (Samples::Words(a), Samples::Words(b)) => Samples::Words(each(a, &b)),
        (Samples::Integers(a), Samples::Integers(b)) => Samples::Integers(each(a, &b)),
        (Samples::Reals(a), Samples::Reals(b)) => Samples::Reals(each(a, &b)),
        // If pages of a stack differ in kind, the first decides.
        (first, _) => first,
    };
    Raster { samples, ..a }
}

/// The pages that are planes of one image: those with the size of the first.
struct Pages<'a> {
    decoder: Decoder<Cursor<Cow<'a, [u8]>>>,
    indices: Vec<usize>,
    width: u32,
    height: u32,
}

impl<'a> Pages<'a> {
    fn open(bytes: Cow<'a, [u8]>) -> Result<Self, DecodeError> {
        // Each page's size is checked before it is read.
        let mut limits = Limits::default();
        limits.decoding_buffer_size = usize::MAX;
        limits.intermediate_buffer_size = MAX_CHUNK_BYTES;
        limits.ifd_value_size = HEADER_BYTES as usize;
        let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(explain)?.with_limits(limits);
        let (width, height) = decoder.dimensions().map_err(explain)?;
        checked_pixels(width, height)?;
        let (mut indices, mut index) = (vec![0], 0);
        while decoder.more_images() {
            // A page of unknown kind, such as a thumbnail, is not a plane.
            index += 1;
            if decoder.next_image().is_err() {
                if decoder.more_images() { continue } else { break }
            }
            let kind = decoder.find_tag_unsigned::<u32>(Tag::NewSubfileType).ok().flatten().unwrap_or(0);
            if decoder.dimensions().is_ok_and(|size| size == (width, height)) && kind & REDUCED == 0 {
                indices.push(index);
            }
        }
        decoder.seek_to_image(0).map_err(explain)?;
        Ok(Self { decoder, indices, width, height })
    }

    /// The first page's description, if any.
    fn description(&mut self) -> String {
        let bytes = self.decoder.find_tag(Tag::ImageDescription).ok().flatten();
        bytes.and_then(|value| value.into_string().ok()).unwrap_or_default()
    }

    /// Horizontal pixels per unit, as written by ImageJ.
    fn pixels_per_unit(&mut self) -> Option<f64> {
        self.decoder.seek_to_image(0).ok()?;
        match self.decoder.find_tag(Tag::XResolution).ok()?? {
            ::tiff::decoder::ifd::Value::Rational(pixels, units) if units > 0 => {
                Some(f64::from(pixels) / f64::from(units))
            }
            _ => None,
        }
    }

    /// Whether the samples of a pixel are separate channels rather than a color.
    fn bands(&mut self) -> Result<u32, DecodeError> {
        Ok(match self.decoder.colortype().map_err(explain)? {
            ColorType::Multiband { num_samples, .. } if !self.has_alpha() => num_samples.into(),
            _ => 1,
        })
    }

    /// Whether the only extra sample is alpha (TIFF 6.0, section 18: 1 and 2; 0 is unspecified).
    fn has_alpha(&mut self) -> bool {
        let extra = self.decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples).ok().flatten();
        extra.is_some_and(|extra| matches!(extra[..], [1 | 2]))
    }

    /// Decodes one page; `band` selects a sample of each pixel if they are channels.
    fn read(
        &mut self,
        page: usize,
        photometric: &[Photometric],
        band: Option<u32>,
    ) -> Result<Raster, DecodeError> {
        let index = *self.indices.get(page).ok_or(DecodeError::Damaged { format: FORMAT, source: None })?;
        self.decoder.seek_to_image(index).map_err(explain)?;
        let unsupported = || DecodeError::Unsupported { format: FORMAT, source: None };
        let colour = self.decoder.colortype().map_err(explain)?;
        let (bits, per_pixel) = (colour.bit_depth(), usize::from(colour.num_samples()));
        if !matches!(bits, 1 | 2 | 4 | 8 | 16 | 32 | 64) || bits < 8 && per_pixel > 1 {
            return Err(unsupported());
        }
        let layout = self.decoder.image_buffer_layout().map_err(explain)?;
        let pixels = checked_pixels(self.width, self.height)?;
        if layout.complete_len > pixels.saturating_mul(per_pixel).saturating_mul(8).max(1 << 16) {
            return Err(DecodeError::Memory { format: FORMAT });
        }
        let mut decoded = DecodingResult::U8(Vec::new());
        self.decoder.read_image_to_buffer(&mut decoded).map_err(explain)?;

        let planar = layout.planes > 1;
        let mut samples = samples_of(decoded);
        if bits < 8 {
            let Samples::Bytes(packed) = samples else { return Err(unsupported()) };
            samples = Samples::Bytes(unpacked(&packed, self.width as usize, self.height as usize, bits));
        }
        let picked = |wanted: &[usize]| Pick { per_pixel, planar, pixels, wanted: wanted.to_vec() };
        let (channels, samples) = match colour {
            ColorType::Gray(_) | ColorType::GrayA(_) => (Channels::Grey, picked(&[0]).apply(samples)),
            ColorType::RGB(_) | ColorType::RGBA(_) => (Channels::Rgb, picked(&[0, 1, 2]).apply(samples)),
            ColorType::Multiband { .. } => {
                (Channels::Grey, picked(&[band.unwrap_or(0) as usize]).apply(samples))
            }
            ColorType::YCbCr(8) => {
                (Channels::Rgb, rgb_of_ycbcr(picked(&[0, 1, 2]).apply(samples)).ok_or_else(unsupported)?)
            }
            ColorType::CMYK(8) => {
                (Channels::Rgb, rgb_of_cmyk(picked(&[0, 1, 2, 3]).apply(samples)).ok_or_else(unsupported)?)
            }
            _ => return Err(unsupported()),
        };
        let orientation = self.decoder.find_tag_unsigned::<u8>(Tag::Orientation).ok().flatten();
        let orientation = orientation.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms);
        let depth = if bits < 8 { Depth::Bits(bits) } else { Depth::Whole };
        let meaning = match photometric.get(index) {
            Some(Photometric::WhiteIsZero) => Meaning::WhiteIsZero,
            Some(Photometric::Palette) => {
                Meaning::Index(self.decoder.get_tag_u16_vec(Tag::ColorMap).map_err(explain)?)
            }
            _ => Meaning::Intensity,
        };
        let (width, height) = (self.width, self.height);
        let raster = Raster { format: FORMAT, width, height, channels, depth, meaning, samples };
        Ok(raster.upright(orientation))
    }
}

fn samples_of(decoded: DecodingResult) -> Samples {
    fn each<T: Into<f64>>(values: Vec<T>) -> Vec<f64> {
        values.into_iter().map(Into::into).collect()
    }
    match decoded {
        DecodingResult::U8(values) => Samples::Bytes(values),
        DecodingResult::U16(values) => Samples::Words(values),
        DecodingResult::U32(values) => Samples::Integers(each(values)),
        DecodingResult::U64(values) => Samples::Integers(values.into_iter().map(|v| v as f64).collect()),
        DecodingResult::I8(values) => Samples::Integers(each(values)),
        DecodingResult::I16(values) => Samples::Integers(each(values)),
        DecodingResult::I32(values) => Samples::Integers(each(values)),
        DecodingResult::I64(values) => Samples::Integers(values.into_iter().map(|v| v as f64).collect()),
        DecodingResult::F16(values) => Samples::Reals(values.into_iter().map(|v| v.to_f64()).collect()),
        DecodingResult::F32(values) => Samples::Reals(each(values)),
        DecodingResult::F64(values) => Samples::Reals(values),
    }
}

/// Expands samples of 1, 2 or 4 bits, with byte-aligned rows, to 0 to 255.
fn unpacked(packed: &[u8], width: usize, height: usize, bits: u8) -> Vec<u8> {
    let bits = usize::from(bits);
    let (stride, most) = ((width * bits).div_ceil(8), (1 << bits) - 1);
    let sample = |row: &[u8], x: usize| {
        let at = x * bits;
        row[at / 8] >> (8 - bits - at % 8) & most
    };
    let rows = packed.chunks_exact(stride).take(height);
    rows.flat_map(|row| (0..width).map(move |x| sample(row, x) * (u8::MAX / most))).collect()
}

/// Selects samples of each pixel, in interleaved or planar order.
struct Pick {
    per_pixel: usize,
    planar: bool,
    pixels: usize,
    wanted: Vec<usize>,
}

impl Pick {
    fn apply(&self, samples: Samples) -> Samples {
        match samples {
            Samples::Bytes(samples) => Samples::Bytes(self.of(samples)),
            Samples::Words(samples) => Samples::Words(self.of(samples)),
            Samples::Integers(samples) => Samples::Integers(self.of(samples)),
            Samples::Reals(samples) => Samples::Reals(self.of(samples)),
        }
    }

    fn of<T: Copy>(&self, samples: Vec<T>) -> Vec<T> {
        if self.per_pixel == 1 {
            return samples;
        }
        let at = |pixel: usize, band: usize| {
            if self.planar { band * self.pixels + pixel } else { pixel * self.per_pixel + band }
        };
        (0..self.pixels)
            .flat_map(|pixel| self.wanted.iter().map(move |&band| (pixel, band)))
            .filter_map(|(pixel, band)| samples.get(at(pixel, band)).copied())
            .collect()
    }
}

/// Full-range Y'CbCr of ITU-R BT.601, as JPEG has it (T.871).
fn rgb_of_ycbcr(samples: Samples) -> Option<Samples> {
    let Samples::Bytes(samples) = samples else { return None };
    let colours = samples.chunks_exact(3).flat_map(|pixel| {
        let [y, cb, cr] = [f32::from(pixel[0]), f32::from(pixel[1]) - 128.0, f32::from(pixel[2]) - 128.0];
        [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|value| (value + 0.5) as u8)
    });
    Some(Samples::Bytes(colours.collect()))
}

/// CMYK to RGB: what neither the ink nor black absorbs.
fn rgb_of_cmyk(samples: Samples) -> Option<Samples> {
    let Samples::Bytes(samples) = samples else { return None };
    let light = |ink: u8, black: u8| (u32::from(255 - ink) * u32::from(255 - black) / 255) as u8;
    let colours = samples
        .chunks_exact(4)
        .flat_map(|ink| [light(ink[0], ink[3]), light(ink[1], ink[3]), light(ink[2], ink[3])]);
    Some(Samples::Bytes(colours.collect()))
}

fn explain(error: TiffError) -> DecodeError {
    let format = FORMAT;
    match error {
        TiffError::LimitsExceeded => DecodeError::Memory { format },
        TiffError::UnsupportedError(_) => DecodeError::Unsupported { format, source: Some(Box::new(error)) },
        error => DecodeError::Damaged { format, source: Some(Box::new(error)) },
    }
}
