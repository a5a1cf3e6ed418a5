//! A connection in memory that can be unplugged.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Connection, Connector, IO_TIMEOUT};

/// A line in memory. Clones are the same line.
#[derive(Debug, Clone)]
pub struct MemoryConnector {
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug)]
struct State {
    is_plugged: bool,
    /// How often it was unplugged: ends of an earlier connection stay closed.
    pulls: u32,
    capacity: usize,
    to_station: VecDeque<u8>,
    to_host: VecDeque<u8>,
}

impl MemoryConnector {
    /// A line that holds `capacity` bytes each way.
    pub fn new(capacity: usize) -> Self {
        let state = State {
            is_plugged: true,
            pulls: 0,
            capacity,
            to_station: VecDeque::new(),
            to_host: VecDeque::new(),
        };
        Self { state: Arc::new((Mutex::new(state), Condvar::new())) }
    }

    /// Pulls the plug.
    pub fn pull(&self) {
        let mut state = self.lock();
        state.is_plugged = false;
        state.pulls += 1;
        state.to_station.clear();
        state.to_host.clear();
        self.state.1.notify_all();
    }

    /// Plugs it in again.
    pub fn plug_in(&self) {
        self.lock().is_plugged = true;
        self.state.1.notify_all();
    }

    /// The host sends.
    pub fn send(&self, bytes: &[u8]) {
        let mut state = self.lock();
        state.to_station.extend(bytes);
        self.state.1.notify_all();
    }

    /// The host reads what is available, and blocks otherwise.
    pub fn receive(&self) -> Vec<u8> {
        let state = self.lock();
        let is_empty = |state: &mut State| state.to_host.is_empty() && state.is_plugged;
        let mut state = self.state.1.wait_while(state, is_empty).unwrap_or_else(PoisonError::into_inner);
        let bytes = state.to_host.drain(..).collect();
        self.state.1.notify_all();
        bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connector for MemoryConnector {
    fn name(&self) -> &str {
        "memory"
    }

    fn open(&mut self) -> io::Result<Connection> {
        let state = self.lock();
        if !state.is_plugged {
            return Err(io::ErrorKind::NotFound.into());
        }
        let pulls = state.pulls;
        let end = |line: &Self| MemoryEnd { line: line.clone(), pulls };
        Ok(Connection { reader: Box::new(end(self)), writer: Box::new(end(self)), baud_cycler: None })
    }
}

struct MemoryEnd {
    line: MemoryConnector,
    pulls: u32,
}

impl MemoryEnd {
    fn when(&self, is_ready: impl Fn(&State) -> bool) -> io::Result<MutexGuard<'_, State>> {
        let waiting = |state: &mut State| state.pulls == self.pulls && !is_ready(state);
        let (state, waited) = self
            .line
            .state
            .1
            .wait_timeout_while(self.line.lock(), IO_TIMEOUT, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        if state.pulls != self.pulls {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if waited.timed_out() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(state) }
    }
}

impl Read for MemoryEnd {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut state = self.when(|state| !state.to_station.is_empty())?;
        let read = state.to_station.read(bytes)?;
        self.line.state.1.notify_all();
        Ok(read)
    }
}

impl Write for MemoryEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.when(|state| state.to_host.len() < state.capacity)?;
        let written = bytes.len().min(state.capacity - state.to_host.len());
        state.to_host.extend(&bytes[..written]);
        self.line.state.1.notify_all();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
