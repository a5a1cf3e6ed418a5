//! What interactive views share: the messages to viewers, and the commands that come back.
//!
//! The thread that holds a station gives its results to a [`ViewPublisher`]. Viewers, on the web page or on a terminal,
//! follow its [`Feed`] and send [`ViewCommand`]s. A slow viewer misses frames and delays nobody.

mod command;
mod display;
mod feed;
mod fragment_assembler;
mod message;
mod publisher;

pub use command::ViewCommand;
pub use feed::{StationChannel, ViewerChannel, ViewerGuard};
#[cfg(test)]
pub use message::NucleiView;
pub use message::{Activity, FrameView, StationView, ViewMessage};
pub use publisher::ViewPublisher;
