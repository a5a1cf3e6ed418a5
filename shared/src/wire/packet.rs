//! The bytes between two zeros.

use alloc::vec::Vec;

use crc::{CRC_32_ISO_HDLC, Crc};
use serde::Deserialize;
use thiserror::Error;

use super::message::{Event, PROTOCOL_VERSION, Request, Response};

/// Maximum bulk bytes per packet; offsets of [`Request::StageChunk`] are multiples of it.
pub const CHUNK: u32 = 4096;
/// Maximum bytes of an encoded message.
pub const MAX_MESSAGE: usize = 640;
/// Maximum bytes of a packet on the wire, including its zero.
pub const MAX_PACKET: usize =
    cobs::max_encoding_length(HEADER_LENGTH + MAX_MESSAGE + CHUNK as usize + CRC_LENGTH) + 1;

pub(super) const HEADER_LENGTH: usize = 6;
pub(super) const CRC_LENGTH: usize = 4;
const PROTOCOL: u8 = PROTOCOL_VERSION as u8;

/// CRC-32 ISO-HDLC, that of zlib and Ethernet.
pub(crate) static CRC_32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

const _: () = {
    assert!(PROTOCOL_VERSION <= u8::MAX as u16);
    assert!(MAX_MESSAGE + CHUNK as usize <= u16::MAX as usize);
    // postcard writes an integer in at most twice its bytes, an enum's number in one byte.
    assert!(2 * size_of::<Request>() <= MAX_MESSAGE);
    assert!(2 * size_of::<Response>() <= MAX_MESSAGE);
    assert!(2 * size_of::<Event>() <= MAX_MESSAGE);
};

/// Which of the three tables a message is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// [`Request`].
    Request = 1,
    /// [`Response`].
    Response = 2,
    /// [`Event`].
    Event = 3,
}

impl Kind {
    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Request),
            2 => Some(Self::Response),
            3 => Some(Self::Event),
            _ => None,
        }
    }
}

/// A message of any kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Request, from host to station.
    Request(Request),
    /// Response, from station to host.
    Response(Response),
    /// Event, from station to host.
    Event(Event),
}

impl Message {
    /// Which table it is of.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Request(_) => Kind::Request,
            Self::Response(_) => Kind::Response,
            Self::Event(_) => Kind::Event,
        }
    }

    /// Its bytes by postcard.
    fn encode<'a>(&self, room: &'a mut [u8]) -> postcard::Result<&'a mut [u8]> {
        match self {
            Self::Request(request) => postcard::to_slice(request, room),
            Self::Response(response) => postcard::to_slice(response, room),
            Self::Event(event) => postcard::to_slice(event, room),
        }
    }

    fn decode(kind: Kind, bytes: &[u8]) -> Option<Self> {
        match kind {
            Kind::Request => decode_whole(bytes).map(Self::Request),
            Kind::Response => decode_whole(bytes).map(Self::Response),
            Kind::Event => decode_whole(bytes).map(Self::Event),
        }
    }
}

/// Decodes a value that fills `bytes`.
pub(crate) fn decode_whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

impl From<Request> for Message {
    fn from(request: Request) -> Self {
        Self::Request(request)
    }
}

impl From<Response> for Message {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

impl From<Event> for Message {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}

/// A message on the wire.
///
/// # Layout
/// Before COBS; integers are little endian.
///
/// | bytes | what |
/// | --- | --- |
/// | 0 | protocol version |
/// | 1 | [`Kind`] |
/// | 2..4 | sequence |
/// | 4..6 | length of the message |
/// | .. | message, by postcard |
/// | .. | bulk bytes, at most [`CHUNK`] |
/// | last 4 | CRC-32 ISO-HDLC of all before |
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    /// The sender's number of a request, of a result or notice, or of a piece of masks or previews; a response echoes
    /// its request's.
    pub sequence: u16,
    /// What is said.
    pub message: Message,
    /// Bytes that belong to it.
    pub bulk: Vec<u8>,
}

impl Packet {
    /// A packet without bulk bytes.
    pub fn new(sequence: u16, message: impl Into<Message>) -> Self {
        Self { sequence, message: message.into(), bulk: Vec::new() }
    }

