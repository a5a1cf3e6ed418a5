//! The host's end of the wire: a station's client over any line.

mod capture;
mod error;
mod flash;
mod line;
mod numbering;
mod ports;
mod quality;
mod requests;
#[cfg(test)]
mod scripted;
mod signing;
mod slots;
mod speed;
#[cfg(test)]
mod tests;
mod upload;
mod waits;
mod words;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use host_console::interrupt;
use shared::trust::SecretKey;
use shared::wire::{
    Accumulator, Challenge, Event, Fragment, Identity, Kind, MAX_PACKET, Message, PROTOCOL_VERSION, Packet,
    PacketError, ReceiveStats, Refusal, ReliableEvent, Request, Response, encode_packet, wake_preamble_len,
};

use crate::station::key_store::KeyStoreError;
use error::Heard;

pub use capture::{CaptureError, CaptureProgress, Captured, Shot};
pub use error::LinkError;
pub use flash::{FlashError, FlashStep, Flashed, flash};
pub use line::{Line, SerialLine};
pub use numbering::Numbering;
pub use ports::{PortKind, describe_ports, list_ports};
pub use quality::{LineQuality, measure};
#[cfg(test)]
pub use scripted::{Scripted, memory_line};
pub use slots::{RevertError, content, revert_running, running};
pub use speed::{Climb, LineSpeed};
pub use upload::Uploaded;
pub use waits::Waits;
pub use words::{camera_word, slot_name, state_word};

/// The rate of the line unless another is named, bits a second.
pub const DEFAULT_BAUD: u32 = 921_600;

/// How often the first request is sent: with [`Waits::greeting`], longer than a station takes to open its port,
/// and than an SD card may hold up a write that the station waits for.
const HELLO_ATTEMPTS: u32 = 10;
const ATTEMPTS: u32 = 4;

/// How often a request is sent, how long its answer is waited for each time, and what ends that early.
#[derive(Debug, Clone, Copy)]
struct Tries {
    attempts: u32,
    wait: Duration,
    is_over: fn() -> bool,
}

/// Events that may wait to be taken; a caller that takes none loses the oldest.
const MAX_EVENTS: usize = 8192;

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The sequence number of its request.
    pub sequence: u16,
    /// What is answered; `None` where this version does not know it.
    pub response: Option<Response>,
    /// Bytes that belong to it.
    pub bulk: Vec<u8>,
}

/// Something told unasked.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// A result or a notice: in order, each once.
    ReliableEvent(ReliableEvent),
    /// A piece of a frame's masks, with its bytes.
    Masks(Fragment, Vec<u8>),
    /// A piece of a frame's preview, with its bytes.
    Preview(Fragment, Vec<u8>),
}

/// What an operation that takes its time reports while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum OperationUpdate<P> {
    /// The station answered: how far the operation is, also where nothing changed.
    Progress(P),
    /// An event that the station sent meanwhile. Nobody else receives it.
    Event(Told),
}

impl<P> OperationUpdate<P> {
    /// The same with another progress.
    pub fn map<Q>(self, progress: impl FnOnce(P) -> Q) -> OperationUpdate<Q> {
        match self {
            Self::Progress(from) => OperationUpdate::Progress(progress(from)),
            Self::Event(event) => OperationUpdate::Event(event),
        }
    }
}

/// What went over the line since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Packets that arrived damaged.
    pub damaged: u32,
    /// Requests that were sent again.
    pub retried: u32,
    /// Answers that came when nobody waited for them any more.
    pub late: u32,
    /// Results and notices that never arrived: the station no longer kept them when they were asked for.
    pub events_lost: u32,
    /// Those that were lost on the line and told again.
    pub events_regained: u32,
    /// Events that arrived once more, or too late; they are passed over.
    pub events_stale: u32,
}

/// A station at the other end of a line.
#[derive(Debug)]
pub struct Station<L> {
    line: L,
    port: String,
    speed: LineSpeed,
    accumulator: Accumulator,
    numbering: Numbering,
    /// The clock of what is lacking.
    since: Instant,
    /// The station answered the greeting, and can be asked for what is lacking.
    is_greeted: bool,
    /// The number of the last request for it.
    recall: Option<u16>,
    replies: VecDeque<Reply>,
    events: VecDeque<Told>,
    waits: Waits,
    traffic: Traffic,
    heard: Heard,
    /// A version that the other side speaks and this one does not.
    foreign: Option<u8>,
    /// Signs changes where the station wants that.
    key: Option<SecretKey>,
    /// Why there is none.
    no_key: Option<KeyStoreError>,
    /// What the next change is signed for, once the station was asked.
    challenge: Option<Challenge>,
}

