//! Quantities with a unit, checked on construction and on decoding.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A value outside the range of its unit.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("{unit} must be {range}, got {value}")]
pub struct UnitError {
    /// The unit's name.
    pub unit: &'static str,
    /// The allowed range, in words.
    pub range: &'static str,
    /// The value refused.
    pub value: f64,
}

/// Declares a checked newtype over a number: `try_from` and serde both run the check.
macro_rules! checked_unit {
    ($(#[$doc:meta])* $name:ident($inner:ty, $inner_name:literal), $unit:literal, $range:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = $inner_name, into = $inner_name)]
        pub struct $name($inner);

        impl $name {
            /// The bare number.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl TryFrom<$inner> for $name {
            type Error = UnitError;

            fn try_from(value: $inner) -> Result<Self, UnitError> {
                let check: fn($inner) -> bool = $check;
                if check(value) {
                    Ok(Self(value))
                } else {
                    Err(UnitError { unit: $unit, range: $range, value: f64::from(value) })
                }
            }
        }

        impl From<$name> for $inner {
            fn from(value: $name) -> $inner {
                value.0
            }
        }
    };
}

checked_unit!(
    /// Size of a camera pixel in the specimen plane, µm/px.
    PixelSize(f32, "f32"), "pixel size", "a positive number of µm/px, at most 1000",
    |v| v.is_finite() && v > 0.0 && v <= 1000.0
);
checked_unit!(
    /// A probability, 0 to 1.
    Probability(f32, "f32"), "probability", "0 to 1",
    |v| (0.0..=1.0).contains(&v)
);
checked_unit!(
    /// Overlap above which a prediction matches a true nucleus, 0 to below 1.
    IouThreshold(f64, "f64"), "IoU threshold", "0 to below 1",
    |v| (0.0..1.0).contains(&v)
);
checked_unit!(
    /// Share of a period that an output is on, in thousandths.
    DutyCycle(u16, "u16"), "duty cycle", "0 to 1000 thousandths",
    |v| v <= 1000
);
checked_unit!(
    /// Factor by which an image is resized for the network.
    Scale(f32, "f32"), "scale", "0.01 to 16",
    |v| (0.01..=16.0).contains(&v)
);

impl Probability {
    /// Never.
    pub const ZERO: Self = Self(0.0);
}

impl Scale {
    /// The original scale.
    pub const ONE: Self = Self(1.0);
}

impl DutyCycle {
    /// Off.
    pub const OFF: Self = Self(0);
    /// On all the time.
    pub const FULL: Self = Self(1000);
}

/// A duration in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Milliseconds(pub u32);

/// A duration in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Microseconds(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_on_construction_and_on_decoding() {
        assert!(PixelSize::try_from(0.25).is_ok());
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(PixelSize::try_from(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<DutyCycle>("1000").is_ok());
        assert!(serde_json::from_str::<DutyCycle>("1001").is_err());
        assert!(IouThreshold::try_from(1.0).is_err());
    }
}
