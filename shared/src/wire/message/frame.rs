//! A frame's result, and the parts of a captured frame.

use serde::{Deserialize, Serialize};

use super::{ModelDigest, Name};
use crate::units::{DutyCycle, Microseconds};

/// A capture's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "one at a time; a box would cost an allocation")]
pub enum CaptureState {
    /// The frame is awaited or being processed: repeat the request with the same token.
    Pending,
    /// The frame and its result can be read.
    Ready(CaptureInfo),
    /// The source has reached its last image: there are no more frames.
    Finished,
    /// No camera delivers.
    CameraAbsent,
}

/// The content of a capture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptureInfo {
    /// The frame's result.
    pub report: FrameReport,
    /// Bytes of the image (PNG).
    pub picture_length: u32,
    /// Bytes of the labels (label codec).
    pub labels_length: u32,
    /// Bytes of the true labels (label codec) where the camera knows them, else 0.
    pub truth_length: u32,
}

/// What to read of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CapturePart {
    /// The image, PNG.
    Picture,
    /// The labels found, label codec.
    Labels,
    /// The true labels of a simulated scene, label codec.
    Truth,
}

/// A frame's count with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrameReport {
    /// The frame's number since the station's start.
    pub frame: u32,
    /// When it was taken: ms since 1970 by the station's clock.
    pub time_unix_ms: u64,
    /// The image's own name if the source is a folder, else empty.
    pub source: Name,
    /// The model that counted.
    pub model: ModelDigest,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Nuclei found.
    pub count: u32,
    /// True number of nuclei, if the camera is simulated.
    pub true_count: Option<u32>,
    /// Area-weighted median equivalent diameter, px; 0 without nuclei.
    pub median_diameter_px: f32,
    /// Fraction of the image covered by nuclei, 0 to 1.
    pub confluence: f32,
    /// Factor by which the image was resized for the network.
    pub scale: f32,
    /// Exposure time, if the camera reports it.
    pub exposure: Option<Microseconds>,
    /// Brightness of the illumination.
    pub illumination: DutyCycle,
    /// Focus score, 0 where there is no nucleus to judge it by: see `Evidence`.
    pub focus: f32,
    /// Share of saturated pixels, 0 to 1.
    pub saturated: f32,
    /// Reasons not to trust the count; empty if there are none.
    pub qc_flags: QcFlags,
    /// Time per stage.
    pub times: StageTimes,
    /// Camera frames skipped before this one.
    pub skipped: u32,
}

/// Quality-control flags of a frame: the reasons not to trust a count, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QcFlags(pub u16);

impl QcFlags {
    /// No reason not to trust it.
    pub const NONE: Self = Self(0);
    /// The image is out of focus.
    pub const OUT_OF_FOCUS: Self = Self(1);
    /// Too many pixels are saturated.
    pub const SATURATED: Self = Self(1 << 1);
    /// The image is the same everywhere: the camera sees nothing, not even noise.
    pub const BLANK: Self = Self(1 << 2);
    /// Nuclei cover so much that neighbors cannot be separated.
    pub const TOO_DENSE: Self = Self(1 << 3);
    /// The nuclei are smaller or larger than the model can be resized to.
    pub const OFF_SCALE: Self = Self(1 << 4);
    /// The network is unsure: the image is unlike those that the model learned from.
    pub const OUT_OF_DISTRIBUTION: Self = Self(1 << 5);

    /// Every flag with the words that people read.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::OUT_OF_FOCUS, "out of focus"),
        (Self::SATURATED, "saturated"),
        (Self::BLANK, "blank image"),
        (Self::TOO_DENSE, "too dense"),
        (Self::OFF_SCALE, "nuclei too small or too large"),
        (Self::OUT_OF_DISTRIBUTION, "unlike the training data"),
    ];

    /// Whether no flag is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags in words.
    pub fn reasons(self) -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().filter(move |&(flag, _)| self.contains(flag)).map(|(_, words)| words)
    }
}

/// A frame's time per stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StageTimes {
    /// Decoding or converting the camera's frame.
    pub convert: Microseconds,
    /// Stretching, resizing and tiling.
    pub preprocess: Microseconds,
    /// The network, all tiles and passes.
    pub network: Microseconds,
    /// Watershed and labels.
    pub extraction: Microseconds,
    /// Focus, saturation and object measures.
    pub evidence: Microseconds,
    /// Encoding masks and preview.
    pub encode: Microseconds,
}
