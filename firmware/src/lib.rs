//! The nuclei station: camera frames in, masks and counts with their evidence out.
//!
//! A frame goes from the camera through the pipeline (preprocessing, network, extraction, evidence) to the
//! outbox of the line, all on one thread that waits for nothing but the camera. A second thread answers the
//! host and owns the slots, a third verifies and loads models, and two move the line's bytes; `run` lists
//! them. What is wired or plugged stands behind four traits, so that a simulator can take its place:
//! [`Camera`], [`Illumination`] with [`StatusLight`]'s pin, [`SlotStorage`] and [`Link`].
//!
//! What station and host must agree on, from the wire's messages to the extraction, is in `shared`.
#![forbid(unsafe_code)]

mod announcement;
mod bench;
mod camera;
mod capture;
mod check;
mod cli;
mod config;
#[cfg(test)]
mod fixture_model;
mod frames;
mod gpio;
mod illumination;
mod journal;
mod link;
mod model_loader;
mod pipeline;
mod run;
mod service;
mod slot_store;
mod status_light;
mod stop;
mod supervision;

pub use bench::{BenchArgs, BenchError, run as bench};
pub use camera::{Camera, CameraError, CameraSource, Frame, Grab, Pace, Repeat};
pub use cli::main;
pub use config::{Config, ConfigError, DEFAULT_CONFIG, LinkConfig, StorageConfig, TrustConfig};
pub use frames::{OpenCamera, Play};
pub use gpio::LitAt;
pub use illumination::{Illumination, IlluminationConfig, IlluminationError};
pub use link::{Line, Link, PATIENCE, SerialLink};
pub use pipeline::{FrameResult, Pipeline, PipelineError, preview_jpeg};
pub use run::{FACTORY_MODEL, RunError, Station};
pub use slot_store::{FolderStorage, NoStorage, SlotStorage, StorageError};
pub use status_light::{Signal, StatusLight, StatusLightConfig, StatusLightError};
pub use stop::Stop;
