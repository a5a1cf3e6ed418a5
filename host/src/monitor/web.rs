//! The web page: one file within the program, which needs no network, and the server for it.
//!
//! Any number of viewers follow a station over WebSockets; each is sent images as fast as it draws them.

mod access_policy;
mod frame_throttle;
mod server;

pub use server::{DEFAULT_ADDRESS, serve};
