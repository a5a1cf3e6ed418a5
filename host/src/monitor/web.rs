//! The web page, a single file within the program that works offline, and its server.
//!
//! Any number of viewers follow a station over WebSockets; each is sent images as fast as it draws them.

mod access_policy;
mod frame_throttle;
mod server;

pub use server::{DEFAULT_ADDRESS, serve};
