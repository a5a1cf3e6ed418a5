//! The host's end of the protocol: a client for one station over any transport.

mod baud_rate;
mod capture;
mod deadline;
mod error;
mod flash;
mod in_flight;
mod names;
mod ports;
mod quality;
mod requests;
#[cfg(test)]
mod scripted;
mod session_state;
mod signing;
mod slots;
#[cfg(test)]
mod tests;
mod timeouts;
mod transport;
mod upload;

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
use error::LineObservation;

pub use baud_rate::{BaudRate, BaudRecovery};
pub use capture::{CaptureError, CaptureOutcome, CaptureProgress, CapturedFrame};
pub use error::LinkError;
#[cfg(test)]
pub use flash::POLL_INTERVAL as FLASH_POLL_INTERVAL;
pub use flash::{FlashError, FlashOutcome, FlashProgress, flash};
pub use names::{camera_word, slot_name, state_word};
pub use ports::{PortKind, describe_ports, list_ports};
pub use quality::{LineQuality, measure};
#[cfg(test)]
pub use scripted::{Scripted, memory_line};
pub use session_state::SessionState;
pub use slots::{RevertError, content, revert_running, running};
pub use timeouts::Timeouts;
pub use transport::{SerialTransport, Transport};
pub use upload::UploadStats;

/// The baud rate of the line unless another is named, bits per second.
pub const DEFAULT_BAUD: u32 = 921_600;

/// How often the handshake is sent. With [`Timeouts::handshake`], this outlasts a station that opens its port, and an SD
/// card that holds up a write.
const HANDSHAKE_ATTEMPTS: u32 = 10;
const REQUEST_ATTEMPTS: u32 = 4;

/// How often a request is sent, how long each attempt waits for the response, and what ends the attempts early.
#[derive(Debug, Clone, Copy)]
struct RetryPolicy {
    max_attempts: u32,
    per_attempt_timeout: Duration,
    cancelled: fn() -> bool,
}

/// Events that may wait for the caller. When it takes none, the oldest are dropped.
const MAX_EVENTS: usize = 8192;

/// A response.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The sequence number of its request.
    pub sequence: u16,
    /// The response; `None` when this version does not know it.
    pub response: Option<Response>,
    /// Bytes that belong to it.
    pub bulk: Vec<u8>,
}

/// What the station sends without a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// A frame's result or a notice: in order, each once.
    Event(ReliableEvent),
    /// A fragment of a frame's masks, with its bytes.
    Masks(Fragment, Vec<u8>),
    /// A fragment of a frame's preview, with its bytes.
    Preview(Fragment, Vec<u8>),
}

/// What a long operation reports while it runs.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "each is handled at once, never held in numbers")]
pub enum OperationUpdate<P> {
    /// The station responded: how far the operation is, even if nothing changed.
    Progress(P),
    /// An event that the station sent meanwhile. Nobody else receives it.
    Event(Incoming),
}

impl<P> OperationUpdate<P> {
    /// The same update with its progress converted.
    pub fn map<Q>(self, convert: impl FnOnce(P) -> Q) -> OperationUpdate<Q> {
        match self {
            Self::Progress(progress) => OperationUpdate::Progress(convert(progress)),
            Self::Event(event) => OperationUpdate::Event(event),
        }
    }
}

/// What went over the line since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStats {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Packets that arrived damaged.
    pub damaged: u32,
    /// Requests that were sent again.
    pub retransmits: u32,
    /// Responses that arrived when nobody waited for them any more.
    pub late_responses: u32,
    /// Frame results and notices that will never arrive: the station had evicted them when they were requested.
    pub events_lost: u32,
    /// Those that were lost on the line and resent.
    pub events_recovered: u32,
    /// Events that arrived again or too late, and were ignored.
    pub events_duplicate: u32,
}

/// A client for the station at the other end of a transport.
#[derive(Debug)]
pub struct StationClient<T> {
    transport: T,
    port: String,
    baud: BaudRate,
    accumulator: Accumulator,
    session: SessionState,
    /// When the reorder buffer's clock began.
    since: Instant,
    /// The station completed the handshake, and answers NACKs.
    is_connected: bool,
    /// The sequence number of the last NACK.
    pending_nack: Option<u16>,
    replies: VecDeque<Reply>,
    events: VecDeque<Incoming>,
    timeouts: Timeouts,
    stats: LinkStats,
    observed: LineObservation,
    /// The other side's version, where this program does not speak it.
    peer_version: Option<u8>,
    /// Signs changes where the station requires that.
    key: Option<SecretKey>,
    /// Why there is none.
    no_key: Option<KeyStoreError>,
    /// What the next change is signed for, once the station was asked.
    challenge: Option<Challenge>,
}

