//! What arrives at the service: one bounded channel of [`ServiceEvent`]s from all other threads.

use shared::wire::{CameraState, ModelDigest, ModelRefusal, QcFlags};

use crate::inference::{Capture, Pipeline};
use crate::link::LinkEvent;

/// An event for the service.
#[expect(clippy::large_enum_variant, reason = "most are the large one; a box would cost an allocation each")]
pub enum ServiceEvent {
    /// Something arrived from the link.
    Link(LinkEvent),
    /// The camera was opened, lost, or came to its end.
    Camera {
        /// Its state now.
        state: CameraState,
        /// Its name, empty where there is none.
        name: String,
        /// Which opening of the source this is about; see `FrameControl::restart_source`.
        generation: u32,
    },
    /// The model segmented a frame, with these quality flags.
    FramePassed(ModelDigest, QcFlags),
    /// The model failed on a frame.
    FrameFailed(ModelDigest),
    /// The frame for a capture's token; `None` where it failed.
    Captured(u32, Option<Box<Capture>>),
    /// A staged model was verified, and is ready to run.
    Verified(ModelDigest, Result<Box<Pipeline>, ModelRefusal>),
    /// A model that passed its verification before was loaded.
    Loaded(ModelDigest, Result<Box<Pipeline>, ModelRefusal>),
    /// The station stops.
    Stop,
}
