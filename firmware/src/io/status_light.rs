//! The status light, which shows the station's state across the room.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use embedded_hal::digital::{OutputPin, PinState};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::runtime::log;

use super::gpio::{LitAt, first_chip, open_light};

/// Why the light cannot be used.
#[derive(Debug, Error)]
pub enum StatusLightError {
    /// The GPIO line cannot be opened.
    #[error(
        "cannot use line {line} of {chip} for the status light; check [status_light] (gpioinfo lists \
             lines), and that the service is in the group gpio"
    )]
    Open {
        /// The chip's device file.
        chip: PathBuf,
        /// The line.
        line: u32,
        /// What Linux says.
        #[source]
        source: linux_embedded_hal::gpio_cdev::Error,
    },
    /// The light's thread cannot be started.
    #[error("cannot start the status light's thread")]
    Thread(#[source] std::io::Error),
}

/// The signals of the light.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Starting: fast even blinking.
    Starting,
    /// No camera: one short flash every two seconds.
    NoCamera,
    /// Counting: steady light.
    Running,
    /// Counting with a model on trial: long light, short pause.
    Trial,
    /// Counting, but the count is unreliable: slow even blinking.
    Doubt,
    /// Fault: three short flashes and a pause.
    Error,
}

impl Signal {
    /// Milliseconds lit, dark, lit, dark and so on, over and over; empty: lit all the time.
    const fn rhythm(self) -> &'static [u64] {
        match self {
            Self::Starting => &[125, 125],
            Self::NoCamera => &[100, 1900],
            Self::Running => &[],
            Self::Trial => &[900, 100],
            Self::Doubt => &[500, 500],
            Self::Error => &[150, 150, 150, 150, 150, 750],
        }
    }

    /// Whether the light is lit at this time after the signal began, and for how much longer.
    fn at(self, since: Duration) -> (PinState, Option<Duration>) {
        let total: u64 = self.rhythm().iter().sum();
        if total == 0 {
            return (PinState::High, None);
        }
        let nanos = Duration::from_millis(total).as_nanos();
        let mut left = Duration::from_nanos((since.as_nanos() % nanos) as u64);
        for (index, &length) in self.rhythm().iter().enumerate() {
            let length = Duration::from_millis(length);
            if left < length {
                return (PinState::from(index % 2 == 0), Some(length - left));
            }
            left -= length;
        }
        (PinState::Low, Some(Duration::ZERO))
    }
}

/// A status light that blinks on its own thread; switched off on drop.
#[derive(Debug)]
pub struct StatusLight {
    signals: Option<Sender<Signal>>,
    shown: Option<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl StatusLight {
    /// A light on a pin that is high when lit.
    ///
    /// # Errors
    /// [`StatusLightError::Thread`].
    pub fn new(pin: impl OutputPin<Error: Display> + Send + 'static) -> Result<Self, StatusLightError> {
        let (sender, signals) = channel();
        let thread = thread::Builder::new()
            .name("status light".to_owned())
            .spawn(move || blink(pin, &signals))
            .map_err(StatusLightError::Thread)?;
        Ok(Self { signals: Some(sender), shown: None, thread: Some(thread) })
    }

    /// No light.
    pub const fn none() -> Self {
        Self { signals: None, shown: None, thread: None }
    }

    /// Shows a signal until the next one. Repeating the current signal does not restart it.
    pub fn show(&mut self, signal: Signal) {
        if self.shown == Some(signal) {
            return;
        }
        self.shown = Some(signal);
        if self.signals.as_ref().is_some_and(|signals| signals.send(signal).is_err()) {
            // The pin failed, and the error was logged.
            self.signals = None;
        }
    }
}

impl Drop for StatusLight {
    fn drop(&mut self) {
        self.signals = None;
        if let Some(thread) = self.thread.take() {
            // The thread printed its own panic.
            let _ = thread.join();
        }
    }
}

/// The light's thread: blinks until the light is dropped.
fn blink(mut pin: impl OutputPin<Error: Display>, signals: &Receiver<Signal>) {
    let Ok(mut signal) = signals.recv() else { return };
    let mut began = Instant::now();
    loop {
        let (state, wait) = signal.at(began.elapsed());
        if let Err(error) = pin.set_state(state) {
            log!("warning: the status light failed: {error}; check its wiring and [status_light]");
            return;
        }
        let next = match wait {
            None => signals.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wait) => signals.recv_timeout(wait),
        };
        match next {
            Ok(next) => {
                signal = next;
                began = Instant::now();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                // There is nowhere left to report an error.
                let _ = pin.set_low();
                return;
            }
        }
    }
}

