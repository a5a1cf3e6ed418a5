//! The line's baud rate: searched when only noise arrives, lowered when the line is bad, raised again later.

use std::time::{Duration, Instant};

use host_console::interrupt;
use shared::wire::{Identity, baud_rates};

use super::{LinkError, RetryPolicy, SerialTransport, StationClient};

/// How many handshakes are sent per rate that the station may still have to try. With [`PROBE_TIMEOUT`], this outlasts the
/// station's search.
const PROBE_ATTEMPTS: usize = 3;
const PROBE_TIMEOUT: Duration = Duration::from_millis(250);

/// The baud rate of a line, bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaudRate {
    /// The maximum, as the user chose it.
    pub max: u32,
    /// The rate in use.
    pub current: u32,
}

impl BaudRate {
    /// A line at its maximum.
    pub const fn at_max(baud: u32) -> Self {
        Self { max: baud, current: baud }
    }

    /// The rate after a station stopped responding: the next slower one, and the maximum after the slowest.
    #[must_use]
    pub fn lowered(self) -> Self {
        Self { current: self.slower().next().unwrap_or(self.max), ..self }
    }

    /// The slower rates, fastest first.
    pub fn slower(self) -> impl Iterator<Item = u32> {
        baud_rates(self.max).filter(move |&rate| rate < self.current)
    }

    /// The next faster rate, if there is one.
    fn faster(self) -> Option<u32> {
        baud_rates(self.max).take_while(|&rate| rate > self.current).last()
    }
}

impl StationClient<SerialTransport> {
    /// Tries the handshake at the slower rates, fastest first; `None` when none works. The line is then at its first rate
    /// again.
    pub(super) fn handshake_slower(&mut self) -> Result<Option<Identity>, LinkError> {
        let first = self.baud.current;
        for baud in self.baud.slower() {
            if let Some(identity) = self.handshake_at(baud, interrupt::is_raised)? {
                return Ok(Some(identity));
            }
        }
        self.switch_baud(first)?;
        Ok(None)
    }

    /// Continues at `baud`, or at the current rate if the station does not respond there; whether it did.
    ///
    /// # Errors
    /// [`LinkError`] when the station responds at neither.
    pub fn try_baud(&mut self, baud: u32) -> Result<bool, LinkError> {
        let before = self.baud.current;
        for baud in [baud, before] {
            if self.handshake_at(baud, || false)?.is_some() {
                return Ok(baud != before);
            }
        }
        Err(LinkError::Timeout { port: self.port.clone() })
    }

    /// Switches to a rate and tries the handshake; `None` when no station responds.
    fn handshake_at(&mut self, baud: u32, cancelled: fn() -> bool) -> Result<Option<Identity>, LinkError> {
        self.switch_baud(baud)?;
        let max_attempts = (PROBE_ATTEMPTS * baud_rates(self.baud.max).count()) as u32;
        let policy = RetryPolicy { max_attempts, per_attempt_timeout: PROBE_TIMEOUT, cancelled };
        match self.handshake_within(policy) {
            Err(LinkError::NoStation { .. }) => Ok(None),
            result => result.map(Some),
        }
    }

    fn switch_baud(&mut self, baud: u32) -> Result<(), LinkError> {
        self.transport.set_baud(baud).map_err(|error| self.lost(error))?;
        self.accumulator.reset();
        self.baud.current = baud;
        Ok(())
    }
}

/// How long a line that fell back stays there before the next faster rate is probed.
const FIRST_PROBE_DELAY: Duration = Duration::from_secs(20);
/// The longest delay, after several probes in vain: what the station sends during a probe arrives only after it.
const MAX_PROBE_DELAY: Duration = Duration::from_secs(20 * 60);

/// When to probe a faster rate.
#[derive(Debug)]
pub struct BaudRecovery {
    since: Instant,
    delay: Duration,
    /// A faster rate was tried since the last fallback.
    probed: bool,
}

impl BaudRecovery {
    /// Probes after the first delay from now.
    pub fn new() -> Self {
        Self { since: Instant::now(), delay: FIRST_PROBE_DELAY, probed: false }
    }

    /// The line fell back to a slower rate. If a probe raised it before, that was too early.
    pub fn on_fallback(&mut self) {
        if std::mem::take(&mut self.probed) {
            self.delay = (2 * self.delay).min(MAX_PROBE_DELAY);
        }
        self.since = Instant::now();
    }

    /// Probes the next faster rate if it is time and the line is below its maximum; returns the rate that it reached.
    ///
    /// # Errors
    /// As [`StationClient::try_baud`].
    pub fn probe_if_due(
        &mut self,
        station: &mut StationClient<SerialTransport>,
    ) -> Result<Option<u32>, LinkError> {
        let Some(faster) = station.baud.faster().filter(|_| self.since.elapsed() >= self.delay) else {
            return Ok(None);
        };
        self.probed = true;
        if station.try_baud(faster)? {
            self.since = Instant::now();
            return Ok(Some(faster));
        }
        self.on_fallback();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_lowered_step_by_step_and_starts_over_at_its_maximum() {
        let mut baud = BaudRate::at_max(921_600);
        let lowered: Vec<u32> = (0..4)
            .map(|_| {
                baud = baud.lowered();
                baud.current
            })
            .collect();
        assert_eq!(lowered, [460_800, 230_400, 115_200, 921_600]);
        assert_eq!(BaudRate::at_max(9_600).lowered(), BaudRate::at_max(9_600));
    }

    #[test]
    fn a_probe_that_failed_or_came_too_early_doubles_the_delay_and_another_fallback_does_not() {
        let mut recovery = BaudRecovery::new();
        recovery.on_fallback();
        assert_eq!(recovery.delay, FIRST_PROBE_DELAY);
        for times in [2, 4, 8] {
            recovery.probed = true;
            recovery.on_fallback();
            recovery.on_fallback();
            assert_eq!(recovery.delay, FIRST_PROBE_DELAY * times);
        }
        recovery.delay = MAX_PROBE_DELAY;
        recovery.probed = true;
        recovery.on_fallback();
        assert_eq!(recovery.delay, MAX_PROBE_DELAY);
    }

    #[test]
    fn a_line_is_raised_step_by_step_to_its_maximum() {
        let at = |current| BaudRate { max: 500_000, current }.faster();
        assert_eq!(
            [115_200, 230_400, 460_800, 500_000].map(at),
            [Some(230_400), Some(460_800), Some(500_000), None]
        );
    }
}
