//! The connection to the host: opened, lost and opened again, without ever delaying a frame.
//!
//! One thread reads and one writes while the connection is open. What the station sends waits in the [`TxQueue`]. What the
//! host requests goes to the service as [`LinkEvent`]s.
//!
//! A bad line loses nothing that counts. The host repeats a request whose response does not arrive, and the station buffers
//! frame results and notices and resends those that a host is missing, also after the line was lost or switched to another
//! baud rate. Masks and previews are not resent: a slow line carries fewer of them. When the station cannot decode what
//! arrives, it switches to another baud rate.

mod baud_mismatch_detector;
#[cfg(test)]
mod memory;
mod serial;
#[cfg(test)]
mod tests;
mod tx_queue;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use shared::wire::{Accumulator, Packet, PacketError};

use crate::runtime::{CancellationToken, log};
use baud_mismatch_detector::BaudMismatchDetector;

#[cfg(test)]
pub use memory::MemoryConnector;
pub use serial::SerialConnector;
pub use tx_queue::{FramePayload, TxQueue};

/// Opens connections to a host.
pub trait Connector: Send {
    /// What the operator calls it.
    fn name(&self) -> &str;

    /// Opens a connection.
    ///
    /// # Errors
    /// What the system reports, such as that there is no such port at present.
    fn open(&mut self) -> io::Result<Connection>;
}

/// An open connection.
///
/// Either end returns [`io::ErrorKind::TimedOut`] after at most [`IO_TIMEOUT`] without a byte. Any other error, or the end
/// of input, means that the connection is lost.
pub struct Connection {
    /// Bytes from the host.
    pub reader: Box<dyn Read + Send>,
    /// Bytes to the host.
    pub writer: Box<dyn Write + Send>,
    /// Switches the baud rate; `None` where there is only one.
    pub baud_cycler: Option<BaudCycler>,
}

/// Switches to the next slower baud rate of a line, and from the slowest to the fastest; returns it, bits per second.
pub type BaudCycler = Box<dyn FnMut() -> io::Result<u32> + Send>;

/// How long either end of a connection waits for a byte before it checks whether to stop.
pub const IO_TIMEOUT: Duration = Duration::from_millis(50);

/// What came of opening the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortState {
    /// It is open.
    Open,
    /// It cannot be opened at present.
    Absent,
}

/// What arrives on the connection.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most are the large one; a box would cost an allocation each")]
pub enum LinkEvent {
    /// A packet, or the reason why received bytes are none of this version.
    Packet(Result<Packet, PacketError>),
    /// The connection is lost.
    Lost,
}

const FIRST_RETRY_DELAY: Duration = Duration::from_millis(100);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);

/// Keeps a connection open until `stop`, and passes on what arrives. `on_port` receives the result of every attempt.
///
/// `on_event` may block: then the host waits, and nobody else.
pub fn keep_open(
    mut connector: Box<dyn Connector>,
    queue: &Arc<TxQueue>,
    damaged: &AtomicU32,
    stop: &CancellationToken,
    on_port: impl Fn(PortState),
    on_event: impl Fn(LinkEvent) + Sync,
) {
    let mut accumulator = Accumulator::new();
    let mut retry_delay = FIRST_RETRY_DELAY;
    let mut logged = false;
    while !stop.is_cancelled() {
        match connector.open() {
            Ok(connection) => {
                on_port(PortState::Open);
                (logged, retry_delay) = (false, FIRST_RETRY_DELAY);
                accumulator.reset();
                serve(connection, queue, &mut accumulator, damaged, stop, &on_event);
                on_event(LinkEvent::Lost);
                if !stop.is_cancelled() {
                    log!("serial port {} disconnected; reconnecting when it is available", connector.name());
                }
            }
            Err(error) => {
                on_port(PortState::Absent);
                if !logged {
                    log!("cannot open serial port {} ({error}); retrying", connector.name());
                    logged = true;
                }
            }
        }
        stop.wait_timeout(retry_delay);
        retry_delay = (retry_delay * 2).min(MAX_RETRY_DELAY);
    }
}

fn serve(
    connection: Connection,
    queue: &Arc<TxQueue>,
    accumulator: &mut Accumulator,
    damaged: &AtomicU32,
    stop: &CancellationToken,
    on_event: &(impl Fn(LinkEvent) + Sync),
) {
    let Connection { mut reader, mut writer, mut baud_cycler } = connection;
    queue.open();
    let lost = AtomicBool::new(false);
    let is_over = || stop.is_cancelled() || lost.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let baud_cycler = baud_cycler.as_mut();
            read_packets(&mut *reader, baud_cycler, queue, accumulator, damaged, &is_over, on_event);
            lost.store(true, Ordering::Relaxed);
            queue.close();
        });
        write_packets(&mut *writer, queue, &is_over);
        lost.store(true, Ordering::Relaxed);
        queue.close();
    });
}

fn read_packets(
    reader: &mut dyn Read,
    mut baud_cycler: Option<&mut BaudCycler>,
    queue: &TxQueue,
    accumulator: &mut Accumulator,
    damaged: &AtomicU32,
    is_over: &impl Fn() -> bool,
    on_event: &impl Fn(LinkEvent),
) {
    let mut buffer = [0; 4096];
    let (mut mismatch, mut unlogged_baud) = (BaudMismatchDetector::default(), None);
    while !is_over() {
        match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                let mut decoded = false;
                accumulator.push(&buffer[..count], |packet| {
                    decoded |= !matches!(packet, Err(PacketError::Damaged | PacketError::Oversize));
                    on_event(LinkEvent::Packet(packet));
                });
                damaged.store(accumulator.damaged(), Ordering::Relaxed);
                if let Some(baud) = unlogged_baud.take_if(|_| decoded) {
                    log!("receiving from the host at {baud} baud");
                }
                mismatch.record(count, decoded, Instant::now());
                queue.wait_for_capacity();
            }
            Err(error) if is_pause(&error) => {
                if let Some(switch) = baud_cycler.as_mut()
                    && mismatch.should_switch(Instant::now())
                {
                    let Ok(baud) = switch() else { return };
                    unlogged_baud = Some(baud);
                    queue.set_baud(baud);
                    accumulator.reset();
                }
            }
            Err(_) => return,
        }
    }
}

fn write_packets(writer: &mut dyn Write, queue: &TxQueue, is_over: &impl Fn() -> bool) {
    let mut bytes = Vec::new();
    while let Some(packet) = queue.next() {
        // A lone zero first: what noise left on the line is then a packet of its own.
        bytes.clear();
        bytes.push(0);
        if let Err(error) = packet.encode(&mut bytes) {
            log!("cannot encode a packet: {error}");
            continue;
        }
        if write_all(writer, &bytes, is_over).is_err() {
            return;
        }
    }
}

fn write_all(writer: &mut dyn Write, mut bytes: &[u8], is_over: &impl Fn() -> bool) -> io::Result<()> {
    while !bytes.is_empty() {
        if is_over() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match writer.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if is_pause(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
