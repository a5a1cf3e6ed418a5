//! Encodes images and label images to PNG, TIFF and JPEG.

use ::image::codecs::jpeg::JpegEncoder;
use ::image::codecs::png::PngEncoder;
use ::image::codecs::tiff::TiffEncoder;
use ::image::error::ImageError;
use ::image::{ExtendedColorType, ImageEncoder};
use alloc::vec::Vec;
use std::io::Cursor;
use thiserror::Error;

use crate::image::{Channels, Image};
use crate::label_image::LabelImage;

/// Why an image cannot be encoded.
#[derive(Debug, Error)]
pub enum ImageEncodeError {
    /// A label needs more than 16 bits.
    #[error("label {label} is above {}, the highest in a 16-bit image", u16::MAX)]
    Label {
        /// The highest label.
        label: u32,
    },
    /// The encoder failed.
    #[error("cannot encode the image")]
    Encoder(#[source] ImageError),
}

/// Encodes a label image as 16-bit grayscale PNG whose samples are the labels.
///
/// # Errors
/// [`ImageEncodeError::Label`] when a label is above 65,535.
pub fn encode_label_png(labels: &LabelImage) -> Result<Vec<u8>, ImageEncodeError> {
    let mut png = Vec::new();
    write_labels(labels, PngEncoder::new(&mut png))?;
    Ok(png)
}

/// Encodes a label image as 16-bit grayscale TIFF whose samples are the labels.
///
/// # Errors
/// [`ImageEncodeError::Label`] when a label is above 65,535.
pub fn encode_label_tiff(labels: &LabelImage) -> Result<Vec<u8>, ImageEncodeError> {
    let mut tiff = Cursor::new(Vec::new());
    write_labels(labels, TiffEncoder::new(&mut tiff))?;
    Ok(tiff.into_inner())
}

fn write_labels(labels: &LabelImage, encoder: impl ImageEncoder) -> Result<(), ImageEncodeError> {
    let samples: Option<Vec<u8>> = labels
        .labels_hw()
        .iter()
        .map(|&label| u16::try_from(label).ok().map(u16::to_ne_bytes))
        .collect::<Option<Vec<[u8; 2]>>>()
        .map(Vec::into_flattened);
    let Some(samples) = samples else {
        return Err(ImageEncodeError::Label { label: labels.max_label() });
    };
    encoder
        .write_image(&samples, labels.width(), labels.height(), ExtendedColorType::L16)
        .map_err(ImageEncodeError::Encoder)
}

/// Encodes an image as 8-bit PNG, grayscale or RGB.
///
/// # Errors
/// [`ImageEncodeError::Encoder`].
pub fn encode_picture_png(image: &Image) -> Result<Vec<u8>, ImageEncodeError> {
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(image.samples_hwc(), image.width(), image.height(), colour_type(image))
        .map_err(ImageEncodeError::Encoder)?;
    Ok(png)
}

/// Encodes an image as lossy JPEG; `quality` is clamped to 1 to 100.
///
/// # Errors
/// [`ImageEncodeError::Encoder`].
pub fn encode_jpeg(image: &Image, quality: u8) -> Result<Vec<u8>, ImageEncodeError> {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, quality.clamp(1, 100))
        .write_image(image.samples_hwc(), image.width(), image.height(), colour_type(image))
        .map_err(ImageEncodeError::Encoder)?;
    Ok(jpeg)
}

fn colour_type(image: &Image) -> ExtendedColorType {
    match image.channels() {
        Channels::Grey => ExtendedColorType::L8,
        Channels::Rgb => ExtendedColorType::Rgb8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{decode_image, decode_label_image};

    fn ramp(width: u32, height: u32, channels: Channels) -> Image {
        let samples = (0..width * height * channels.count() as u32).map(|i| (i * 3 % 251) as u8).collect();
        Image::new(width, height, channels, samples).unwrap()
    }

    #[test]
    fn images_round_trip_through_png() {
        for (width, height, channels) in
            [(1, 1, Channels::Grey), (1, 1, Channels::Rgb), (31, 7, Channels::Grey), (7, 31, Channels::Rgb)]
        {
            let image = ramp(width, height, channels);
            let png = encode_picture_png(&image).unwrap();
            assert_eq!(decode_image(&png).unwrap(), image);
        }
    }

    #[test]
    fn labels_round_trip_through_png_and_tiff() {
        for labels in [vec![0, 1, 2, 3, 65_535, 0], vec![0; 6], vec![7; 6]] {
            let labels = LabelImage::new(3, 2, labels).unwrap();
            assert_eq!(decode_label_image(&encode_label_png(&labels).unwrap()).unwrap(), labels);
            assert_eq!(decode_label_image(&encode_label_tiff(&labels).unwrap()).unwrap(), labels);
        }
        let labels = LabelImage::new(2, 1, vec![3, 65_536]).unwrap();
        assert!(matches!(encode_label_tiff(&labels), Err(ImageEncodeError::Label { label: 65_536 })));
        assert!(matches!(encode_label_png(&labels), Err(ImageEncodeError::Label { label: 65_536 })));
    }

    #[test]
    fn jpeg_is_near_and_smaller_at_low_quality() {
        let samples = (0..64 * 64).map(|i| (i % 64 + i / 64) as u8).collect();
        let image = Image::new(64, 64, Channels::Grey, samples).unwrap();
        let fine = encode_jpeg(&image, 90).unwrap();
        let coarse = encode_jpeg(&image, 0).unwrap();
        assert!(coarse.len() < fine.len());
        let decoded = decode_image(&fine).unwrap();
        assert_eq!(decoded.channels(), Channels::Grey);
        let errors = decoded.samples_hwc().iter().zip(image.samples_hwc()).map(|(a, b)| a.abs_diff(*b));
        assert!(errors.max().unwrap() <= 4);
    }
}
