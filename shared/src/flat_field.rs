//! Flat-field correction: removes the camera's dark signal and uneven illumination from every frame.
//!
//! corrected = (sample - dark) · gain + mean dark, where gain = mean light / light, of every sample for itself;
//! light is the mean of bright frames less that of dark ones, and the means over the image are taken a
//! channel, so that brightness and color stay. Integer arithmetic: station and host get the same bytes.
//!
//! A sample at 255 stays there, since nobody knows how bright it was, and no other gets there.

use alloc::{string::String, vec, vec::Vec};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::image::{Channels, Image, checked_pixels};
use crate::wire::{CRC_32, FlatFieldDigest, decode_whole};

/// Magic bytes of a file; the last one is the version.
const MAGIC: &[u8; 16] = b"nuclei flat fld\x01";
/// Fixed-point unit of dark samples.
const DARK_UNIT: i64 = 256;
/// Fixed-point unit of gains.
const GAIN_UNIT: i64 = 4096;
/// Pixels that need a higher gain count as unlit.
const MAX_GAIN: u64 = 8;
/// Maximum fraction of saturated or unlit samples, in thousandths.
const SPARED: usize = 1;
/// Minimum mean light, in sample values.
const MIN_LIGHT: u64 = 32;
/// Blocks a side over which [`FlatField::least_light`] looks.
const BLOCKS: usize = 16;

/// Why frames do not give a flat field, or a flat field does not fit a frame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FlatFieldError {
    /// Images are not of one size.
    #[error(
        "the flat field is {expected_width}x{expected_height} {expected_channels}, but the image is \
             {width}x{height} {channels}"
    )]
    Size {
        /// Pixels across of the first.
        expected_width: u32,
        /// Pixels down of the first.
        expected_height: u32,
        /// Its channels, in a word.
        expected_channels: &'static str,
        /// Pixels across of the other.
        width: u32,
        /// Pixels down of the other.
        height: u32,
        /// Its channels, in a word.
        channels: &'static str,
    },
    /// Bright frames are saturated.
    #[error("{percent} % of the bright frames' samples are saturated")]
    Saturated {
        /// How many, rounded up.
        percent: u32,
    },
    /// Bright frames are barely brighter than dark ones.
    #[error("the bright frames are only {light} (of 255) brighter than the dark ones")]
    TooDark {
        /// How much brighter.
        light: u32,
    },
    /// Part of the image gets almost no light.
    #[error("{percent} % of the image gets less than an eighth of the mean light")]
    Unlit {
        /// How much of it, rounded up.
        percent: u32,
    },
    /// The file is not a flat field, or damaged.
    #[error("the file is not a flat field, or is damaged")]
    Damaged,
}

/// The sum of frames.
#[derive(Debug, Clone)]
pub struct FrameSum {
    width: u32,
    height: u32,
    channels: Channels,
    sums_hwc: Vec<u32>,
    saturated: u64,
    frames: u32,
}

impl FrameSum {
    /// The sum of one frame.
    pub fn new(frame: &Image) -> Self {
        let (width, height, channels) = (frame.width(), frame.height(), frame.channels());
        let sums_hwc = vec![0; frame.samples_hwc().len()];
        let mut sum = Self { width, height, channels, sums_hwc, saturated: 0, frames: 0 };
        sum.take(frame);
        sum
    }

    /// Adds another frame.
    ///
    /// # Errors
    /// [`FlatFieldError::Size`].
    pub fn add(&mut self, frame: &Image) -> Result<(), FlatFieldError> {
        fits((self.width, self.height, self.channels), frame)?;
        self.take(frame);
        Ok(())
    }

    fn take(&mut self, frame: &Image) {
        for (sum, &sample) in self.sums_hwc.iter_mut().zip(frame.samples_hwc()) {
            *sum = sum.saturating_add(u32::from(sample));
            self.saturated += u64::from(sample == u8::MAX);
        }
        self.frames += 1;
    }

    /// Frames in it.
    pub const fn frames(&self) -> u32 {
        self.frames
    }

    /// Means of every sample, in parts of [`DARK_UNIT`].
    fn means_hwc(&self) -> impl Iterator<Item = u64> {
        let frames = u64::from(self.frames);
        self.sums_hwc.iter().map(move |&sum| (u64::from(sum) * DARK_UNIT as u64 + frames / 2) / frames)
    }
}

