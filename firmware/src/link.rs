//! The serial line to the host: opened, and reopened when lost, without ever blocking a frame.
//!
//! One thread reads and one writes while the line is open. What the station has to say waits in the
//! [`Outbox`]; what the host asks goes to the service as [`LineEvent`]s.
//!
//! On a bad line nothing that counts is lost. An answer that does not arrive is asked for again; frame results and
//! notices are kept and told again to a host that lacks them, also after the line was lost or went on at another speed.
//! Masks and previews are neither: a slow line has fewer of them. A line that nobody is understood on goes on at
//! another speed.

mod babble;
#[cfg(test)]
mod memory;
mod outbox;
mod serial;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use shared::wire::{Accumulator, Packet, PacketError};

use crate::runtime::{CancellationToken, log};
use babble::Babble;

#[cfg(test)]
pub use memory::MemoryLink;
pub use outbox::{Bulk, Outbox};
pub use serial::SerialLink;

/// A place where a connection to a host can be opened.
pub trait Link: Send {
    /// Its name for the operator.
    fn name(&self) -> &str;

    /// Opens the line.
    ///
    /// # Errors
    /// What the system says, such as that there is no such port at present.
    fn open(&mut self) -> io::Result<Line>;
}

/// An open line.
///
/// Either end returns [`io::ErrorKind::TimedOut`] after [`PATIENCE`] at most in which no byte could be moved;
/// any other error, or no bytes, means that the line is lost.
pub struct Line {
    /// Bytes of the host.
    pub reader: Box<dyn Read + Send>,
    /// Bytes to the host.
    pub writer: Box<dyn Write + Send>,
    /// Switches to the line's next baud rate; `None` if it has only one.
    pub next_speed: Option<NextSpeed>,
}

/// Switches to the next lower baud rate, or from the lowest to the highest, and returns it.
pub type NextSpeed = Box<dyn FnMut() -> io::Result<u32> + Send>;

/// How long either end waits for a byte before it checks whether to stop.
pub const PATIENCE: Duration = Duration::from_millis(50);

/// The result of opening the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// It is open.
    Open,
    /// It currently cannot be opened.
    Absent,
}

/// What comes from the line.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most are the large one; a box would cost an allocation each")]
pub enum LineEvent {
    /// A packet, or an intact packet that cannot be decoded.
    Packet(Result<Packet, PacketError>),
    /// The line is lost.
    Lost,
}

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// Keeps the line open until `stop`, and reports what arrives. `on_opening` is called on every attempt.
///
/// `on_event` may block; then only the host waits.
pub fn keep_open(
    mut link: Box<dyn Link>,
    outbox: &Arc<Outbox>,
    damaged: &AtomicU32,
    stop: &CancellationToken,
    on_opening: impl Fn(Port),
    on_event: impl Fn(LineEvent) + Sync,
) {
    let mut accumulator = Accumulator::new();
    let mut retry = FIRST_RETRY;
    let mut told = false;
    while !stop.is_cancelled() {
        match link.open() {
            Ok(line) => {
                on_opening(Port::Open);
                (told, retry) = (false, FIRST_RETRY);
                accumulator.reset();
                serve(line, outbox, &mut accumulator, damaged, stop, &on_event);
                on_event(LineEvent::Lost);
                if !stop.is_cancelled() {
                    log!("serial port {} disconnected; reconnecting when it is available", link.name());
                }
            }
            Err(error) => {
                on_opening(Port::Absent);
                if !told {
                    log!("cannot open serial port {} ({error}); retrying", link.name());
                    told = true;
                }
            }
        }
        stop.wait_timeout(retry);
        retry = (retry * 2).min(LAST_RETRY);
    }
}

fn serve(
    line: Line,
    outbox: &Arc<Outbox>,
    accumulator: &mut Accumulator,
    damaged: &AtomicU32,
    stop: &CancellationToken,
    on_event: &(impl Fn(LineEvent) + Sync),
) {
    let Line { mut reader, mut writer, mut next_speed } = line;
    outbox.open();
    let lost = AtomicBool::new(false);
    let over = || stop.is_cancelled() || lost.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let next_speed = next_speed.as_mut();
            read_packets(&mut *reader, next_speed, outbox, accumulator, damaged, &over, on_event);
            lost.store(true, Ordering::Relaxed);
            outbox.close();
        });
        write_packets(&mut *writer, outbox, &over);
        lost.store(true, Ordering::Relaxed);
        outbox.close();
    });
}

fn read_packets(
    reader: &mut dyn Read,
    mut next_speed: Option<&mut NextSpeed>,
    outbox: &Outbox,
    accumulator: &mut Accumulator,
    damaged: &AtomicU32,
    over: &impl Fn() -> bool,
    on_event: &impl Fn(LineEvent),
) {
    let mut bytes = [0; 4096];
    let (mut babble, mut untold) = (Babble::default(), None);
    while !over() {
        match reader.read(&mut bytes) {
            Ok(0) => return,
            Ok(read) => {
                let mut understood = false;
                accumulator.push(&bytes[..read], |packet| {
                    understood |= !matches!(packet, Err(PacketError::Damaged | PacketError::Oversize));
                    on_event(LineEvent::Packet(packet));
                });
                damaged.store(accumulator.damaged(), Ordering::Relaxed);
                if let Some(speed) = untold.take_if(|_| understood) {
                    log!("receiving from the host at {speed} baud");
                }
                babble.hear(read, understood, Instant::now());
                outbox.wait_for_room();
            }
            Err(error) if is_pause(&error) => {
                if let Some(next_speed) = next_speed.as_mut()
                    && babble.is_over(Instant::now())
                {
                    let Ok(speed) = next_speed() else { return };
                    untold = Some(speed);
                    outbox.set_speed(speed);
                    accumulator.reset();
                }
            }
            Err(_) => return,
        }
    }
}

fn write_packets(writer: &mut dyn Write, outbox: &Outbox, over: &impl Fn() -> bool) {
    let mut bytes = Vec::new();
    while let Some(packet) = outbox.next() {
        // A lone zero first, so that noise on the line becomes a packet of its own.
        bytes.clear();
        bytes.push(0);
        if let Err(error) = packet.encode(&mut bytes) {
            log!("cannot encode a response: {error}");
            continue;
        }
        if write_all(writer, &bytes, over).is_err() {
            return;
        }
    }
}

fn write_all(writer: &mut dyn Write, mut bytes: &[u8], over: &impl Fn() -> bool) -> io::Result<()> {
    while !bytes.is_empty() {
        if over() {
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
