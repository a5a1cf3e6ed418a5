//! Post-training quantisation: what numbers a network's values take, how they are rounded to bytes, what that
//! costs layer by layer and picture by picture, and whether it may be shipped.

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