/// Who made it, when and from which frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlatFieldOrigin {
    /// Who.
    pub by: String,
    /// When: ms since 1970.
    pub time_unix_ms: u64,
    /// Bright frames.
    pub bright_frames: u32,
    /// Dark frames.
    pub dark_frames: u32,
}

/// A flat field of a camera, `[height, width, channels]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlatField {
    width: u32,
    height: u32,
    channels: Channels,
    origin: FlatFieldOrigin,
    /// Means of the dark samples, a channel, in parts of [`DARK_UNIT`].
    levels: Vec<u16>,
    /// In parts of [`DARK_UNIT`].
    dark_hwc: Vec<u16>,
    /// In parts of [`GAIN_UNIT`].
    gains_hwc: Vec<u16>,
}

impl FlatField {
    /// Of bright frames, of an evenly lit empty field, and of dark ones, without light.
    ///
    /// # Errors
    /// [`FlatFieldError`] when the frames cannot serve.
    pub fn new(
        bright: &FrameSum,
        dark: &FrameSum,
        by: &str,
        time_unix_ms: u64,
    ) -> Result<Self, FlatFieldError> {
        let (width, height, channels) = (bright.width, bright.height, bright.channels);
        if (width, height, channels) != (dark.width, dark.height, dark.channels) {
            return Err(misfit((width, height, channels), (dark.width, dark.height, dark.channels)));
        }
        let samples = bright.sums_hwc.len();
        let most = |frames: usize| (samples * frames * SPARED / 1000) as u64;
        if bright.saturated > most(bright.frames as usize) {
            let all = samples as u64 * u64::from(bright.frames);
            return Err(FlatFieldError::Saturated { percent: (bright.saturated * 100).div_ceil(all) as u32 });
        }
        let dark_hwc: Vec<u16> = dark.means_hwc().map(|mean| mean as u16).collect();
        let light_hwc: Vec<u64> =
            bright.means_hwc().zip(&dark_hwc).map(|(mean, &dark)| mean.saturating_sub(dark.into())).collect();
        let means = channel_means(light_hwc.iter().copied(), channels);
        if let Some(&light) = means.iter().min().filter(|&&light| light < MIN_LIGHT * DARK_UNIT as u64) {
            return Err(FlatFieldError::TooDark { light: (light / DARK_UNIT as u64) as u32 });
        }
        let most_gain = MAX_GAIN * GAIN_UNIT as u64;
        let mut unlit = 0;
        let gains_hwc: Vec<u16> = light_hwc
            .iter()
            .zip(means.iter().cycle())
            .map(|(&light, mean)| {
                let gain = (mean * GAIN_UNIT as u64 + light / 2).checked_div(light).unwrap_or(u64::MAX);
                unlit += usize::from(gain > most_gain);
                gain.min(most_gain) as u16
            })
            .collect();
        if unlit as u64 > most(1) {
            return Err(FlatFieldError::Unlit { percent: (unlit * 100).div_ceil(samples) as u32 });
        }
        let (bright_frames, dark_frames) = (bright.frames, dark.frames);
        let origin = FlatFieldOrigin { by: by.into(), time_unix_ms, bright_frames, dark_frames };
        let levels = channel_means(dark_hwc.iter().map(|&dark| dark.into()), channels);
        let levels = levels.into_iter().map(|level| level as u16).collect();
        Ok(Self { width, height, channels, origin, levels, dark_hwc, gains_hwc })
    }

    /// Corrects an image.
    ///
    /// # Errors
    /// [`FlatFieldError::Size`]; the image is then as it was.
    pub fn correct(&self, picture: &mut Image) -> Result<(), FlatFieldError> {
        fits((self.width, self.height, self.channels), picture)?;
        let measured = self.dark_hwc.iter().zip(&self.gains_hwc).zip(self.levels.iter().cycle());
        for (sample, ((&dark, &gain), &level)) in picture.samples_hwc_mut().iter_mut().zip(measured) {
            if *sample == u8::MAX {
                continue;
            }
            let light = i64::from(*sample) * DARK_UNIT - i64::from(dark);
            let corrected = light * i64::from(gain) + i64::from(level) * GAIN_UNIT;
            let rounded = (corrected + DARK_UNIT * GAIN_UNIT / 2).div_euclid(DARK_UNIT * GAIN_UNIT);
            *sample = rounded.clamp(0, i64::from(u8::MAX) - 1) as u8;
        }
        Ok(())
    }

