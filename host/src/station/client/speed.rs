//! The line's speed: found where only noise comes at the first, lowered where the line is bad, raised again later.

use std::time::{Duration, Instant};

use host_console::interrupt;
use shared::wire::{Identity, baud_rates};

use super::{LinkError, SerialLine, Station, Tries};

/// How often a greeting is sent for each speed that the station may yet have to try: with [`SEARCH_WAIT`], longer than
/// it takes.
const SEARCH_ATTEMPTS: usize = 3;
const SEARCH_WAIT: Duration = Duration::from_millis(250);

/// The speed of a line, bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineSpeed {
    /// The fastest, as asked for.
    pub top: u32,
    /// The one that is used.
    pub now: u32,
}

impl LineSpeed {
    /// The fastest one is used.
    pub const fn top(baud: u32) -> Self {
        Self { top: baud, now: baud }
    }

    /// As after a station that no longer answered: the next slower speed, after the slowest the fastest.
    #[must_use]
    pub fn lowered(self) -> Self {
        Self { now: self.slower().next().unwrap_or(self.top), ..self }
    }

    /// The slower ones, fastest first.
    pub fn slower(self) -> impl Iterator<Item = u32> {
        baud_rates(self.top).filter(move |&speed| speed < self.now)
    }

    /// The next faster one, where there is one.
    fn faster(self) -> Option<u32> {
        baud_rates(self.top).take_while(|&speed| speed > self.now).last()
    }
}

impl Station<SerialLine> {
    /// Greets at the slower speeds, the fastest of them first; `None` where none is answered. The line is then at its
    /// first speed again.
    pub(super) fn greet_slower(&mut self) -> Result<Option<Identity>, LinkError> {
        let first = self.speed.now;
        for speed in self.speed.slower() {
            if let Some(identity) = self.greet_at(speed, interrupt::is_raised)? {
                return Ok(Some(identity));
            }
        }
        self.take_up(first)?;
        Ok(None)
    }

    /// Goes on at `speed`, or as before where that is not answered; whether it was.
    ///
    /// # Errors
    /// [`LinkError`] when neither is answered.
    pub fn move_to(&mut self, speed: u32) -> Result<bool, LinkError> {
        let before = self.speed.now;
        for speed in [speed, before] {
            if self.greet_at(speed, || false)?.is_some() {
                return Ok(speed != before);
            }
        }
        Err(LinkError::Silent { port: self.port.clone() })
    }

    /// Takes up a speed and greets; `None` where nobody answers.
    fn greet_at(&mut self, speed: u32, is_over: fn() -> bool) -> Result<Option<Identity>, LinkError> {
        self.take_up(speed)?;
        let attempts = (SEARCH_ATTEMPTS * baud_rates(self.speed.top).count()) as u32;
        match self.greet_within(Tries { attempts, wait: SEARCH_WAIT, is_over }) {
            Err(LinkError::NoStation { .. }) => Ok(None),
            greeted => greeted.map(Some),
        }
    }

    fn take_up(&mut self, speed: u32) -> Result<(), LinkError> {
        self.line.set_speed(speed).map_err(|error| self.lost(error))?;
        self.accumulator.reset();
        self.speed.now = speed;
        Ok(())
    }
}

/// The pause before a line that was slowed down is tried at the next faster speed.
const FIRST_PAUSE: Duration = Duration::from_secs(20);
/// The longest pause, after several trials in vain: what the station tells during one comes when it is over.
const LAST_PAUSE: Duration = Duration::from_secs(20 * 60);

/// When to try a faster speed.
#[derive(Debug)]
pub struct Climb {
    since: Instant,
    pause: Duration,
    /// It was climbed since the line last fell.
    climbed: bool,
}

impl Climb {
    /// A pause from now.
    pub fn new() -> Self {
        Self { since: Instant::now(), pause: FIRST_PAUSE, climbed: false }
    }

    /// The line fell to a slower speed; if it had climbed, that was too early.
    pub fn fell(&mut self) {
        if std::mem::take(&mut self.climbed) {
            self.pause = (2 * self.pause).min(LAST_PAUSE);
        }
        self.since = Instant::now();
    }

    /// Climbs where it is time and the line is below its fastest speed; the speed that it came to.
    ///
    /// # Errors
    /// As [`Station::move_to`].
    pub fn when_due(&mut self, station: &mut Station<SerialLine>) -> Result<Option<u32>, LinkError> {
        let Some(faster) = station.speed.faster().filter(|_| self.since.elapsed() >= self.pause) else {
            return Ok(None);
        };
        self.climbed = true;
        if station.move_to(faster)? {
            self.since = Instant::now();
            return Ok(Some(faster));
        }
        self.fell();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_down_step_by_step_and_round() {
        let mut speed = LineSpeed::top(921_600);
        let down: Vec<u32> = (0..4)
            .map(|_| {
                speed = speed.lowered();
                speed.now
            })
            .collect();
        assert_eq!(down, [460_800, 230_400, 115_200, 921_600]);
        assert_eq!(LineSpeed::top(9_600).lowered(), LineSpeed::top(9_600));
    }

    #[test]
    fn a_climb_in_vain_or_too_early_doubles_the_pause_and_another_fall_does_not() {
        let mut climb = Climb::new();
        climb.fell();
        assert_eq!(climb.pause, FIRST_PAUSE);
        for times in [2, 4, 8] {
            climb.climbed = true;
            climb.fell();
            climb.fell();
            assert_eq!(climb.pause, FIRST_PAUSE * times);
        }
        climb.pause = LAST_PAUSE;
        climb.climbed = true;
        climb.fell();
        assert_eq!(climb.pause, LAST_PAUSE);
    }

    #[test]
    fn a_line_climbs_step_by_step_to_its_top() {
        let at = |now| LineSpeed { top: 500_000, now }.faster();
        assert_eq!(
            [115_200, 230_400, 460_800, 500_000].map(at),
            [Some(230_400), Some(460_800), Some(500_000), None]
        );
    }
}
