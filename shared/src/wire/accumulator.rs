//! Bytes of a line, in any chunking, to packets.

use alloc::vec::Vec;

use super::packet::{MAX_PACKET, Packet, PacketError};

/// Collects bytes up to the next zero; holds at most [`MAX_PACKET`] of them.
#[derive(Debug, Clone)]
pub struct Accumulator {
    run: Vec<u8>,
    overrun: bool,
    damaged: u32,
}

impl Default for Accumulator {
    fn default() -> Self {
        Self::new()
    }
}

impl Accumulator {
    /// An empty accumulator. It allocates here and not later.
    pub fn new() -> Self {
        Self { run: Vec::with_capacity(MAX_PACKET), overrun: false, damaged: 0 }
    }

    /// Takes bytes as they come and hands over every packet that they complete, in order.
    ///
    /// A run of bytes that is too long is dropped up to its zero and reported once. An empty run between two zeros is
    /// ignored.
    pub fn push(&mut self, mut bytes: &[u8], mut on_packet: impl FnMut(Result<Packet, PacketError>)) {
        while let Some(zero) = bytes.iter().position(|&byte| byte == 0) {
            self.extend(&bytes[..zero]);
            bytes = &bytes[zero + 1..];
            if let Some(result) = self.take() {
                if matches!(result, Err(PacketError::Damaged | PacketError::Oversize)) {
                    self.damaged = self.damaged.saturating_add(1);
                }
                on_packet(result);
            }
        }
        self.extend(bytes);
    }

    /// Damaged and oversize packets so far.
    pub const fn damaged(&self) -> u32 {
        self.damaged
    }

    /// Discards an incomplete packet, for example after the line was reopened.
    pub fn reset(&mut self) {
        self.run.clear();
        self.overrun = false;
    }

    fn extend(&mut self, bytes: &[u8]) {
        // The zero is part of MAX_PACKET and is never held.
        if self.overrun || self.run.len() + bytes.len() >= MAX_PACKET {
            self.overrun = true;
            self.run.clear();
        } else {
            self.run.extend_from_slice(bytes);
        }
    }

    /// The packet that a zero just ended.
    fn take(&mut self) -> Option<Result<Packet, PacketError>> {
        let result = if self.overrun {
            Some(Err(PacketError::Oversize))
        } else if self.run.is_empty() {
            None
        } else {
            Some(match cobs::decode_in_place(&mut self.run) {
                Ok(length) => Packet::decode(&self.run[..length]),
                Err(_) => Err(PacketError::Damaged),
            })
        };
        self.reset();
        result
    }
}

#[cfg(test)]
mod tests;
