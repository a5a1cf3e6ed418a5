//! The nuclei host: train, export, flash, watch, capture and score.
//!
//! Folders are layers, and `use` points down: `commands` parse arguments and print, `monitor` follows live
//! stations, `publish` sends counts to MQTT and Prometheus, `analysis` evaluates images, `export` writes
//! other programs' formats, `records` reads and writes files, `station` speaks the protocol, `support` is
//! below them all. `tests/layering.rs` checks this table.
#![forbid(unsafe_code)]

mod analysis;
mod cli;
mod commands;
mod export;
mod monitor;
mod publish;
mod records;
mod station;
#[cfg(test)]
mod stored_files;
mod support;

pub use cli::run;
pub use station::client::{
    CaptureError, CaptureOutcome, CaptureProgress, CapturedFrame, FlashError, FlashOutcome, FlashProgress,
    Incoming, LinkError, LinkStats, OperationUpdate, SerialTransport, SessionState, StationClient, Timeouts,
    Transport, UploadStats, flash,
};
pub use station::virtual_line::VirtualLine;