    /// Who made it, when and of what.
    pub const fn origin(&self) -> &FlatFieldOrigin {
        &self.origin
    }

    /// Light of the darkest of 16 by 16 blocks of the image, relative to the mean: 1 for an even field.
    pub fn least_light(&self) -> f64 {
        let (width, height) = (self.width as usize, self.height as usize);
        let row = width * self.channels.count();
        let mut blocks = [(0.0, 0_u32); BLOCKS * BLOCKS];
        for (at, &gain) in self.gains_hwc.iter().enumerate() {
            let (x, y) = (at % row / self.channels.count(), at / row);
            let block = &mut blocks[y * BLOCKS / height * BLOCKS + x * BLOCKS / width];
            block.0 += GAIN_UNIT as f64 / f64::from(gain.max(1));
            block.1 += 1;
        }
        let means = blocks.iter().filter(|block| block.1 > 0).map(|&(sum, count)| sum / f64::from(count));
        means.fold(f64::INFINITY, f64::min)
    }

    /// The file.
    #[expect(
        clippy::expect_used,
        reason = "memory grows and the values are plain: postcard has no way to fail"
    )]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = postcard::to_extend(self, MAGIC.to_vec()).expect("plain values encode");
        let crc = CRC_32.checksum(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`FlatFieldError::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FlatFieldError> {
        let (content, crc) = bytes.split_last_chunk().ok_or(FlatFieldError::Damaged)?;
        if CRC_32.checksum(content) != u32::from_le_bytes(*crc) {
            return Err(FlatFieldError::Damaged);
        }
        let value = content.strip_prefix(MAGIC).ok_or(FlatFieldError::Damaged)?;
        let field: Self = decode_whole(value).ok_or(FlatFieldError::Damaged)?;
        let pixels = checked_pixels(field.width, field.height).map_err(|_| FlatFieldError::Damaged)?;
        let samples = pixels * field.channels.count();
        let lengths = [field.dark_hwc.len(), field.gains_hwc.len(), field.levels.len()];
        let is_whole = lengths == [samples, samples, field.channels.count()];
        is_whole.then_some(field).ok_or(FlatFieldError::Damaged)
    }
}

impl FlatFieldDigest {
    /// The digest of a flat field's file.
    pub fn of(file: &[u8]) -> Self {
        Self(Sha256::digest(file).into())
    }
}

/// Means over the image, a channel.
fn channel_means(samples_hwc: impl ExactSizeIterator<Item = u64>, channels: Channels) -> Vec<u64> {
    let pixels = (samples_hwc.len() / channels.count()) as u64;
    let mut sums = vec![0; channels.count()];
    for (at, sample) in samples_hwc.enumerate() {
        sums[at % channels.count()] += sample;
    }
    sums.into_iter().map(|sum| (sum + pixels / 2) / pixels).collect()
}

type Shape = (u32, u32, Channels);

fn fits(shape: Shape, picture: &Image) -> Result<(), FlatFieldError> {
    let other = (picture.width(), picture.height(), picture.channels());
    if shape == other { Ok(()) } else { Err(misfit(shape, other)) }
}

fn misfit(expected: Shape, other: Shape) -> FlatFieldError {
    let word = |channels| match channels {
        Channels::Grey => "grey",
        Channels::Rgb => "RGB",
    };
    FlatFieldError::Size {
        expected_width: expected.0,
        expected_height: expected.1,
        expected_channels: word(expected.2),
        width: other.0,
        height: other.1,
        channels: word(other.2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: u32 = 64;

    /// Light that falls to two fifths in the corners, over a dark signal of 12 with a warm pixel.
    fn seen(specimen: impl Fn(u32, u32) -> f64, channels: Channels) -> Image {
        let samples = (0..SIDE * SIDE)
            .flat_map(|at| {
                let (x, y) = (at % SIDE, at / SIDE);
                let off = |v: u32| (f64::from(v) - 31.5) / 31.5;
                let light = 1.0 - 0.3 * (off(x) * off(x) + off(y) * off(y));
                let dark = if at == 777 { 60.0 } else { 12.0 };
                let value = (dark + light * specimen(x, y)) as u8;
                core::iter::repeat_n(value, channels.count())
            })
            .collect();
        Image::new(SIDE, SIDE, channels, samples).unwrap()
    }

    fn field(channels: Channels) -> FlatField {
        let (bright, dark) = (seen(|_, _| 180.0, channels), seen(|_, _| 0.0, channels));
        FlatField::new(&FrameSum::new(&bright), &FrameSum::new(&dark), "ana", 7).unwrap()
    }

    #[test]
    fn flat_field_evens_illumination_and_keeps_brightness() {
        for channels in [Channels::Grey, Channels::Rgb] {
            let mut picture = seen(|_, _| 120.0, channels);
            let before = picture.clone();
            let spread = |picture: &Image| {
                let samples = picture.samples_hwc();
                samples.iter().max().unwrap() - samples.iter().min().unwrap()
            };
            let mean = |picture: &Image| {
                let samples = picture.samples_hwc();
                samples.iter().map(|&s| f64::from(s)).sum::<f64>() / samples.len() as f64
            };
            field(channels).correct(&mut picture).unwrap();
            assert!(
                spread(&before) > 60 && spread(&picture) <= 4,
                "{} to {}",
                spread(&before),
                spread(&picture)
            );
            assert!((mean(&before) - mean(&picture)).abs() < 2.0);
        }
    }

    #[test]
    fn saturated_samples_stay_so_and_no_others_become_so() {
        let field = field(Channels::Grey);
        let mut white = Image::new(SIDE, SIDE, Channels::Grey, vec![255; (SIDE * SIDE) as usize]).unwrap();
        field.correct(&mut white).unwrap();
        assert!(white.samples_hwc().iter().all(|&sample| sample == 255));
        let mut bright = Image::new(SIDE, SIDE, Channels::Grey, vec![250; (SIDE * SIDE) as usize]).unwrap();
        field.correct(&mut bright).unwrap();
        assert!(bright.samples_hwc().iter().all(|&sample| sample < 255));
    }

    #[test]
    fn flat_field_files_round_trip_and_damage_is_detected() {
        let field = field(Channels::Rgb);
        let bytes = field.encode();
        assert_eq!(FlatField::decode(&bytes).unwrap(), field);
        assert_eq!((field.origin().by.as_str(), field.origin().bright_frames), ("ana", 1));
        assert!((0.3..0.8).contains(&field.least_light()), "{}", field.least_light());
        for at in [0, 15, 40, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(FlatField::decode(&damaged), Err(FlatFieldError::Damaged), "byte {at}");
        }
        assert_eq!(FlatField::decode(&bytes[..3]), Err(FlatFieldError::Damaged));
        assert_ne!(FlatFieldDigest::of(&bytes), FlatFieldDigest::of(b""));
    }

    #[test]
    fn frames_that_cannot_serve_are_refused() {
        let sum = |value: u8, side: u32| {
            let samples = vec![value; (side * side) as usize];
            FrameSum::new(&Image::new(side, side, Channels::Grey, samples).unwrap())
        };
        let made = |bright: &FrameSum, dark: &FrameSum| FlatField::new(bright, dark, "", 0).unwrap_err();
        assert_eq!(made(&sum(255, 8), &sum(0, 8)), FlatFieldError::Saturated { percent: 100 });
        assert_eq!(made(&sum(30, 8), &sum(10, 8)), FlatFieldError::TooDark { light: 20 });
        assert!(matches!(made(&sum(100, 8), &sum(0, 9)), FlatFieldError::Size { .. }));
        let half = (0..64).map(|at| if at < 32 { 200 } else { 5 }).collect();
        let half = FrameSum::new(&Image::new(8, 8, Channels::Grey, half).unwrap());
        assert_eq!(made(&half, &sum(0, 8)), FlatFieldError::Unlit { percent: 50 });
        let mut sum = sum(100, 8);
        assert!(matches!(
            sum.add(&Image::black(8, 9, Channels::Grey).unwrap()),
            Err(FlatFieldError::Size { .. })
        ));
        let mut other = Image::black(9, 8, Channels::Grey).unwrap();
        assert!(matches!(field(Channels::Grey).correct(&mut other), Err(FlatFieldError::Size { .. })));
    }
}
