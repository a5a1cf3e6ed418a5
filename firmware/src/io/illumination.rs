//! The lamp over the specimen.

use std::fmt::{self, Display};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use embedded_hal::digital::OutputPin;
use embedded_hal::pwm::{ErrorKind, ErrorType, SetDutyCycle};
use serde::{Deserialize, Serialize};
use shared::DutyCycle;
use thiserror::Error;

use super::gpio::{LitAt, first_chip, open_light};

/// Steps of brightness: thousandths, as [`DutyCycle`] counts.
const STEPS: u16 = DutyCycle::FULL.get();
/// Folder of Linux's PWM chips.
const PWM_CLASS: &str = "/sys/class/pwm";

/// Why the lamp cannot be controlled.
#[derive(Debug, Error)]
pub enum IlluminationError {
    /// The PWM channel cannot be opened.
    #[error(
        "cannot use PWM channel {channel} of {chip} for the lamp; check [illumination], the board's PWM \
             overlay, and that the service can write there"
    )]
    Open {
        /// The chip's folder.
        chip: PathBuf,
        /// The channel.
        channel: u32,
        /// What Linux says.
        #[source]
        source: io::Error,
    },
    /// The GPIO line cannot be opened.
    #[error(
        "cannot use line {line} of {chip} for the lamp; check [illumination] (gpioinfo lists lines), and \
             that the service is in the group gpio"
    )]
    Line {
        /// The chip's device file.
        chip: PathBuf,
        /// The line.
        line: u32,
        /// What Linux says.
        #[source]
        source: linux_embedded_hal::gpio_cdev::Error,
    },
    /// The period is out of range.
    #[error("period_us under [illumination] must be 1 to 1000000, got {given}")]
    Period {
        /// The period given, µs.
        given: u32,
    },
    /// The lamp cannot be dimmed.
    #[error("this lamp can only be off or at full brightness (0 or 1000), got {given}")]
    Between {
        /// The brightness given, thousandths.
        given: u16,
    },
    /// The brightness cannot be set.
    #[error("cannot set the lamp's brightness: {reason}; check its driver")]
    Set {
        /// The error of the PWM.
        reason: String,
    },
}

/// A lamp whose brightness can be set.
pub trait Illumination: Send {
    /// Sets the brightness.
    ///
    /// # Errors
    /// [`IlluminationError::Set`].
    fn set(&mut self, brightness: DutyCycle) -> Result<(), IlluminationError>;
}

/// A lamp on a PWM output, switched off on drop because light bleaches the specimen.
struct PwmLamp<P: SetDutyCycle>(P);

impl<P: SetDutyCycle<Error: Display> + Send> Illumination for PwmLamp<P> {
    fn set(&mut self, brightness: DutyCycle) -> Result<(), IlluminationError> {
        self.0
            .set_duty_cycle_fraction(brightness.get(), STEPS)
            .map_err(|error| IlluminationError::Set { reason: error.to_string() })
    }
}

impl<P: SetDutyCycle> Drop for PwmLamp<P> {
    fn drop(&mut self) {
        // There is nowhere left to report an error.
        let _ = self.0.set_duty_cycle_fully_off();
    }
}

/// A lamp switched by a pin, switched off on drop.
struct SwitchedLamp<P: OutputPin>(P);

impl<P: OutputPin<Error: Display> + Send> Illumination for SwitchedLamp<P> {
    fn set(&mut self, brightness: DutyCycle) -> Result<(), IlluminationError> {
        let switched = match brightness {
            DutyCycle::OFF => self.0.set_low(),
            DutyCycle::FULL => self.0.set_high(),
            between => return Err(IlluminationError::Between { given: between.get() }),
        };
        switched.map_err(|error| IlluminationError::Set { reason: error.to_string() })
    }
}

impl<P: OutputPin> Drop for SwitchedLamp<P> {
    fn drop(&mut self) {
        // There is nowhere left to report an error.
        let _ = self.0.set_low();
    }
}

/// A station without a lamp accepts every brightness.
struct NoLamp;

impl Illumination for NoLamp {
    fn set(&mut self, _brightness: DutyCycle) -> Result<(), IlluminationError> {
        Ok(())
    }
}

