//! Post-training quantization: activation ranges, rounding to int8, the loss per layer and per image, and the accuracy
//! check.

use host_console::Failure;

mod calibration;
mod gate;
mod histogram;
mod layers;
mod trace;

pub use calibration::{Calibration, map_error};
pub use gate::{GateVerdict, TypeLoss};
pub use histogram::RangeMethod;
pub use layers::{LayerNoise, layer_noise};
pub use trace::TraceError;

impl From<TraceError> for Failure {
    fn from(error: TraceError) -> Self {
        Self::failed(error, "report this with the run's config.json")
    }
}