impl Station<SerialLine> {
    /// Opens a serial port and greets the station there, at `baud`, or, where bytes come that are no packets, the
    /// fastest slower speed that is answered.
    ///
    /// # Errors
    /// [`LinkError`] when the port cannot be opened, nobody answers, the versions differ, or the program is to stop.
    pub fn open(port: &str, baud: u32) -> Result<(Self, Identity), LinkError> {
        Self::reopen(port, LineSpeed::top(baud), Numbering::default())
    }

    /// Opens a port again whose line was lost, to go on where that conversation was.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn reopen(port: &str, speed: LineSpeed, numbering: Numbering) -> Result<(Self, Identity), LinkError> {
        let line = SerialLine::open(port, speed.now).map_err(|error| LinkError::of_open(port, error))?;
        let mut station = Self { speed, ..Self::new(line, port, speed.top) }.with_numbering(numbering);
        let identity = match station.greet_within(station.greeting(interrupt::is_raised)) {
            Err(noise @ LinkError::NoStation { heard: Heard::Noise, .. }) => {
                station.greet_slower()?.ok_or(noise)?
            }
            greeted => greeted?,
        };
        Ok((station, identity))
    }
}

impl<L: Line> Station<L> {
    /// A station to be greeted, on a line of that name and rate in bits a second.
    pub fn new(line: L, port: &str, baud: u32) -> Self {
        Self {
            line,
            port: port.to_owned(),
            speed: LineSpeed::top(baud),
            accumulator: Accumulator::new(),
            numbering: Numbering::default(),
            since: Instant::now(),
            is_greeted: false,
            recall: None,
            replies: VecDeque::new(),
            events: VecDeque::new(),
            waits: Waits::default(),
            traffic: Traffic::default(),
            heard: Heard::Silence,
            foreign: None,
            key: None,
            no_key: None,
            challenge: None,
        }
    }

    /// The same station with other waits.
    pub fn with_waits(self, waits: Waits) -> Self {
        Self { waits, ..self }
    }

    /// The same station as the one whose line was lost at these numbers.
    pub fn with_numbering(self, numbering: Numbering) -> Self {
        Self { numbering, ..self }
    }

    /// The numbers that the conversation has come to.
    pub fn numbering(&self) -> Numbering {
        self.numbering.clone()
    }

    /// Opens the conversation, again and again until the station answers.
    ///
    /// # Errors
    /// [`LinkError::NoStation`], [`LinkError::Protocol`] or [`LinkError::Lost`].
    pub fn greet(&mut self) -> Result<Identity, LinkError> {
        self.greet_within(self.greeting(|| false))
    }

    fn greeting(&self, is_over: fn() -> bool) -> Tries {
        Tries { attempts: HELLO_ATTEMPTS, wait: self.waits.greeting, is_over }
    }

    fn greet_within(&mut self, tries: Tries) -> Result<Identity, LinkError> {
        let request = Request::Hello { protocol: PROTOCOL_VERSION };
        self.is_greeted = false;
        match self.ask(&request, &[], tries) {
            Ok((Response::Hello(identity), _)) if identity.protocol == PROTOCOL_VERSION => {
                self.is_greeted = true;
                self.numbering.receiver.on_reconnect();
                Ok(identity)
            }
            Ok((Response::Hello(Identity { protocol: station, .. }), _))
            | Err(LinkError::Refused(Refusal::Protocol { station })) => Err(self.protocol(station)),
            Ok(_) => Err(self.unfitting()),
            Err(LinkError::Silent { port }) => Err(LinkError::NoStation { port, heard: self.heard }),
            Err(error) => Err(error),
        }
    }

