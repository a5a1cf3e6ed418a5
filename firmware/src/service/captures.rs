//! The stored capture, identified by its token.

use shared::wire::{CameraState, CapturePart, CaptureState, ModelRefusal, Refusal};

use crate::inference::Capture;

/// The last requested capture.
#[derive(Debug, Default)]
pub(super) struct Captures {
    last: Option<(u32, Held)>,
}

#[derive(Debug)]
enum Held {
    Pending,
    Ready(Box<Capture>),
    Failed,
}

impl Captures {
    /// The state of a capture, and its token if a frame must be requested for it.
    ///
    /// # Errors
    /// [`Refusal`] where the model could not segment the frame; it then has no result to read.
    pub(super) fn ask(
        &mut self,
        token: u32,
        camera: CameraState,
    ) -> Result<(CaptureState, Option<u32>), Refusal> {
        if let Some((last, held)) = &self.last
            && *last == token
        {
            return match held {
                Held::Pending => Ok((CaptureState::Pending, None)),
                Held::Ready(capture) => Ok((CaptureState::Ready(capture.info()), None)),
                Held::Failed => Err(Refusal::Model(ModelRefusal::Unsupported)),
            };
        }
        match camera {
            CameraState::Running => {
                self.last = Some((token, Held::Pending));
                Ok((CaptureState::Pending, Some(token)))
            }
            CameraState::Absent => Ok((CaptureState::CameraAbsent, None)),
            CameraState::Finished => Ok((CaptureState::Finished, None)),
        }
    }

    /// A token's frame arrived, or failed.
    pub(super) fn arrived(&mut self, token: u32, capture: Option<Box<Capture>>) {
        if let Some((last, held)) = &mut self.last
            && *last == token
        {
            *held = capture.map_or(Held::Failed, Held::Ready);
        }
    }

    /// No frame will arrive.
    pub(super) fn give_up(&mut self) {
        if matches!(self.last, Some((_, Held::Pending))) {
            self.last = None;
        }
    }

    /// A chunk of a capture.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] where that token's is not there, [`Refusal::OutOfRange`] past its end.
    pub(super) fn read(&self, token: u32, part: CapturePart, offset: u32) -> Result<Vec<u8>, Refusal> {
        match &self.last {
            Some((last, Held::Ready(capture))) if *last == token => capture.read(part, offset),
            _ => Err(Refusal::NotFound),
        }
    }
}
