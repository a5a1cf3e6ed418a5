//! A light on a GPIO line.

use std::path::{Path, PathBuf};

use embedded_hal::digital::{ErrorType, OutputPin};
use linux_embedded_hal::CdevPin;
use linux_embedded_hal::gpio_cdev::{Chip, Error, LineRequestFlags};
use serde::{Deserialize, Serialize};

/// Level at which a light is lit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LitAt {
    /// Lit when the line is high.
    #[default]
    High,
    /// Lit when the line is low.
    Low,
}

/// A pin that is high when its light is lit, whatever the electrical level.
#[derive(Debug)]
pub struct LightPin<P> {
    pin: P,
    lit_at: LitAt,
}

impl<P: OutputPin> LightPin<P> {
    /// A light on a pin.
    pub const fn new(pin: P, lit_at: LitAt) -> Self {
        Self { pin, lit_at }
    }
}

impl<P: OutputPin> ErrorType for LightPin<P> {
    type Error = P::Error;
}

impl<P: OutputPin> OutputPin for LightPin<P> {
    fn set_low(&mut self) -> Result<(), P::Error> {
        match self.lit_at {
            LitAt::High => self.pin.set_low(),
            LitAt::Low => self.pin.set_high(),
        }
    }

    fn set_high(&mut self) -> Result<(), P::Error> {
        match self.lit_at {
            LitAt::High => self.pin.set_high(),
            LitAt::Low => self.pin.set_low(),
        }
    }
}

/// Linux's first chip.
pub fn first_chip() -> PathBuf {
    PathBuf::from("/dev/gpiochip0")
}

/// Requests a line of a chip for a light, initially dark.
///
/// # Errors
/// What Linux says.
pub fn open_light(chip: &Path, line: u32, lit_at: LitAt) -> Result<LightPin<CdevPin>, Error> {
    let dark = u8::from(lit_at == LitAt::Low);
    let line = Chip::new(chip)?.get_line(line)?;
    let pin = CdevPin::new(line.request(LineRequestFlags::OUTPUT, dark, "nuclei-station")?)?;
    Ok(LightPin::new(pin, lit_at))
}
