//! The nuclei host: train, export, flash, watch, capture and score.
#![forbid(unsafe_code)]

mod brightness;
mod bundled;
mod calibration;
mod capture_folder;
mod cli;
mod commands;
mod dilution;
mod exploration;
mod exports;
mod fleet;
mod frame_record;
mod gates;
mod html;
mod http_server;
mod key_store;
mod label_files;
mod label_folder;
mod link;
mod live;
mod micrometer;
mod model_check;
mod model_file;
mod page;
mod pictures;
mod prediction;
mod provenance;
mod publishing;
mod recording;
mod report;
mod scoring;
mod station_process;
mod terminal;
mod user_config;
mod virtual_line;

pub use cli::run;
pub use link::{
    CaptureError, Captured, FlashError, FlashStep, Flashed, Line, LinkError, Numbering, SerialLine, Shot,
    Station, Told, Traffic, Uploaded, Waits, flash,
};
pub use virtual_line::VirtualLine;
