//! The settings that a host may change while the station runs.

use serde::{Deserialize, Serialize};

use crate::units::{DutyCycle, PixelSize};

/// A setting to change. It applies until the station restarts; the TOML file holds permanent settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Setting {
    /// Brightness of the illumination.
    Illumination(DutyCycle),
    /// The camera's scale; `None` forgets it.
    PixelSize(Option<PixelSize>),
    /// When frames are taken. Continuous again when the host disconnects.
    Acquisition(Acquisition),
    /// Whether masks are streamed.
    Masks(Stream),
    /// Whether previews are streamed.
    Preview(Stream),
}

/// When frames are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Acquisition {
    /// Continuously; the newest wins.
    Continuous,
    /// One for each [`Request::Capture`](super::Request::Capture), with none skipped.
    Triggered,
}

/// Whether something is streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Not sent.
    Off,
    /// Sent as the line allows.
    On,
}

/// The current settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Brightness of the illumination.
    pub illumination: DutyCycle,
    /// The camera's scale, where it is known.
    pub pixel_size: Option<PixelSize>,
    /// When frames are taken.
    pub acquisition: Acquisition,
    /// Whether masks are streamed.
    pub masks: Stream,
    /// Whether previews are streamed.
    pub preview: Stream,
}