    /// Asks and waits for the answer, again where none comes.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn request(&mut self, request: &Request, bulk: &[u8]) -> Result<(Response, Vec<u8>), LinkError> {
        self.ask(request, bulk, Tries { attempts: ATTEMPTS, wait: self.reply_wait(), is_over: || false })
    }

    /// Sends a request and does not wait; its sequence number.
    ///
    /// # Errors
    /// [`LinkError::Encode`] or [`LinkError::Lost`].
    pub fn send(&mut self, request: &Request, bulk: &[u8]) -> Result<u16, LinkError> {
        let sequence = self.numbering.next_request();
        self.transmit(sequence, request, bulk)?;
        Ok(sequence)
    }

    /// The next answer that came or comes in time.
    ///
    /// # Errors
    /// [`LinkError::Lost`] or [`LinkError::Protocol`].
    pub fn next_reply(&mut self, wait: Duration) -> Result<Option<Reply>, LinkError> {
        let until = Instant::now() + wait;
        loop {
            if let Some(reply) = self.replies.pop_front() {
                return Ok(Some(reply));
            }
            let is_last = Instant::now() >= until;
            if !self.listen(until)? || is_last {
                return Ok(self.replies.pop_front());
            }
        }
    }

    /// The next event that came or comes in time.
    ///
    /// # Errors
    /// [`LinkError::Lost`] or [`LinkError::Protocol`].
    pub fn next_event(&mut self, wait: Duration) -> Result<Option<Told>, LinkError> {
        let until = Instant::now() + wait;
        loop {
            if let Some(told) = self.events.pop_front() {
                return Ok(Some(told));
            }
            let is_last = Instant::now() >= until;
            if !self.listen(until)? || is_last {
                return Ok(self.events.pop_front());
            }
        }
    }

    /// Takes in what comes for so long, for later.
    ///
    /// # Errors
    /// [`LinkError::Lost`] or [`LinkError::Protocol`].
    pub fn wait(&mut self, time: Duration) -> Result<(), LinkError> {
        let until = Instant::now() + time;
        while Instant::now() < until && self.listen(until)? {}
        Ok(())
    }

    /// The events that came and nobody took.
    pub fn take_events(&mut self) -> VecDeque<Told> {
        std::mem::take(&mut self.events)
    }

    /// What went over the line.
    pub const fn traffic(&self) -> Traffic {
        Traffic { damaged: self.accumulator.damaged(), ..self.traffic }
    }

    /// The line's rate, bits a second.
    pub const fn baud(&self) -> u32 {
        self.speed.now
    }

    /// The same with the fastest that was asked for.
    pub const fn speed(&self) -> LineSpeed {
        self.speed
    }

    /// The port's name.
    pub fn port(&self) -> &str {
        &self.port
    }

    /// How long an answer may take: the station's time, and the longest packets both ways.
    fn reply_wait(&self) -> Duration {
        let bits = 4 * MAX_PACKET as u64 * 10;
        self.waits.answer + Duration::from_millis(bits * 1000 / u64::from(self.speed.now.max(1)))
    }

    fn ask(
        &mut self,
        request: &Request,
        bulk: &[u8],
        Tries { attempts, wait, is_over }: Tries,
    ) -> Result<(Response, Vec<u8>), LinkError> {
        let sequence = self.numbering.next_request();
        for attempt in 0..attempts {
            if is_over() {
                return Err(LinkError::Stopped { port: self.port.clone() });
            }
            self.traffic.retried += u32::from(attempt > 0);
            // Retried under its own number: an answer that was merely slow still counts.
            self.transmit(sequence, request, bulk)?;
            let until = Instant::now() + wait;
            while let Some(reply) = self.next_reply(until.saturating_duration_since(Instant::now()))? {
                if reply.sequence != sequence {
                    self.traffic.late += 1;
                    continue;
                }
                return match reply.response {
                    Some(Response::Refused(refusal)) => Err(refusal.into()),
                    Some(response) => Ok((response, reply.bulk)),
                    None => Err(self.unfitting()),
                };
            }
        }
        Err(LinkError::Silent { port: self.port.clone() })
    }

    fn transmit(&mut self, sequence: u16, request: &Request, bulk: &[u8]) -> Result<(), LinkError> {
        // A lone zero first: what noise left on the line is then a packet of its own.
        let zeros = if self.is_greeted { 1 } else { wake_preamble_len(self.speed.top, self.speed.now) };
        let mut bytes = vec![0; zeros];
        encode_packet(sequence, &Message::Request(request.clone()), bulk, &mut bytes)?;
        self.traffic.sent += bytes.len() as u64;
        self.line.send(&bytes).map_err(|error| self.lost(error))
    }

    /// Asks for results and notices that are lacking, where it is time.
    fn ask_for_lacking(&mut self) -> Result<(), LinkError> {
        let now_ms = self.since.elapsed().as_millis() as u64;
        let patience_ms = self.reply_wait().as_millis() as u64;
        if self.is_greeted
            && let Some(nack) = self.numbering.receiver.poll_nack(now_ms, patience_ms)
        {
            self.recall = Some(self.send(&Request::Resend(nack), &[])?);
        }
        Ok(())
    }

    /// Takes in what comes next; `false` where that is nothing in time.
    fn listen(&mut self, until: Instant) -> Result<bool, LinkError> {
        self.ask_for_lacking()?;
        let mut room = [0; 4096];
        let wait = until.saturating_duration_since(Instant::now());
        let count = self.line.receive(&mut room, wait).map_err(|error| self.lost(error))?;
        if count == 0 {
            return Ok(false);
        }
        self.traffic.received += count as u64;
        if self.heard == Heard::Silence {
            self.heard = Heard::Noise;
        }
        let mut packets = Vec::new();
        self.accumulator.push(&room[..count], |packet| packets.push(packet));
        for packet in packets {
            match packet {
                Ok(Packet { sequence, message, bulk }) => self.take(sequence, message, bulk),
                Err(error) => self.take_unknown(error),
            }
        }
        if let Some(station) = self.foreign {
            return Err(self.protocol(u16::from(station)));
        }
        self.ask_for_lacking()?;
        Ok(true)
    }

    fn take(&mut self, sequence: u16, message: Message, bulk: Vec<u8>) {
        match message {
            Message::Request(_) => self.heard = Heard::Echo,
            Message::Response(Response::Resend(range)) => {
                if self.recall.take_if(|asked| *asked == sequence).is_none() {
                    self.traffic.late += 1;
                    return;
                }
                self.numbering.receiver.on_range(range);
                self.take_news();
            }
            Message::Response(response) => {
                self.replies.push_back(Reply { sequence, response: Some(response), bulk });
            }
            Message::Event(Event::Sequenced(event)) => {
                self.numbering.receiver.on_event(event);
                self.take_news();
            }
            Message::Event(Event::Masks(piece)) if !self.numbering.is_late(sequence) => {
                self.keep(Told::Masks(piece, bulk));
            }
            Message::Event(Event::Preview(piece)) if !self.numbering.is_late(sequence) => {
                self.keep(Told::Preview(piece, bulk));
            }
            // Results and notices without a number are another version's.
            Message::Event(_) => self.traffic.events_stale += 1,
        }
    }

    /// Takes the results and notices whose turn it is.
    fn take_news(&mut self) {
        while let Some(event) = self.numbering.receiver.pop() {
            self.keep(Told::ReliableEvent(event));
        }
        let ReceiveStats { lost, duplicates, recovered } = self.numbering.receiver.take_stats();
        self.traffic.events_lost = self.traffic.events_lost.saturating_add(lost);
        self.traffic.events_stale += duplicates;
        self.traffic.events_regained += recovered;
    }

    fn keep(&mut self, told: Told) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(told);
    }

    fn take_unknown(&mut self, error: PacketError) {
        match error {
            PacketError::ProtocolVersion { found, kind, .. } if kind != Some(Kind::Request) => {
                self.foreign = Some(found);
            }
            PacketError::UnknownMessage { kind: Some(Kind::Response), sequence } => {
                self.replies.push_back(Reply { sequence, response: None, bulk: Vec::new() });
            }
            PacketError::Damaged | PacketError::Oversize => self.numbering.receiver.on_damaged_packet(),
            _ => {}
        }
    }

    fn lost(&self, source: io::Error) -> LinkError {
        LinkError::Lost { port: self.port.clone(), source }
    }

    fn protocol(&self, station: u16) -> LinkError {
        LinkError::Protocol { port: self.port.clone(), station }
    }

    fn unfitting(&self) -> LinkError {
        LinkError::Unfitting { port: self.port.clone() }
    }
}
