//! The nuclei station: camera frames in, masks and counts with their evidence out.
#![forbid(unsafe_code)]

mod bench;
mod camera;
mod illumination;
mod pipeline;
mod status_light;

pub use bench::{BenchArgs, BenchError, run as bench};
pub use camera::{Camera, CameraError, CameraSource, Frame, Grab, Pace, Repeat};
pub use illumination::{Illumination, IlluminationConfig, IlluminationError};
pub use pipeline::{FrameResult, Pipeline, PipelineError, preview_jpeg};
pub use status_light::{LitAt, Signal, StatusLight, StatusLightConfig, StatusLightError};