    /// Appends the packet with its zero to `out`.
    ///
    /// # Errors
    /// [`EncodeError`] when it is larger than any packet may be; `out` is then as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        encode_packet(self.sequence, &self.message, &self.bulk, out)
    }

    /// Reads what COBS gave. The CRC comes first.
    pub(super) fn decode(decoded: &[u8]) -> Result<Self, PacketError> {
        let (content, crc) = decoded.split_last_chunk::<CRC_LENGTH>().ok_or(PacketError::Damaged)?;
        if CRC_32.checksum(content) != u32::from_le_bytes(*crc) {
            return Err(PacketError::Damaged);
        }
        let (header, body) = content.split_first_chunk::<HEADER_LENGTH>().ok_or(PacketError::Damaged)?;
        let [protocol, kind, s0, s1, l0, l1] = *header;
        let kind = Kind::from_code(kind);
        let sequence = u16::from_le_bytes([s0, s1]);
        if protocol != PROTOCOL {
            return Err(PacketError::ProtocolVersion { found: protocol, kind, sequence });
        }
        let (message, bulk) = kind
            .zip(body.split_at_checked(usize::from(u16::from_le_bytes([l0, l1]))))
            .and_then(|(kind, (message, bulk))| Some((Message::decode(kind, message)?, bulk)))
            .ok_or(PacketError::UnknownMessage { kind, sequence })?;
        if bulk.len() > CHUNK as usize {
            return Err(PacketError::Oversize);
        }
        Ok(Self { sequence, message, bulk: bulk.to_vec() })
    }
}

/// Appends a packet with its zero to `out`.
///
/// A sender that has been silent may write a lone zero before it: line noise is then a packet of its own.
///
/// # Errors
/// [`EncodeError`] when message or bulk is larger than a packet may hold; `out` is then as it was.
pub fn encode_packet(
    sequence: u16,
    message: &Message,
    bulk: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if bulk.len() > CHUNK as usize {
        return Err(EncodeError::Bulk { length: bulk.len() });
    }
    let mut room = [0; MAX_MESSAGE];
    let encoded = message.encode(&mut room).map_err(|_| EncodeError::Message)?;
    let mut content = Vec::with_capacity(HEADER_LENGTH + encoded.len() + bulk.len() + CRC_LENGTH);
    content.extend_from_slice(&[PROTOCOL, message.kind() as u8]);
    content.extend_from_slice(&sequence.to_le_bytes());
    content.extend_from_slice(&(encoded.len() as u16).to_le_bytes());
    content.extend_from_slice(encoded);
    content.extend_from_slice(bulk);
    let crc = CRC_32.checksum(&content);
    content.extend_from_slice(&crc.to_le_bytes());

    let start = out.len();
    out.resize(start + cobs::max_encoding_length(content.len()) + 1, 0);
    let length = cobs::encode(&content, &mut out[start..]);
    out.truncate(start + length);
    out.push(0);
    Ok(())
}

/// Why a packet cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The bulk bytes are more than [`CHUNK`].
    #[error("{length} bulk bytes do not fit into a packet of at most {CHUNK}")]
    Bulk {
        /// How many there are.
        length: usize,
    },
    /// The message is longer than [`MAX_MESSAGE`].
    #[error("the message is longer than {MAX_MESSAGE} bytes")]
    Message,
}

/// Why received bytes are not a packet of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PacketError {
    /// COBS or CRC do not hold, or bytes are missing.
    #[error("a packet arrived damaged")]
    Damaged,
    /// More bytes came without a zero than any packet has.
    #[error("more than the {MAX_PACKET} bytes of the longest packet came in one run")]
    Oversize,
    /// An intact packet of another protocol version.
    #[error("the other side speaks protocol {found}, this side {PROTOCOL_VERSION}")]
    ProtocolVersion {
        /// Its version.
        found: u8,
        /// Its kind, if known to this version.
        kind: Option<Kind>,
        /// Its sequence number.
        sequence: u16,
    },
    /// An intact packet of this version with an unknown message.
    #[error("an intact packet contains a message unknown to protocol {PROTOCOL_VERSION}")]
    UnknownMessage {
        /// Its kind, if known to this version.
        kind: Option<Kind>,
        /// Its sequence number.
        sequence: u16,
    },
}

#[cfg(test)]
mod tests;
