//! The wire: messages of host and station, and the packets that carry them.
//!
//! # Wire law
//! * A packet is COBS(header, message, trailing bulk bytes, CRC-32) and then a zero; see [`Packet`].
//! * The CRC is checked before anything is parsed. A damaged packet is counted and dropped up to the
//!   next zero, and the stream continues.
//! * The header's layout is the same in every version, so that either side can report its version.
//! * Released messages are frozen: `tests/golden_bytes.rs` holds the bytes of every message.
//! * A response carries its request's sequence number. Every request may be retried safely.
//! * Frame results and notices always arrive. The station buffers the last [`RETRANSMIT_CAPACITY`] since its start
//!   and resends those that a host reports missing. The host delivers them in order, each once. See
//!   [`RetransmitBuffer`] and [`ReorderBuffer`]. Masks and previews are never resent: a slow line drops and counts
//!   them.
//! * The host chooses the line's baud rate among [`baud_rates`] by a handshake at it. A station that receives bytes
//!   and cannot decode a packet from them switches to the next slower rate, and from the slowest to the fastest,
//!   until it can.
//!   The host wakes it with zeros: see [`wake_preamble_len`].

mod accumulator;
mod baud_rates;
mod message;
mod packet;
mod reorder_buffer;
mod retransmit_buffer;
mod send_window;

pub use accumulator::Accumulator;
pub use baud_rates::{MIN_UNDECODABLE_BYTES, baud_rates, line_share, wake_preamble_len};
pub use message::*;
pub use packet::{
    CHUNK, EncodeError, Kind, MAX_MESSAGE, MAX_PACKET, Message, Packet, PacketError, encode_packet,
};
pub(crate) use packet::{CRC_32, decode_whole};
pub use reorder_buffer::{ReceiveStats, ReorderBuffer};
pub use retransmit_buffer::RetransmitBuffer;
pub use send_window::{SendWindow, WindowConfig};
