//! A serial port.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serialport::{SerialPort as _, TTYPort};
use shared::wire::baud_rates;

use super::{BaudCycler, Connection, Connector, IO_TIMEOUT};

/// A serial port by its path, such as `/dev/ttyUSB0`.
#[derive(Debug)]
pub struct SerialConnector {
    path: String,
    baud: u32,
}

impl SerialConnector {
    /// An unopened port with its highest baud rate and the common rates below it.
    pub const fn new(path: String, baud: u32) -> Self {
        Self { path, baud }
    }
}

impl Connector for SerialConnector {
    fn name(&self) -> &str {
        &self.path
    }

    fn open(&mut self) -> io::Result<Connection> {
        // A blocking write to a port that nobody reads never returns, not even to end the program, so bytes go through
        // our own non-blocking handle. serialport sets the line's parameters and locks the port for this program.
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(&self.path)?;
        // By its descriptor, since the path may refer to another device by now.
        let same = format!("/proc/self/fd/{}", file.as_raw_fd());
        let settings = TTYPort::open(&serialport::new(same, self.baud).timeout(IO_TIMEOUT))?;
        let port = Arc::new((file, Mutex::new(settings)));
        let end = || SerialEnd { port: Arc::clone(&port) };
        Ok(Connection {
            reader: Box::new(end()),
            writer: Box::new(end()),
            baud_cycler: baud_cycler(end(), self.baud),
        })
    }
}

/// Restarts with the baud rates below `baud`; `None` if there are none.
fn baud_cycler(end: SerialEnd, baud: u32) -> Option<BaudCycler> {
    let mut next = baud_rates(baud).collect::<Vec<u32>>().into_iter().cycle().skip(1);
    (baud_rates(baud).count() > 1).then(|| -> BaudCycler {
        Box::new(move || {
            let rate = next.next().unwrap_or(baud);
            end.port.1.lock().unwrap_or_else(PoisonError::into_inner).set_baud_rate(rate)?;
            Ok(rate)
        })
    })
}

/// One end of an open port; the port closes with the last of them.
struct SerialEnd {
    port: Arc<(File, Mutex<TTYPort>)>,
}

impl SerialEnd {
    fn wait(&self, ready: PollFlags) -> io::Result<()> {
        let mut polled = [PollFd::new(self.port.0.as_fd(), ready)];
        let timeout = PollTimeout::try_from(IO_TIMEOUT).unwrap_or(PollTimeout::ZERO);
        match poll(&mut polled, timeout)? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}

impl Read for SerialEnd {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::POLLIN)?;
        (&self.port.0).read(bytes)
    }
}

impl Write for SerialEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.port.0).write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.wait(PollFlags::POLLOUT)?;
                (&self.port.0).write(bytes)
            }
            result => result,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
