//! Post-training quantization: activation ranges, rounding to int8, the loss per layer and per image, and the accuracy
//! check.

use host_console::Failure;

mod accuracy_check;
mod activation_ranges;
mod histogram;
mod layers;
mod trace;

pub use accuracy_check::{AccuracyVerdict, TypeLoss};
pub use activation_ranges::{ActivationRanges, map_error};
pub use histogram::RangeMethod;
pub use layers::{LayerNoise, layer_noise};
pub use trace::TraceError;

impl From<TraceError> for Failure {
    fn from(error: TraceError) -> Self {
        Self::failed(error, "report this with the run's config.json")
    }
}
