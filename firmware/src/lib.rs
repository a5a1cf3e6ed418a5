//! The nuclei station: camera frames in, masks and counts with their evidence out.
#![forbid(unsafe_code)]

mod camera;
mod illumination;
mod status_light;

pub use camera::{Camera, CameraError, CameraSource, Frame, Grab, Pace, Repeat};
pub use illumination::{Illumination, IlluminationConfig, IlluminationError};
pub use status_light::{Signal, StatusLight, StatusLightConfig, StatusLightError};
