//! A line in memory between host and station, with scheduled faults.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use firmware::IO_TIMEOUT;
use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

use crate::schedule::{Direction, FAULTS, Fault, Planned, Schedule};

/// Bytes that a direction holds before its sender waits.
const ROOM: usize = 1 << 16;
/// How long the host's end may refuse bytes before it counts as lost, as that of a serial port.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Packets that may come again.
const KEPT_PACKETS: usize = 4;

/// A line between two programs. Clones are the same line.
#[derive(Clone)]
pub struct FaultyLine {
    state: Arc<(Mutex<State>, Condvar)>,
}

struct State {
    /// How often it hung up: ends of an earlier line stay dead.
    hang_ups: u32,
    gone_until: Instant,
    ways: [Way; 2],
    /// Faults so far, as [`FAULTS`] orders them.
    tally: [u32; FAULTS.len()],
}

/// One direction.
struct Way {
    schedule: Schedule,
    planned: Option<Planned>,
    ongoing: Ongoing,
    answer_wait: Duration,
    queue: VecDeque<u8>,
    /// What is there may not be read before.
    held_until: Instant,
    /// Bytes that still come slowly.
    dripping: usize,
    packet: Vec<u8>,
    /// The last whole packets, oldest first.
    packets: VecDeque<Vec<u8>>,
    /// Packets to send once more behind the one under way.
    repeat: usize,
    /// Packets of the line before, and how many of this one go first.
    stale: Option<(u32, Vec<u8>)>,
}

/// A fault that a byte does not end.
enum Ongoing {
    None,
    Burst(SmallRng, u32),
    Removal(u32),
    LoseDelimiter,
    /// At the next byte behind a zero.
    CorruptLength(u8, bool),
}

/// What becomes of the whole line.
enum Outcome {
    None,
    HangUp { stale: usize },
}

impl FaultyLine {
    /// A line whose faults `seed` decides; an answer is waited for so long.
    pub fn new(seed: u64, answer_wait: Duration) -> Self {
        let way = |direction| Way::new(Schedule::new(seed, direction), answer_wait);
        let state = State {
            hang_ups: 0,
            gone_until: Instant::now(),
            ways: [way(Direction::ToStation), way(Direction::ToHost)],
            tally: [0; FAULTS.len()],
        };
        Self { state: Arc::new((Mutex::new(state), Condvar::new())) }
    }

    /// The host opens its end; what came for nobody is forgotten.
    pub fn open_host(&self) -> io::Result<HostEnd> {
        let mut state = self.lock();
        let hang_ups = state.opened()?;
        state.ways[Direction::ToHost as usize].queue.clear();
        drop(state);
        Ok(HostEnd { line: self.clone(), hang_ups })
    }

    /// Faults so far, as [`FAULTS`] orders them.
    pub fn tally(&self) -> [u32; FAULTS.len()] {
        self.lock().tally
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap()
    }

    fn read(
        &self,
        direction: Direction,
        hang_ups: u32,
        room: &mut [u8],
        wait: Duration,
    ) -> io::Result<Option<usize>> {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        loop {
            state.check(hang_ups)?;
            let now = Instant::now();
            let way = &mut state.ways[direction as usize];
            if !way.queue.is_empty() && way.held_until <= now {
                let count = way.read(room)?;
                self.state.1.notify_all();
                return Ok(Some(count));
            }
            if now >= until {
                return Ok(None);
            }
            let wake = if way.queue.is_empty() { until } else { until.min(way.held_until) };
            state = self.state.1.wait_timeout(state, wake.saturating_duration_since(now)).unwrap().0;
        }
    }

    fn write(
        &self,
        direction: Direction,
        hang_ups: u32,
        bytes: &[u8],
        wait: Duration,
    ) -> io::Result<Option<usize>> {
        let full = |state: &mut State| {
            state.hang_ups == hang_ups && state.ways[direction as usize].queue.len() >= ROOM
        };
        let (mut state, waited) = self.state.1.wait_timeout_while(self.lock(), wait, full).unwrap();
        state.check(hang_ups)?;
        if waited.timed_out() {
            return Ok(None);
        }
        for (index, &byte) in bytes.iter().enumerate() {
            let (fault, outcome) = state.ways[direction as usize].carry(byte);
            if let Some(fault) = fault {
                state.tally[FAULTS.iter().position(|&known| known == fault).unwrap()] += 1;
            }
            if let Outcome::HangUp { stale } = outcome {
                state.hang_up(direction, stale, index as u64);
                break;
            }
        }
        self.state.1.notify_all();
        state.check(hang_ups)?;
        Ok(Some(bytes.len()))
    }
}