/// The configured lamp: on a PWM output, or switched by a GPIO line if one is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IlluminationConfig {
    /// Number of the PWM chip: `/sys/class/pwm/pwmchip<N>`.
    #[serde(default)]
    pub pwm_chip: u32,
    /// Channel of the chip.
    #[serde(default)]
    pub pwm_channel: u32,
    /// Length of a period, µs: long enough for the lamp's driver, short against the exposure.
    #[serde(default = "default_period_us")]
    pub period_us: u32,
    /// The GPIO chip's device file, for a lamp that is switched.
    #[serde(default = "first_chip")]
    pub chip: PathBuf,
    /// Line of the chip that switches the lamp, in place of PWM.
    #[serde(default)]
    pub line: Option<u32>,
    /// Level at which a switched lamp is lit.
    #[serde(default)]
    pub lit_at: LitAt,
    /// Brightness at the start, thousandths.
    #[serde(default = "dark")]
    pub brightness: DutyCycle,
}

const fn dark() -> DutyCycle {
    DutyCycle::OFF
}

const fn default_period_us() -> u32 {
    1000
}

impl IlluminationConfig {
    /// Opens the lamp, dark.
    ///
    /// # Errors
    /// [`IlluminationError::Open`], [`IlluminationError::Line`] or [`IlluminationError::Period`].
    pub fn open(&self) -> Result<Box<dyn Illumination>, IlluminationError> {
        let Some(line) = self.line else { return self.open_under(Path::new(PWM_CLASS)) };
        let pin = open_light(&self.chip, line, self.lit_at).map_err(|source| IlluminationError::Line {
            chip: self.chip.clone(),
            line,
            source,
        })?;
        Ok(Box::new(SwitchedLamp(pin)))
    }

    /// Opens the lamp if one is configured, else a lamp that does nothing.
    ///
    /// # Errors
    /// As [`IlluminationConfig::open`].
    pub fn open_optional(config: Option<&Self>) -> Result<Box<dyn Illumination>, IlluminationError> {
        config.map_or_else(|| Ok(Box::new(NoLamp) as Box<dyn Illumination>), Self::open)
    }

    fn open_under(&self, class: &Path) -> Result<Box<dyn Illumination>, IlluminationError> {
        if !(1..=1_000_000).contains(&self.period_us) {
            return Err(IlluminationError::Period { given: self.period_us });
        }
        let chip = class.join(format!("pwmchip{}", self.pwm_chip));
        let pwm = SysfsPwm::open(&chip, self.pwm_channel, self.period_us)
            .map_err(|source| IlluminationError::Open { chip, channel: self.pwm_channel, source })?;
        Ok(Box::new(PwmLamp(pwm)))
    }
}

/// A PWM channel through sysfs, `Documentation/driver-api/pwm.rst` of Linux.
struct SysfsPwm {
    channel: PathBuf,
    period_ns: u64,
}

impl SysfsPwm {
    fn open(chip: &Path, channel: u32, period_us: u32) -> io::Result<Self> {
        let period_ns = u64::from(period_us) * 1000;
        let folder = chip.join(format!("pwm{channel}"));
        if !folder.exists() {
            fs::write(chip.join("export"), channel.to_string())?;
        }
        let pwm = Self { channel: folder, period_ns };
        // Linux would reject a period shorter than the current pulse.
        pwm.write("duty_cycle", 0)
            .or_else(|error| if error.kind() == io::ErrorKind::InvalidInput { Ok(()) } else { Err(error) })?;
        pwm.write("period", period_ns)?;
        pwm.write("duty_cycle", 0)?;
        pwm.write("enable", 1)?;
        Ok(pwm)
    }

    fn write(&self, attribute: &str, value: u64) -> io::Result<()> {
        fs::write(self.channel.join(attribute), value.to_string())
    }
}

/// A PWM channel that Linux refuses to set.
#[derive(Debug)]
struct SysfsPwmError(io::Error);

impl Display for SysfsPwmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl embedded_hal::pwm::Error for SysfsPwmError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl ErrorType for SysfsPwm {
    type Error = SysfsPwmError;
}

impl SetDutyCycle for SysfsPwm {
    fn max_duty_cycle(&self) -> u16 {
        STEPS
    }

