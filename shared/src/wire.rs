//! The wire: messages of host and station, and the packets that carry them.

mod message;

pub use message::*;
