//! A serial line without hardware: two pseudo-terminals, and a pump between them that is no faster than a wire. It
//! garbles bytes between ends of different baud rates, and bytes above the rate that the wire can carry.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;

/// Interval of the pump.
const TICK: Duration = Duration::from_millis(2);
/// Longest pause of the pump that it catches up with, since a wire does not pause.
const MAX_CREDIT: Duration = Duration::from_millis(20);
/// Bytes buffered for an end that does not read, as in a real port; more are lost.
const MAX_WAITING: usize = 1 << 18;

/// Two ends with a path each, which programs open like a serial port. An end may be closed and reopened; bytes sent to
/// a closed end are lost.
#[derive(Debug)]
pub struct VirtualLine {
    folder: TempDir,
    stop: Arc<AtomicBool>,
    clean_up_to: Arc<AtomicU32>,
    one_in: Arc<AtomicU32>,
    to_station: Arc<AtomicU64>,
    to_host: Arc<AtomicU64>,
    pump: Option<JoinHandle<()>>,
}

impl VirtualLine {
    /// A line that carries at most `baud` bits per second each way, ten bits per byte, and no more than its ends are
    /// set to.
    ///
    /// # Errors
    /// When the system has no more pseudo-terminals.
    pub fn new(baud: u32) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("nuclei-line-").tempdir()?;
        let host = PtyEnd::new(folder.path().join("host"))?;
        let station = PtyEnd::new(folder.path().join("station"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (to_station, to_host) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (clean_up_to, one_in) = (Arc::new(AtomicU32::new(u32::MAX)), Arc::new(AtomicU32::new(1)));
        let down = WireDirection { credit: 0.0, carried: Arc::clone(&to_station) };
        let up = WireDirection { credit: 0.0, carried: Arc::clone(&to_host) };
        let pump = {
            let (stop, clean_up_to, one_in) =
                (Arc::clone(&stop), Arc::clone(&clean_up_to), Arc::clone(&one_in));
            let wire = Wire { baud, clean_up_to, one_in, noise: SmallRng::seed_from_u64(0) };
            std::thread::Builder::new()
                .name("virtual line".into())
                .spawn(move || pump(host, station, down, up, wire, &stop))?
        };
        Ok(Self { folder, stop, clean_up_to, one_in, to_station, to_host, pump: Some(pump) })
    }

    /// Garbles every byte above `baud` bits per second from now on, as a long cable does.
    pub fn garble_above(&self, baud: u32) {
        self.garble_some_above(baud, 1);
    }

    /// Garbles one byte in `one_in`, at random, above `baud` bits per second from now on.
    pub fn garble_some_above(&self, baud: u32, one_in: u32) {
        self.one_in.store(one_in.max(1), Ordering::Relaxed);
        self.clean_up_to.store(baud, Ordering::Relaxed);
    }

    /// The host's end.
    pub fn host_end(&self) -> PathBuf {
        self.folder.path().join("host")
    }

    /// The station's end.
    pub fn station_end(&self) -> PathBuf {
        self.folder.path().join("station")
    }

    /// Bytes carried to the station and to the host.
    pub fn carried(&self) -> (u64, u64) {
        (self.to_station.load(Ordering::Relaxed), self.to_host.load(Ordering::Relaxed))
    }
}

impl Drop for VirtualLine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(pump) = self.pump.take() {
            let _ = pump.join();
        }
    }
}

/// The pump's side of one end.
struct PtyEnd {
    path: PathBuf,
    master: File,
    /// The far side of `master`, which `path` names.
    terminal: PathBuf,
    was_open: bool,
    /// Bytes for the program that has it open.
    waiting: VecDeque<u8>,
}

impl PtyEnd {
    fn new(path: PathBuf) -> io::Result<Self> {
        let (master, terminal) = open_terminal()?;
        name_terminal(&path, &terminal)?;
        Ok(Self { path, master, terminal, was_open: false, waiting: VecDeque::new() })
    }

    /// Reads bytes that its program sent, at most as many as `room` holds; none while it is closed.
    fn take(&mut self, room: &mut [u8]) -> usize {
        match self.master.read(room) {
            Ok(count) => {
                self.was_open = true;
                count
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.was_open = true;
                0
            }
            Err(_) => {
                self.waiting.clear();
                if self.was_open {
                    self.replace();
                }
                0
            }
        }
    }

    /// A terminal that a killed program held for itself cannot be opened by others any more, and holds
    /// what was left unread: the next one to open the end gets a new one.
    fn replace(&mut self) {
        let Ok((master, terminal)) = open_terminal() else { return };
        if name_terminal(&self.path, &terminal).is_err() {
            return;
        }
        if is_closed(&self.master) {
            (self.master, self.terminal) = (master, terminal);
            self.was_open = false;
        } else {
            // Somebody opened the old one meanwhile, and would be hung up on.
            let _ = name_terminal(&self.path, &self.terminal);
        }
    }