/// The configured status light.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusLightConfig {
    /// The GPIO chip's device file.
    #[serde(default = "first_chip")]
    pub chip: PathBuf,
    /// Line of the chip.
    pub line: u32,
    /// Level at which the light is lit.
    #[serde(default)]
    pub lit_at: LitAt,
}

impl StatusLightConfig {
    /// Opens the light, dark.
    ///
    /// # Errors
    /// [`StatusLightError`].
    pub fn open(&self) -> Result<StatusLight, StatusLightError> {
        let pin = open_light(&self.chip, self.line, self.lit_at)
            .map_err(|source| StatusLightError::Open { chip: self.chip.clone(), line: self.line, source })?;
        StatusLight::new(pin)
    }

    /// Opens the light, if one is configured.
    ///
    /// # Errors
    /// As [`StatusLightConfig::open`].
    pub fn open_optional(config: Option<&Self>) -> Result<StatusLight, StatusLightError> {
        config.map_or_else(|| Ok(StatusLight::none()), Self::open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::gpio::LightPin;

    const SIGNALS: [Signal; 6] =
        [Signal::Starting, Signal::NoCamera, Signal::Running, Signal::Trial, Signal::Doubt, Signal::Error];

    struct FakePin(Sender<PinState>);

    impl embedded_hal::digital::ErrorType for FakePin {
        type Error = std::convert::Infallible;
    }

    impl OutputPin for FakePin {
        fn set_low(&mut self) -> Result<(), Self::Error> {
            self.0.send(PinState::Low).unwrap();
            Ok(())
        }

        fn set_high(&mut self) -> Result<(), Self::Error> {
            self.0.send(PinState::High).unwrap();
            Ok(())
        }
    }

    #[test]
    fn rhythms_are_kept() {
        let ms = Duration::from_millis;
        let cases = [
            (Signal::Running, 123_456, PinState::High, None),
            (Signal::NoCamera, 0, PinState::High, Some(100)),
            (Signal::NoCamera, 100, PinState::Low, Some(1900)),
            (Signal::NoCamera, 1_999, PinState::Low, Some(1)),
            (Signal::NoCamera, 2_000_050, PinState::High, Some(50)),
            (Signal::Error, 320, PinState::High, Some(130)),
            (Signal::Error, 760, PinState::Low, Some(740)),
            (Signal::Trial, 899, PinState::High, Some(1)),
        ];
        for (signal, at, state, stays) in cases {
            assert_eq!(signal.at(ms(at)), (state, stays.map(ms)), "{signal:?} at {at} ms");
        }
    }

    #[test]
    fn signals_differ() {
        for (index, signal) in SIGNALS.iter().enumerate() {
            assert!(SIGNALS[..index].iter().all(|other| other.rhythm() != signal.rhythm()), "{signal:?}");
            assert!(signal.rhythm().len() % 2 == 0, "{signal:?} ends dark");
        }
    }

    #[test]
    fn the_light_is_lit_and_ends_dark() {
        for (lit_at, inverted) in [(LitAt::High, false), (LitAt::Low, true)] {
            let (sender, states) = channel();
            let mut light = StatusLight::new(LightPin::new(FakePin(sender), lit_at)).unwrap();
            light.show(Signal::Running);
            light.show(Signal::Running);
            assert_eq!(states.recv().unwrap(), PinState::from(!inverted));
            drop(light);
            assert_eq!(states.iter().collect::<Vec<_>>(), [PinState::from(inverted)]);
        }
        StatusLight::none().show(Signal::Error);
    }

    #[test]
    fn what_cannot_be_opened_says_what_to_do() {
        let config: StatusLightConfig = toml::from_str("chip = \"/dev/no-such-chip\"\nline = 17").unwrap();
        let error = config.open().unwrap_err();
        assert!(error.to_string().contains("check [status_light]"), "{error}");
        assert!(toml::from_str::<StatusLightConfig>("line = 1\nlit_at = \"dim\"").is_err());
        assert!(StatusLightConfig::open_optional(None).is_ok());
    }
}