impl StationClient<SerialTransport> {
    /// Opens a serial port and completes the handshake at `baud`, or, where the received bytes are no packets, at the
    /// fastest slower rate that works.
    ///
    /// # Errors
    /// [`LinkError`] when the port cannot be opened, no station responds, the versions differ, or the program is to stop.
    pub fn open(port: &str, baud: u32) -> Result<(Self, Identity), LinkError> {
        Self::reopen(port, BaudRate::at_max(baud), SessionState::default())
    }

    /// Opens a port again after its line was lost, to continue that session.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn reopen(port: &str, baud: BaudRate, session: SessionState) -> Result<(Self, Identity), LinkError> {
        let transport =
            SerialTransport::open(port, baud.current).map_err(|error| LinkError::of_open(port, error))?;
        let mut client = Self { baud, ..Self::new(transport, port, baud.max) }.with_session(session);
        let identity = match client.handshake_within(client.handshake_policy(interrupt::is_raised)) {
            Err(noise @ LinkError::NoStation { observed: LineObservation::Noise, .. }) => {
                client.handshake_slower()?.ok_or(noise)?
            }
            result => result?,
        };
        Ok((client, identity))
    }
}

impl<T: Transport> StationClient<T> {
    /// A client on a transport of that name and rate in bits per second, before its handshake.
    pub fn new(transport: T, port: &str, baud: u32) -> Self {
        Self {
            transport,
            port: port.to_owned(),
            baud: BaudRate::at_max(baud),
            accumulator: Accumulator::new(),
            session: SessionState::default(),
            since: Instant::now(),
            is_connected: false,
            pending_nack: None,
            replies: VecDeque::new(),
            events: VecDeque::new(),
            timeouts: Timeouts::default(),
            stats: LinkStats::default(),
            observed: LineObservation::Silence,
            peer_version: None,
            key: None,
            no_key: None,
            challenge: None,
        }
    }

    /// The same client with other timeouts.
    pub fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// The same client, continuing a session whose line was lost.
    pub fn with_session(self, session: SessionState) -> Self {
        Self { session, ..self }
    }

    /// The session, to be continued on another line.
    pub fn session(&self) -> SessionState {
        self.session.clone()
    }

    /// Opens the conversation; repeats the request until the station responds.
    ///
    /// # Errors
    /// [`LinkError::NoStation`], [`LinkError::Protocol`] or [`LinkError::Lost`].
    pub fn handshake(&mut self) -> Result<Identity, LinkError> {
        self.handshake_within(self.handshake_policy(|| false))
    }

    fn handshake_policy(&self, cancelled: fn() -> bool) -> RetryPolicy {
        RetryPolicy {
            max_attempts: HANDSHAKE_ATTEMPTS,
            per_attempt_timeout: self.timeouts.handshake,
            cancelled,
        }
    }

    fn handshake_within(&mut self, policy: RetryPolicy) -> Result<Identity, LinkError> {
        let request = Request::Hello { protocol: PROTOCOL_VERSION };
        self.is_connected = false;
        match self.transact(&request, &[], policy) {
            Ok((Response::Hello(identity), _)) if identity.protocol == PROTOCOL_VERSION => {
                self.is_connected = true;
                self.session.reorder_buffer.on_reconnect();
                Ok(identity)
            }
            Ok((Response::Hello(Identity { protocol: station, .. }), _))
            | Err(LinkError::Refused(Refusal::Protocol { station })) => Err(self.protocol(station)),
            Ok(_) => Err(self.unexpected()),
            Err(LinkError::Timeout { port }) => Err(LinkError::NoStation { port, observed: self.observed }),
            Err(error) => Err(error),
        }
    }

