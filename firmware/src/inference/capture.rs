//! A captured frame, stored with its result until the next capture.

use shared::wire::{CHUNK, CaptureInfo, CapturePart, FrameReport, Refusal};
use shared::{Image, ImageEncodeError, LabelImage, encode_labels, encode_picture_png};

/// A captured frame, ready to be read in chunks.
#[derive(Debug, Clone, PartialEq)]
pub struct Capture {
    report: FrameReport,
    picture: Vec<u8>,
    labels: Vec<u8>,
    truth: Vec<u8>,
}

impl Capture {
    /// Stores a frame's image as PNG, with its encoded labels and true labels.
    ///
    /// # Errors
    /// [`ImageEncodeError`] when the image cannot be encoded.
    pub fn new(
        report: FrameReport,
        picture: &Image,
        labels: &[u8],
        truth: Option<&LabelImage>,
    ) -> Result<Self, ImageEncodeError> {
        let truth = truth.map(encode_labels).unwrap_or_default();
        let picture = encode_picture_png(picture)?;
        Ok(Self { report, picture, labels: labels.to_vec(), truth })
    }

    /// What it holds.
    pub fn info(&self) -> CaptureInfo {
        CaptureInfo {
            report: self.report.clone(),
            picture_length: self.picture.len() as u32,
            labels_length: self.labels.len() as u32,
            truth_length: self.truth.len() as u32,
        }
    }

    /// The bytes of a part from `offset` on, at most [`CHUNK`]; none at its end.
    ///
    /// # Errors
    /// [`Refusal::OutOfRange`] past its end.
    pub fn read(&self, part: CapturePart, offset: u32) -> Result<Vec<u8>, Refusal> {
        let bytes = match part {
            CapturePart::Picture => &self.picture,
            CapturePart::Labels => &self.labels,
            CapturePart::Truth => &self.truth,
        };
        let rest = bytes.get(offset as usize..).ok_or(Refusal::OutOfRange)?;
        Ok(rest[..rest.len().min(CHUNK as usize)].to_vec())
    }
}