impl State {
    fn opened(&self) -> io::Result<u32> {
        if Instant::now() < self.gone_until { Err(io::ErrorKind::NotFound.into()) } else { Ok(self.hang_ups) }
    }

    fn check(&self, hang_ups: u32) -> io::Result<()> {
        if self.hang_ups == hang_ups { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    /// Packets of this line may come over the next one: requests ahead of all others, as what a port's buffer
    /// holds does, answers and events amid the new ones.
    fn hang_up(&mut self, direction: Direction, stale: usize, draw: u64) {
        self.hang_ups += 1;
        self.gone_until = Instant::now() + Duration::from_millis(draw % 40);
        for (index, way) in self.ways.iter_mut().enumerate() {
            let first = way.packets.len().saturating_sub(stale);
            let packets: Vec<u8> = way.packets.drain(..).skip(first).flatten().collect();
            way.forget();
            if stale > 0 && index == direction as usize {
                match direction {
                    Direction::ToStation => way.queue.extend(packets),
                    Direction::ToHost => way.stale = Some((draw as u32 % 6, packets)),
                }
            }
        }
    }
}

impl Way {
    fn new(mut schedule: Schedule, answer_wait: Duration) -> Self {
        Self {
            planned: schedule.next(),
            schedule,
            ongoing: Ongoing::None,
            answer_wait,
            queue: VecDeque::new(),
            held_until: Instant::now(),
            dripping: 0,
            packet: Vec::new(),
            packets: VecDeque::new(),
            repeat: 0,
            stale: None,
        }
    }

    /// What a hang-up leaves.
    fn forget(&mut self) {
        self.ongoing = Ongoing::None;
        self.queue.clear();
        self.held_until = Instant::now();
        self.dripping = 0;
        self.packet.clear();
        self.packets.clear();
        self.repeat = 0;
        self.stale = None;
    }

    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.dripping == 0 {
            return self.queue.read(room);
        }
        let most = room.len().min(1 + self.dripping % 7);
        let count = self.queue.read(&mut room[..most])?;
        self.dripping = self.dripping.saturating_sub(count);
        self.held_until = Instant::now() + Duration::from_millis(1);
        Ok(count)
    }

    /// Takes a byte from its sender.
    fn carry(&mut self, byte: u8) -> (Option<Fault>, Outcome) {
        let fault = self.due();
        let mut byte_now = byte;
        let mut outcome = Outcome::None;
        if let Some(Planned { fault, seed, .. }) = fault {
            let mut random = SmallRng::seed_from_u64(seed);
            match fault {
                Fault::Bit => byte_now ^= 1 << random.random_range(0..8),
                Fault::Byte => byte_now = random.random(),
                Fault::Burst => {
                    let length = random.random_range(2..300);
                    self.ongoing = Ongoing::Burst(random, length);
                }
                Fault::Removal => self.ongoing = Ongoing::Removal(random.random_range(1..1500)),
                Fault::Insertion => self.insert(&mut random, 200),
                Fault::Flood => self.insert(&mut random, 50_000),
                Fault::Duplication => self.repeat = random.random_range(1..=KEPT_PACKETS),
                Fault::LostDelimiter => self.ongoing = Ongoing::LoseDelimiter,
                Fault::CorruptLength => self.ongoing = Ongoing::CorruptLength(random.random(), false),
                Fault::Late => {
                    self.held_until = Instant::now() + self.answer_wait * random.random_range(2..6) / 2
                }
                Fault::SlowDrip => self.dripping = random.random_range(50..1500),
                Fault::HangUp => outcome = Outcome::HangUp { stale: 0 },
                Fault::Reordering => {
                    outcome = Outcome::HangUp { stale: random.random_range(1..=KEPT_PACKETS) }
                }
            }
        }
        if let Some(damaged) = self.damaged(byte_now) {
            self.queue.push_back(damaged);
        }
        self.note(byte);
        (fault.map(|planned| planned.fault), outcome)
    }

    /// The fault that begins at this byte.
    fn due(&mut self) -> Option<Planned> {
        let planned = self.planned.as_mut()?;
        planned.after = planned.after.saturating_sub(1);
        if planned.after > 0 {
            return None;
        }
        std::mem::replace(&mut self.planned, self.schedule.next())
    }

    fn insert(&mut self, random: &mut SmallRng, most: usize) {
        let mut bytes = vec![0; random.random_range(most / 10..=most)];
        random.fill_bytes(&mut bytes);
        // Noise is cut into runs by zeros, or is one that no packet can be.
        if random.random() {
            bytes.iter_mut().for_each(|byte| *byte |= 1);
        }
        self.queue.extend(bytes);
    }

    /// What a lasting fault makes of a byte.
    fn damaged(&mut self, byte: u8) -> Option<u8> {
        match &mut self.ongoing {
            Ongoing::None => Some(byte),
            Ongoing::Burst(random, left) => {
                let other = random.random();
                *left -= 1;
                if *left == 0 {
                    self.ongoing = Ongoing::None;
                }
                Some(other)
            }
            Ongoing::Removal(left) => {
                *left -= 1;
                if *left == 0 {
                    self.ongoing = Ongoing::None;
                }
                None
            }
            Ongoing::LoseDelimiter if byte == 0 && !self.packet.is_empty() => {
                self.ongoing = Ongoing::None;
                None
            }
            Ongoing::LoseDelimiter => Some(byte),
            Ongoing::CorruptLength(_, behind_zero) if byte == 0 => {
                *behind_zero = true;
                Some(byte)
            }
            Ongoing::CorruptLength(_, false) => Some(byte),
            Ongoing::CorruptLength(other, true) => {
                let other = *other;
                self.ongoing = Ongoing::None;
                Some(other)
            }
        }
    }

    /// Keeps the packets that may come again, and sends those that shall.
    fn note(&mut self, byte: u8) {
        if byte != 0 {
            self.packet.push(byte);
            return;
        }
        if self.packet.is_empty() {
            return;
        }
        self.packet.push(0);
        if self.packets.len() == KEPT_PACKETS {
            self.packets.pop_front();
        }
        self.packets.push_back(std::mem::take(&mut self.packet));
        let first = self.packets.len().saturating_sub(std::mem::take(&mut self.repeat));
        self.queue.extend(self.packets.iter().skip(first).flatten());
        self.stale = match self.stale.take() {
            Some((0, packets)) => {
                self.queue.extend(packets);
                None
            }
            Some((left, packets)) => Some((left - 1, packets)),
            None => None,
        };
    }
}

/// The host's end.
pub struct HostEnd {
    line: FaultyLine,
    hang_ups: u32,
}

impl host::Transport for HostEnd {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.line.write(Direction::ToStation, self.hang_ups, bytes, SEND_TIMEOUT)? {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn receive(&mut self, room: &mut [u8], wait: Duration) -> io::Result<usize> {
        Ok(self.line.read(Direction::ToHost, self.hang_ups, room, wait)?.unwrap_or(0))
    }
}

impl firmware::Connector for FaultyLine {
    fn name(&self) -> &str {
        "memory"
    }

    fn open(&mut self) -> io::Result<firmware::Connection> {
        let hang_ups = self.lock().opened()?;
        let end = || StationEnd { line: self.clone(), hang_ups };
        Ok(firmware::Connection { reader: Box::new(end()), writer: Box::new(end()), baud_cycler: None })
    }
}

struct StationEnd {
    line: FaultyLine,
    hang_ups: u32,
}

impl Read for StationEnd {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.line.read(Direction::ToStation, self.hang_ups, room, IO_TIMEOUT)?;
        count.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

impl Write for StationEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.line.write(Direction::ToHost, self.hang_ups, bytes, IO_TIMEOUT)?;
        count.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
