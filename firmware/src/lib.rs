//! The nuclei station: camera frames in, masks and counts with their evidence out.
//!
//! | folder | holds |
//! | --- | --- |
//! | `camera` | where frames come from: Video4Linux, folders of images, the simulated microscope |
//! | `io` | the pins: illumination and status light |
//! | `link` | the serial line to the host and the queue of what is sent over it |
//! | `inference` | one frame: preprocessing, network, extraction, evidence, masks |
//! | `frames` | the stream of frames: when one is grabbed, what runs beside what, where results go |
//! | `inbox` | the events that all other threads send to the service |
//! | `update` | models: slots, storage, verification, loading |
//! | `service` | the answers to the host |
//! | `station` | the configuration, and the threads that join all this |
//! | `tools` | the commands `run`, `check` and `bench` |
//! | `runtime` | what every thread uses: journal, cancellation, watchdog |
//!
//! A frame's thread grabs it and runs the network. A second thread extracts and publishes the result meanwhile, where
//! the network may use more than one thread. The service, the model loader and the line have threads of their own;
//! `station` lists them all. What is wired or plugged in stands behind four traits, so that a simulator can take its
//! place: [`Camera`], [`Illumination`] with [`StatusLight`]'s pin, [`SlotStorage`] and [`Connector`].
//!
//! What station and host must agree on, from the wire's messages to the extraction, is in `shared`.
#![forbid(unsafe_code)]

mod camera;
mod frames;
mod inbox;
mod inference;
mod io;
mod link;
mod runtime;
mod service;
mod station;
#[cfg(test)]
mod testing;
mod tools;
mod update;

pub use camera::{Camera, CameraError, CameraSource, Frame, Grab, GrabStrategy, Repeat};
pub use frames::{OpenCamera, SourceKind};
pub use inference::{FrameResult, Pipeline, PipelineError, preview_jpeg};
pub use io::{
    Illumination, IlluminationConfig, IlluminationError, LitAt, Signal, StatusLight, StatusLightConfig,
    StatusLightError,
};
pub use link::{Connection, Connector, IO_TIMEOUT, SerialConnector};
pub use runtime::CancellationToken;
pub use station::{
    Config, ConfigError, DEFAULT_CONFIG, LinkConfig, RunError, Station, StorageConfig, TrustConfig,
};
pub use tools::{BenchError, StationBenchArgs, bench, main};
pub use update::{FACTORY_MODEL, FolderStorage, NoStorage, SlotStorage, StorageError};