    /// Sends a request and waits for the response; sends it again when none arrives.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn request(&mut self, request: &Request, bulk: &[u8]) -> Result<(Response, Vec<u8>), LinkError> {
        let policy = RetryPolicy {
            max_attempts: REQUEST_ATTEMPTS,
            per_attempt_timeout: self.response_timeout(),
            cancelled: || false,
        };
        self.transact(request, bulk, policy)
    }

    /// Sends a request without waiting; returns its sequence number.
    ///
    /// # Errors
    /// [`LinkError::Encode`] or [`LinkError::Lost`].
    pub fn send(&mut self, request: &Request, bulk: &[u8]) -> Result<u16, LinkError> {
        let sequence = self.session.next_request();
        self.transmit(sequence, request, bulk)?;
        Ok(sequence)
    }

    /// The next response, if one arrives in time.
    ///
    /// # Errors
    /// [`LinkError::Lost`] or [`LinkError::Protocol`].
    pub fn next_reply(&mut self, wait: Duration) -> Result<Option<Reply>, LinkError> {
        self.poll_for(wait, |client| client.replies.pop_front())
    }

    /// The next event, if one arrives in time.
    ///
    /// # Errors
    /// [`LinkError::Lost`] or [`LinkError::Protocol`].
    pub fn next_event(&mut self, wait: Duration) -> Result<Option<Incoming>, LinkError> {
        self.poll_for(wait, |client| client.events.pop_front())
    }

    fn poll_for<R>(
        &mut self,
        wait: Duration,
        mut take: impl FnMut(&mut Self) -> Option<R>,
    ) -> Result<Option<R>, LinkError> {
        let until = Instant::now() + wait;
        loop {
            if let Some(taken) = take(self) {
                return Ok(Some(taken));
            }
            let is_last = Instant::now() >= until;
            if !self.poll(until)? || is_last {
                return Ok(take(self));
            }
        }
    }

    /// Receives for that long; what arrives waits for the caller.
    ///
    /// # Errors
    /// [`LinkError::Lost`] or [`LinkError::Protocol`].
    pub fn wait(&mut self, time: Duration) -> Result<(), LinkError> {
        let until = Instant::now() + time;
        while Instant::now() < until && self.poll(until)? {}
        Ok(())
    }

    /// The events that arrived and that nobody took.
    pub fn take_events(&mut self) -> VecDeque<Incoming> {
        std::mem::take(&mut self.events)
    }

    /// What went over the line.
    pub const fn stats(&self) -> LinkStats {
        LinkStats { damaged: self.accumulator.damaged(), ..self.stats }
    }

    /// The line's rate, bits per second.
    pub const fn baud(&self) -> u32 {
        self.baud.current
    }

    /// The same with its maximum.
    pub const fn baud_rate(&self) -> BaudRate {
        self.baud
    }

    /// The port's name.
    pub fn port(&self) -> &str {
        &self.port
    }

    /// How long a response may take: the station's time, and the longest packets both ways.
    fn response_timeout(&self) -> Duration {
        let bits = 4 * MAX_PACKET as u64 * 10;
        self.timeouts.response + Duration::from_millis(bits * 1000 / u64::from(self.baud.current.max(1)))
    }

    fn transact(
        &mut self,
        request: &Request,
        bulk: &[u8],
        RetryPolicy { max_attempts, per_attempt_timeout, cancelled }: RetryPolicy,
    ) -> Result<(Response, Vec<u8>), LinkError> {
        let sequence = self.session.next_request();
        for attempt in 0..max_attempts {
            if cancelled() {
                return Err(LinkError::Cancelled { port: self.port.clone() });
            }
            self.stats.retransmits += u32::from(attempt > 0);
            // Sent again under its own number: a response that was merely slow still counts.
            self.transmit(sequence, request, bulk)?;
            let until = Instant::now() + per_attempt_timeout;
            while let Some(reply) = self.next_reply(until.saturating_duration_since(Instant::now()))? {
                if reply.sequence != sequence {
                    self.stats.late_responses += 1;
                    continue;
                }
                return match reply.response {
                    Some(Response::Refused(refusal)) => Err(refusal.into()),
                    Some(response) => Ok((response, reply.bulk)),
                    None => Err(self.unexpected()),
                };
            }
        }
        Err(LinkError::Timeout { port: self.port.clone() })
    }

    fn transmit(&mut self, sequence: u16, request: &Request, bulk: &[u8]) -> Result<(), LinkError> {
        // A lone zero first: what noise left on the line is then a packet of its own.
        let zeros = if self.is_connected { 1 } else { wake_preamble_len(self.baud.max, self.baud.current) };
        let mut bytes = vec![0; zeros];
        encode_packet(sequence, &Message::Request(request.clone()), bulk, &mut bytes)?;
        self.stats.sent += bytes.len() as u64;
        self.transport.send(&bytes).map_err(|error| self.lost(error))
    }

    /// Requests the events that are missing, if a NACK is due.
    fn send_due_nack(&mut self) -> Result<(), LinkError> {
        let now_ms = self.since.elapsed().as_millis() as u64;
        let timeout_ms = self.response_timeout().as_millis() as u64;
        if self.is_connected
            && let Some(nack) = self.session.reorder_buffer.poll_nack(now_ms, timeout_ms)
        {
            self.pending_nack = Some(self.send(&Request::Resend(nack), &[])?);
        }
        Ok(())
    }

    /// Receives what arrives next; `false` when nothing arrives in time.
    fn poll(&mut self, until: Instant) -> Result<bool, LinkError> {
        self.send_due_nack()?;
        let mut buffer = [0; 4096];
        let wait = until.saturating_duration_since(Instant::now());
        let count = self.transport.receive(&mut buffer, wait).map_err(|error| self.lost(error))?;
        if count == 0 {
            return Ok(false);
        }
        self.stats.received += count as u64;
        if self.observed == LineObservation::Silence {
            self.observed = LineObservation::Noise;
        }
        let mut packets = Vec::new();
        self.accumulator.push(&buffer[..count], |packet| packets.push(packet));
        for packet in packets {
            match packet {
                Ok(Packet { sequence, message, bulk }) => self.dispatch(sequence, message, bulk),
                Err(error) => self.dispatch_undecoded(error),
            }
        }
        if let Some(station) = self.peer_version {
            return Err(self.protocol(u16::from(station)));
        }
        self.send_due_nack()?;
        Ok(true)
    }

    fn dispatch(&mut self, sequence: u16, message: Message, bulk: Vec<u8>) {
        match message {
            Message::Request(_) => self.observed = LineObservation::Echo,
            Message::Response(Response::Resend(range)) => {
                if self.pending_nack.take_if(|nack| *nack == sequence).is_none() {
                    self.stats.late_responses += 1;
                    return;
                }
                let events = &mut self.events;
                self.session.reorder_buffer.on_range(range, |event| enqueue(events, Incoming::Event(event)));
                self.add_receive_stats();
            }
            Message::Response(response) => {
                self.replies.push_back(Reply { sequence, response: Some(response), bulk });
            }
            Message::Event(Event::Sequenced(event)) => {
                let events = &mut self.events;
                self.session.reorder_buffer.on_event(event, |event| enqueue(events, Incoming::Event(event)));
                self.add_receive_stats();
            }
            Message::Event(Event::Masks(fragment)) if !self.session.is_duplicate(sequence) => {
                enqueue(&mut self.events, Incoming::Masks(fragment, bulk));
            }
            Message::Event(Event::Preview(fragment)) if !self.session.is_duplicate(sequence) => {
                enqueue(&mut self.events, Incoming::Preview(fragment, bulk));
            }
            Message::Event(Event::Masks(_) | Event::Preview(_)) => self.stats.events_duplicate += 1,
        }
    }

    fn add_receive_stats(&mut self) {
        let ReceiveStats { lost, duplicates, recovered } = self.session.reorder_buffer.take_stats();
        self.stats.events_lost = self.stats.events_lost.saturating_add(lost);
        self.stats.events_duplicate += duplicates;
        self.stats.events_recovered += recovered;
    }

    fn dispatch_undecoded(&mut self, error: PacketError) {
        match error {
            PacketError::ProtocolVersion { found, kind, .. } if kind != Some(Kind::Request) => {
                self.peer_version = Some(found);
            }
            PacketError::UnknownMessage { kind: Some(Kind::Response), sequence } => {
                self.replies.push_back(Reply { sequence, response: None, bulk: Vec::new() });
            }
            PacketError::Damaged | PacketError::Oversize => {
                self.session.reorder_buffer.on_damaged_packet();
            }
            _ => {}
        }
    }

    fn lost(&self, source: io::Error) -> LinkError {
        LinkError::Lost { port: self.port.clone(), source }
    }

    fn protocol(&self, station: u16) -> LinkError {
        LinkError::Protocol { port: self.port.clone(), station }
    }

    fn unexpected(&self) -> LinkError {
        LinkError::UnexpectedResponse { port: self.port.clone() }
    }
}

fn enqueue(events: &mut VecDeque<Incoming>, event: Incoming) {
    if events.len() >= MAX_EVENTS {
        events.pop_front();
    }
    events.push_back(event);
}