    /// The baud rate set by its user.
    fn speed(&self) -> Option<u32> {
        rustix::termios::tcgetattr(&self.master).ok().map(|settings| settings.output_speed())
    }

    fn give(&mut self, bytes: &[u8]) {
        let room = MAX_WAITING - self.waiting.len();
        if self.was_open {
            self.waiting.extend(&bytes[..bytes.len().min(room)]);
        }
        while !self.waiting.is_empty() {
            let (front, _) = self.waiting.as_slices();
            match self.master.write(front) {
                Ok(written) if written > 0 => drop(self.waiting.drain(..written)),
                _ => return,
            }
        }
    }
}

/// A raw terminal that does not block, and the path of its far side. No program that is started meanwhile
/// inherits it: a terminal lives for as long as anybody has its near side open.
fn open_terminal() -> io::Result<(File, PathBuf)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let master = posix_openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let path = PathBuf::from(ptsname_r(&master)?);
    let far_side = File::options().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(&path)?;
    let mut settings = tcgetattr(&far_side)?;
    cfmakeraw(&mut settings);
    tcsetattr(&far_side, SetArg::TCSANOW, &settings)?;
    Ok((File::from(OwnedFd::from(master)), path))
}

/// Makes `path` a name of the terminal.
fn name_terminal(path: &Path, terminal: &Path) -> io::Result<()> {
    let beside = path.with_extension("new");
    symlink(terminal, &beside)?;
    std::fs::rename(&beside, path)
}

/// Whether nobody has the far side open.
fn is_closed(master: &File) -> bool {
    let mut polled = [PollFd::new(master.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO).is_ok()
        && polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
}

/// What the ends are joined by.
struct Wire {
    baud: u32,
    clean_up_to: Arc<AtomicU32>,
    one_in: Arc<AtomicU32>,
    noise: SmallRng,
}

impl Wire {
    /// Bytes per second between ends of these baud rates.
    fn bytes_per_second(&self, speeds: [Option<u32>; 2]) -> f64 {
        f64::from(speeds.into_iter().flatten().fold(self.baud, u32::min)) / 10.0
    }

    /// One byte in how many is garbled between ends of these speeds; `None` where none is.
    fn garbles(&self, speeds: [Option<u32>; 2]) -> Option<u32> {
        let [host, station] = speeds;
        if host != station {
            return Some(1);
        }
        (host > Some(self.clean_up_to.load(Ordering::Relaxed))).then(|| self.one_in.load(Ordering::Relaxed))
    }
}

/// What goes one way.
struct WireDirection {
    /// Bytes that may go now.
    credit: f64,
    carried: Arc<AtomicU64>,
}

impl WireDirection {
    fn carry(
        &mut self,
        [from, to]: [&mut PtyEnd; 2],
        earned: f64,
        room: &mut [u8],
        noise: Option<(u32, &mut SmallRng)>,
    ) {
        self.credit = (self.credit + earned).min(room.len() as f64);
        let affordable = self.credit as usize;
        let count = if affordable == 0 { 0 } else { from.take(&mut room[..affordable]) };
        self.credit -= count as f64;
        self.carried.fetch_add(count as u64, Ordering::Relaxed);
        if let Some((one_in, noise)) = noise {
            for byte in &mut room[..count] {
                if noise.random_ratio(1, one_in) {
                    *byte ^= noise.random_range(1..=u8::MAX);
                }
            }
        }
        to.give(&room[..count]);
    }
}

fn pump(
    mut host: PtyEnd,
    mut station: PtyEnd,
    mut down: WireDirection,
    mut up: WireDirection,
    mut wire: Wire,
    stop: &AtomicBool,
) {
    let mut room = vec![0; (wire.bytes_per_second([None; 2]) * MAX_CREDIT.as_secs_f64()).max(1.0) as usize];
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(TICK);
        let now = Instant::now();
        let speeds = [host.speed(), station.speed()];
        let earned = wire.bytes_per_second(speeds) * (now - last).as_secs_f64();
        last = now;
        let garbles = wire.garbles(speeds);
        let noise = garbles.map(|one_in| (one_in, &mut wire.noise));
        down.carry([&mut host, &mut station], earned, &mut room, noise);
        let noise = garbles.map(|one_in| (one_in, &mut wire.noise));
        up.carry([&mut station, &mut host], earned, &mut room, noise);
    }
}

#[cfg(test)]
mod tests;
