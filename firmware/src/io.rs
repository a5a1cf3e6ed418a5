//! What is wired to the board's pins: the illumination and the status light.

mod gpio;
mod illumination;
mod status_light;

pub use gpio::LitAt;
pub use illumination::{Illumination, IlluminationConfig, IlluminationError};
pub use status_light::{Signal, StatusLight, StatusLightConfig, StatusLightError};
