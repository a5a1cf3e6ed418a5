//! Inference: from a frame to its nuclei, and the captured frame that a host reads.

mod capture;
mod pipeline;

pub use capture::Capture;
pub use pipeline::{FrameResult, Pipeline, PipelineError, preview_jpeg};
pub(crate) use pipeline::{InferenceOutput, InferenceStage, InferredFrame, PostprocessStage};
