//! The stored capture, identified by its token.

use shared::wire::{CameraState, CapturePart, CaptureState, ModelRefusal, Refusal};

use crate::inference::Capture;

/// The last requested capture.
#[derive(Debug, Default)]
pub(super) struct CaptureSlot {
    last: Option<(u32, CapturePhase)>,
}

#[derive(Debug)]
enum CapturePhase {
    Pending,
    Ready(Box<Capture>),
    Failed,
}

impl CaptureSlot {
    /// The state of a capture, and its token if a frame must be requested for it.
    ///
    /// # Errors
    /// [`Refusal`] where the model could not segment the frame; it then has no result to read.
    pub(super) fn begin(
        &mut self,
        token: u32,
        camera: CameraState,
    ) -> Result<(CaptureState, Option<u32>), Refusal> {
        if let Some((last, held)) = &self.last
            && *last == token
        {
            return match held {
                CapturePhase::Pending => Ok((CaptureState::Pending, None)),
                CapturePhase::Ready(capture) => Ok((CaptureState::Ready(capture.info()), None)),
                CapturePhase::Failed => Err(Refusal::Model(ModelRefusal::Unsupported)),
            };
        }
        match camera {
            CameraState::Running => {
                self.last = Some((token, CapturePhase::Pending));
                Ok((CaptureState::Pending, Some(token)))
            }
            CameraState::Absent => Ok((CaptureState::CameraAbsent, None)),
            CameraState::Finished => Ok((CaptureState::Finished, None)),
        }
    }

    /// A token's frame arrived, or failed.
    pub(super) fn complete(&mut self, token: u32, capture: Option<Box<Capture>>) {
        if let Some((last, held)) = &mut self.last
            && *last == token
        {
            *held = capture.map_or(CapturePhase::Failed, CapturePhase::Ready);
        }
    }

    /// No frame will arrive.
    pub(super) fn cancel(&mut self) {
        if matches!(self.last, Some((_, CapturePhase::Pending))) {
            self.last = None;
        }
    }

    /// A chunk of a capture.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] where there is no capture of that token, [`Refusal::OutOfRange`] past its end.
    pub(super) fn read(&self, token: u32, part: CapturePart, offset: u32) -> Result<Vec<u8>, Refusal> {
        match &self.last {
            Some((last, CapturePhase::Ready(capture))) if *last == token => capture.read(part, offset),
            _ => Err(Refusal::NotFound),
        }
    }
}
