//! The wire: messages of host and station, and the packets that carry them.
//!
//! # Wire law
//! * A packet is COBS(header, message, trailing bulk bytes, CRC-32) and then a zero; see [`Packet`].
//! * The CRC is checked before anything is parsed. A damaged packet is counted and dropped up to the
//!   next zero, and the stream goes on.
//! * The header's layout is the same in every version, so that either side can tell the other what
//!   it speaks.
//! * What has shipped is frozen: `tests/golden_bytes.rs` holds the bytes of every message.
//! * A response carries its request's sequence number. Every request may be retried safely.
//! * Results and notices always arrive: the station keeps the last [`MAX_KEPT`] of a run and tells again those that a host
//!   says it lacks, and the host takes them in their order, each once; see [`Teller`] and [`Listener`]. Masks and previews
//!   are not told again: on a slow line they are dropped and counted.
//! * The host chooses the line's speed, among [`speeds`], by asking at it. A station that gets bytes and no packet
//!   out of them goes on to the next slower speed, and after the slowest to the fastest, until it understands. The host
//!   wakes it with [`waking_zeros`].

mod accumulator;
mod listener;
mod message;
mod packet;
mod speed;
mod teller;
mod window;

pub use accumulator::Accumulator;
pub use listener::{Listener, Noticed};
pub use message::*;
pub use packet::{
    CHUNK, EncodeError, Kind, MAX_MESSAGE, MAX_PACKET, Message, Packet, PacketError, encode_packet,
};
pub(crate) use packet::{CRC_32, decode_whole};
pub use speed::{BABBLE, speeds, waking_zeros};
pub use teller::Teller;
pub use window::{Upload, UploadOptions};
