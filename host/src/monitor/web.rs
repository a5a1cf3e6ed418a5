//! The local page: what a person at the bench sees in a browser.
//!
//! One thread holds a station and tells a [`Panel`] what comes. The panel publishes it to a [`Feed`], which
//! any number of viewers follow over WebSockets, or one on a terminal; what they ask for comes back as
//! [`Command`]s. A viewer that is too slow misses frames, and slows down nobody. The page itself is one file
//! within the program and needs no network.

mod access;
mod command;
mod feed;
mod panel;
mod pieces;
mod server;
mod view;
mod words;

pub use command::Command;
pub use feed::{Change, Seat, StationSeat, Viewing};
pub use panel::Panel;
pub use server::{DEFAULT_ADDRESS, serve};
pub use view::{StationView, Work};
pub use words::FrameWords;
