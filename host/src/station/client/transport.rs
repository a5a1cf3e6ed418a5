//! What carries bytes to a station: a serial port.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serialport::{ClearBuffer, SerialPort as _, TTYPort};

/// An open channel that carries bytes both ways, in order, and may lose or corrupt some.
pub trait Transport {
    /// Sends all bytes.
    ///
    /// # Errors
    /// When the line is lost, or accepts no byte for some seconds.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Receives bytes that have arrived, or waits for some as long as it may; 0 when none arrived.
    ///
    /// # Errors
    /// When the line is lost.
    fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<usize>;
}

/// A line that accepts no byte for this long counts as lost.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// An open serial port.
#[derive(Debug)]
pub struct SerialTransport {
    // A write to serialport's own handle blocks while nobody reads: bytes go through a handle that does not block.
    // serialport sets the line's parameters and holds the port for this program only.
    file: File,
    port: TTYPort,
}

impl SerialTransport {
    /// Opens a port by its path at `baud` bits per second, eight data bits, no parity, one stop bit.
    ///
    /// # Errors
    /// What the system reports; `ResourceBusy` when another program holds the port.
    pub fn open(path: &str, baud: u32) -> io::Result<Self> {
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path)?;
        // By its descriptor: the path may name another device by now.
        let same = format!("/proc/self/fd/{}", file.as_raw_fd());
        let port = TTYPort::open(&serialport::new(same, baud)).map_err(|error| match error.kind() {
            serialport::ErrorKind::NoDevice => io::Error::new(io::ErrorKind::ResourceBusy, error),
            _ => io::Error::from(error),
        })?;
        // What a station sent before anybody listened is no response.
        port.clear(ClearBuffer::Input)?;
        Ok(Self { file, port })
    }

    /// Switches to `baud` bits per second; drops what arrived at the old rate.
    ///
    /// # Errors
    /// What the system reports.
    pub fn set_baud(&mut self, baud: u32) -> io::Result<()> {
        self.port.set_baud_rate(baud)?;
        Ok(self.port.clear(ClearBuffer::Input)?)
    }

    /// Whether the port is ready within `wait`.
    fn is_ready(&self, what: PollFlags, wait: Duration) -> io::Result<bool> {
        let mut polled = [PollFd::new(self.file.as_fd(), what)];
        match poll(&mut polled, PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)) {
            Ok(count) => Ok(count > 0),
            // A signal: the caller should check whether to stop.
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Transport for SerialTransport {
    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut refused = Duration::ZERO;
        let step = Duration::from_millis(250);
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(written) => {
                    bytes = &bytes[written..];
                    refused = Duration::ZERO;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.is_ready(PollFlags::POLLOUT, step)? {
                        refused += step;
                    }
                    if refused >= SEND_TIMEOUT {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "the port accepts no data"));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<usize> {
        if !self.is_ready(PollFlags::POLLIN, wait)? {
            return Ok(0);
        }
        match self.file.read(buffer) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the port was closed")),
            Ok(count) => Ok(count),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }
}
