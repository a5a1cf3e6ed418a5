//! Why there is no frame, and what the operator can do about it.

use std::io;
use std::path::PathBuf;

use shared::FlatFieldError;
use thiserror::Error;

/// Why a camera cannot be opened or gives no frame.
#[derive(Debug, Error)]
pub enum CameraError {
    /// The device file cannot be opened or is no camera.
    #[error(
        "no camera at {device}; connect it, or set another under [camera] (v4l2-ctl --list-devices lists them)"
    )]
    Open {
        /// The device file.
        device: PathBuf,
        /// What Linux says.
        #[source]
        source: io::Error,
    },
    /// The camera offers no supported format.
    #[error(
        "the camera at {device} offers {offered}; the station supports RGB3, BGR3, YUYV, GREY and MJPG; \
             use another camera"
    )]
    Format {
        /// The device file.
        device: PathBuf,
        /// The camera's formats.
        offered: String,
    },
    /// The camera was unplugged or its driver failed.
    #[error("the camera at {device} stopped; check its cable and power")]
    Lost {
        /// The device file.
        device: PathBuf,
        /// Linux's error, if any.
        #[source]
        source: Option<io::Error>,
    },
    /// The camera is open but sends nothing.
    #[error("the camera at {device} sent no frame for {seconds} s; unplug it and plug it in again")]
    Silent {
        /// The device file.
        device: PathBuf,
        /// How long the station waited.
        seconds: u64,
    },
    /// Too many damaged frames in a row.
    #[error(
        "the camera at {device} sent {frames} damaged frames in a row; use a shorter cable or a smaller image size"
    )]
    Damaged {
        /// The device file.
        device: PathBuf,
        /// How many.
        frames: u32,
        /// The problem of the last frame.
        #[source]
        source: super::pixels::ConvertError,
    },
    /// The folder or zip cannot be read.
    #[error("cannot read images from {path}; check the path and its permissions")]
    Pictures {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is neither a zip nor an image.
    #[error("{path} is not a zip of images; give a folder, a zip, or one PNG, TIFF or JPEG file")]
    NoZip {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: zip::result::ZipError,
    },
    /// There is no readable image.
    #[error("{path} contains no readable image; give a folder or zip with PNG, TIFF or JPEG files")]
    NoPictures {
        /// The folder or file.
        path: PathBuf,
    },
    /// The frame rate is out of range.
    #[error("frames_per_second must be 0.1 to 240, got {given}")]
    FrameRate {
        /// The rate given.
        given: f32,
    },
    /// The simulated image's size is out of range.
    #[error("a simulated image must have 64 to 4096 pixels per side, got {width}x{height}")]
    SimulatedSize {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// More nuclei than fit into the simulated image.
    #[error("a simulated image of {width}x{height} holds at most {most} nuclei, got {given}")]
    SimulatedNuclei {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// The most.
        most: u32,
        /// The number given.
        given: u32,
    },
    /// The flat field belongs to another camera or image size.
    #[error(
        "{0}; make a flat field for this camera mode with nuclei-host station calibrate, or remove flat_field"
    )]
    FlatField(#[source] FlatFieldError),
}