    fn set_duty_cycle(&mut self, duty: u16) -> Result<(), SysfsPwmError> {
        let on_ns = self.period_ns * u64::from(duty.min(STEPS)) / u64::from(STEPS);
        self.write("duty_cycle", on_ns).map_err(SysfsPwmError)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use embedded_hal::digital::PinState;

    use super::*;

    struct FakePwm(Sender<u16>);

    impl ErrorType for FakePwm {
        type Error = std::convert::Infallible;
    }

    impl SetDutyCycle for FakePwm {
        fn max_duty_cycle(&self) -> u16 {
            255
        }

        fn set_duty_cycle(&mut self, duty: u16) -> Result<(), Self::Error> {
            self.0.send(duty).unwrap();
            Ok(())
        }
    }

    #[test]
    fn brightness_is_scaled_to_the_pwm_and_ends_dark() {
        let (sender, duties) = channel();
        let mut lamp = PwmLamp(FakePwm(sender));
        for thousandths in [0, 500, 1000] {
            lamp.set(DutyCycle::try_from(thousandths).unwrap()).unwrap();
        }
        drop(lamp);
        assert_eq!(duties.iter().collect::<Vec<_>>(), [0, 127, 255, 0]);
    }

    #[test]
    fn a_switched_lamp_knows_off_and_full_and_ends_dark() {
        struct FakePin(Sender<PinState>);
        impl embedded_hal::digital::ErrorType for FakePin {
            type Error = std::convert::Infallible;
        }
        impl OutputPin for FakePin {
            fn set_low(&mut self) -> Result<(), Self::Error> {
                self.set_state(PinState::Low)
            }
            fn set_high(&mut self) -> Result<(), Self::Error> {
                self.set_state(PinState::High)
            }
            fn set_state(&mut self, state: PinState) -> Result<(), Self::Error> {
                self.0.send(state).unwrap();
                Ok(())
            }
        }
        let (sender, states) = channel();
        let mut lamp = SwitchedLamp(FakePin(sender));
        lamp.set(DutyCycle::FULL).unwrap();
        let between = lamp.set(DutyCycle::try_from(500).unwrap()).unwrap_err();
        assert!(between.to_string().contains("0 or 1000"), "{between}");
        drop(lamp);
        assert_eq!(states.iter().collect::<Vec<_>>(), [PinState::High, PinState::Low]);
    }

    /// A folder such as Linux shows, with the channel exported.
    fn fake_class() -> tempfile::TempDir {
        let class = tempfile::tempdir().unwrap();
        fs::create_dir_all(class.path().join("pwmchip2/pwm1")).unwrap();
        class
    }

    #[test]
    fn sysfs_gets_nanoseconds() {
        let class = fake_class();
        let config: IlluminationConfig =
            toml::from_str("pwm_chip = 2\npwm_channel = 1\nperiod_us = 50").unwrap();
        let mut lamp = config.open_under(class.path()).unwrap();
        let read = |name: &str| fs::read_to_string(class.path().join("pwmchip2/pwm1").join(name)).unwrap();
        assert_eq!(
            (read("period"), read("duty_cycle"), read("enable")),
            ("50000".into(), "0".into(), "1".into())
        );
        lamp.set(DutyCycle::try_from(250).unwrap()).unwrap();
        assert_eq!(read("duty_cycle"), "12500");
        fs::remove_dir_all(class.path().join("pwmchip2")).unwrap();
        let error = lamp.set(DutyCycle::FULL).unwrap_err();
        assert!(error.to_string().contains("check its driver"), "{error}");
    }

    #[test]
    fn what_cannot_be_opened_says_what_to_do() {
        let class = tempfile::tempdir().unwrap();
        let config = |period_us| IlluminationConfig {
            pwm_chip: 0,
            pwm_channel: 3,
            period_us,
            chip: "/dev/no-such-chip".into(),
            line: None,
            lit_at: LitAt::High,
            brightness: DutyCycle::OFF,
        };
        let Err(error) = config(1000).open_under(class.path()) else { panic!("opened nothing") };
        assert!(error.to_string().contains("check [illumination]"), "{error}");
        assert!(matches!(config(0).open_under(class.path()), Err(IlluminationError::Period { given: 0 })));
        let error = IlluminationConfig { line: Some(3), ..config(1000) }.open().err().unwrap();
        assert!(error.to_string().contains("line 3 of /dev/no-such-chip"), "{error}");
        assert!(toml::from_str::<IlluminationConfig>("pwm = 1").is_err());
        IlluminationConfig::open_optional(None).unwrap().set(DutyCycle::FULL).unwrap();
    }
}
