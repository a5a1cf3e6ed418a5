//! A scripted station behind an in-memory line, for tests.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use shared::wire::{
    Accumulator, BootId, Event, Message, Packet, PacketError, ReliableEvent, Request, Response,
    SequencedEvent,
};

use super::Transport;

/// What a scripted station does with a request: packets to send back.
pub type Script = Box<dyn FnMut(Packet) -> Vec<Packet>>;

/// A line in memory with a scripted station at its end. What it has to say is there at once; where
/// it has nothing, the wait is over at once.
pub struct Scripted {
    script: Script,
    accumulator: Accumulator,
    /// Bytes for the host.
    pub to_host: VecDeque<u8>,
    /// Packets of the host by number, from 0, that are lost on their way.
    pub lose: Vec<u32>,
    packets: u32,
}

/// A line to a station that answers by `answer`, which may also say something unasked.
pub fn memory_line(
    mut answer: impl FnMut(Request, &[u8]) -> (Vec<ReliableEvent>, Option<(Response, Vec<u8>)>) + 'static,
) -> Scripted {
    let mut number = 0;
    let script = move |packet: Packet| {
        let Message::Request(request) = packet.message else { return Vec::new() };
        let (events, reply) = answer(request, &packet.bulk);
        let mut packets: Vec<Packet> = events
            .into_iter()
            .map(|event| {
                number += 1;
                Packet::new(
                    number as u16,
                    Event::Sequenced(SequencedEvent { boot_id: BootId(1), sequence: number, event }),
                )
            })
            .collect();
        packets.extend(reply.map(|(response, bulk)| Packet {
            sequence: packet.sequence,
            message: response.into(),
            bulk,
        }));
        packets
    };
    Scripted::new(Box::new(script))
}

impl Scripted {
    /// A line with that station at its end.
    pub fn new(script: Script) -> Self {
        Self {
            script,
            accumulator: Accumulator::new(),
            to_host: VecDeque::new(),
            lose: Vec::new(),
            packets: 0,
        }
    }
}

impl Transport for Scripted {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut came: Vec<Result<Packet, PacketError>> = Vec::new();
        self.accumulator.push(bytes, |packet| came.push(packet));
        for packet in came {
            let number = self.packets;
            self.packets += 1;
            if self.lose.contains(&number) {
                continue;
            }
            let mut answers = Vec::new();
            for answer in (self.script)(packet.unwrap()) {
                answers.push(0);
                answer.encode(&mut answers).unwrap();
            }
            self.to_host.extend(answers);
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], _wait: Duration) -> io::Result<usize> {
        io::Read::read(&mut self.to_host, buffer)
    }
}
