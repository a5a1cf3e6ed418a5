//! Full frames from the station: captured on request, read in chunks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use host_console::Failure;
use shared::wire::{CHUNK, CaptureInfo, CapturePart, CaptureState, FrameReport, Request, Response};
use shared::{LabelCodecError, LabelImage, decode_labels};
use thiserror::Error;

use super::in_flight::InFlight;
use super::{LinkError, OperationUpdate, REQUEST_ATTEMPTS, StationClient, Transport};

/// Requests in flight, which keep the line busy while the station prepares the next chunk.
const WINDOW: usize = 4;
/// Maximum length of a part, bytes: four times the maximum pixels of an image.
const MAX_PART: u32 = 1 << 28;
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// A frame that takes longer will not arrive.
const FRAME_TIMEOUT: Duration = Duration::from_secs(120);

/// A frame with everything the station knows about it.
#[derive(Debug, Clone, PartialEq)]
pub struct CapturedFrame {
    /// The frame's result.
    pub report: FrameReport,
    /// The image, PNG.
    pub picture_png: Vec<u8>,
    /// The nuclei found.
    pub labels: LabelImage,
    /// Bytes of their code on the line (label codec).
    pub labels_bytes: usize,
    /// The nuclei of a simulated scene.
    pub truth: Option<LabelImage>,
}

/// The progress of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureProgress {
    /// The station captures the frame and counts its nuclei.
    Pending,
    /// A part of the frame is read.
    Reading {
        /// Bytes received of the part.
        bytes: u32,
        /// Total bytes of the part.
        length: u32,
    },
}

/// What became of asking for a frame.
#[derive(Debug, Clone, PartialEq)]
pub enum CaptureOutcome {
    /// Here it is.
    Taken(Box<CapturedFrame>),
    /// The pictures came to their end.
    Finished,
    /// No camera delivers.
    CameraAbsent,
    /// The user cancelled.
    Stopped,
}

impl CaptureOutcome {
    /// The frame.
    ///
    /// # Errors
    /// [`Failure`] with the reason why there is none.
    pub fn into_frame(self) -> Result<Box<CapturedFrame>, Failure> {
        match self {
            Self::Taken(captured) => Ok(captured),
            Self::Finished => Err(Failure::failed(
                "the station has reached its last image",
                "no frame was taken; restart the station, or connect a camera",
            )),
            Self::CameraAbsent => Err(Failure::failed(
                "the station has no working camera",
                "no frame was taken; connect a camera",
            )),
            Self::Stopped => Err(Failure::failed("stopped", "no frame was taken")),
        }
    }
}

/// Why a frame was not captured.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The line or the station.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The station keeps saying that the frame is on its way.
    #[error("the station did not deliver the frame within {} s", FRAME_TIMEOUT.as_secs())]
    Timeout,
    /// The data read is not a label image of the frame.
    #[error("the labels that the station sent for frame {frame} are damaged")]
    Labels {
        /// The frame's number.
        frame: u32,
        /// What the codec says.
        #[source]
        source: Option<LabelCodecError>,
    },
}

impl From<CaptureError> for Failure {
    fn from(error: CaptureError) -> Self {
        match error {
            CaptureError::Link(error) => error.into(),
            error => {
                let next = "capture again; nuclei-host link-test checks the line";
                Self::failed(error, next)
            }
        }
    }
}

impl<T: Transport> StationClient<T> {
    /// Captures and reads the frame of that token, which must differ for every frame.
    ///
    /// `on_update` receives every event that arrives meanwhile, in order, and the progress with every answer of the
    /// station.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn capture(
        &mut self,
        token: u32,
        stop: &AtomicBool,
        mut on_update: impl FnMut(OperationUpdate<CaptureProgress>),
    ) -> Result<CaptureOutcome, CaptureError> {
        let start = Instant::now();
        loop {
            let state = match self.request(&Request::Capture { token }, &[])?.0 {
                Response::Capture(state) => state,
                _ => return Err(self.unexpected().into()),
            };
            match state {
                CaptureState::Pending if stop.load(Ordering::Relaxed) => return Ok(CaptureOutcome::Stopped),
                CaptureState::Pending if start.elapsed() > FRAME_TIMEOUT => {
                    return Err(CaptureError::Timeout);
                }
                CaptureState::Pending => {
                    on_update(OperationUpdate::Progress(CaptureProgress::Pending));
                    self.wait(POLL_INTERVAL)?;
                    self.take_events().into_iter().map(OperationUpdate::Event).for_each(&mut on_update);
                }
                CaptureState::Ready(info) => {
                    let captured = self.read(token, info, &mut on_update)?;
                    return Ok(CaptureOutcome::Taken(Box::new(captured)));
                }
                CaptureState::Finished => return Ok(CaptureOutcome::Finished),
                CaptureState::CameraAbsent => return Ok(CaptureOutcome::CameraAbsent),
            }
        }
    }

    fn read(
        &mut self,
        token: u32,
        info: CaptureInfo,
        on_update: &mut impl FnMut(OperationUpdate<CaptureProgress>),
    ) -> Result<CapturedFrame, CaptureError> {
        let CaptureInfo { report, picture_length, labels_length, truth_length } = info;
        let picture_png = self.read_part(token, CapturePart::Picture, picture_length, on_update)?;
        let encoded = self.read_part(token, CapturePart::Labels, labels_length, on_update)?;
        let labels = labels_of(&report, &encoded)?;
        let truth = match truth_length {
            0 => None,
            length => {
                Some(labels_of(&report, &self.read_part(token, CapturePart::Truth, length, on_update)?)?)
            }
        };
        Ok(CapturedFrame { report, picture_png, labels, labels_bytes: encoded.len(), truth })
    }

    /// Reads all of a part, several pieces at a time. The line keeps order: an answer means that those
    /// to earlier requests are lost, and these are asked again.
    fn read_part(
        &mut self,
        token: u32,
        part: CapturePart,
        length: u32,
        on_update: &mut impl FnMut(OperationUpdate<CaptureProgress>),
    ) -> Result<Vec<u8>, LinkError> {
        if length > MAX_PART {
            return Err(self.unexpected());
        }
        let mut bytes = vec![0; length as usize];
        let mut wanted: VecDeque<u32> = (0..length).step_by(CHUNK as usize).collect();
        let mut in_flight = InFlight::new();
        let (mut silences, mut read) = (0, 0);
        while !wanted.is_empty() || in_flight.len() > 0 {
            while in_flight.len() < WINDOW
                && let Some(offset) = wanted.pop_front()
            {
                in_flight.push(self.send(&Request::ReadCapture { token, part, offset }, &[])?, offset);
            }
            let Some(reply) = self.next_reply(self.response_timeout())? else {
                silences += 1;
                if silences == REQUEST_ATTEMPTS {
                    return Err(LinkError::Timeout { port: self.port.clone() });
                }
                self.stats.retransmits += in_flight.len() as u32;
                wanted.extend(in_flight.clear());
                continue;
            };
            let Some((offset, lost)) = in_flight.acknowledge(reply.sequence) else {
                self.stats.late_responses += 1;
                continue;
            };
            silences = 0;
            self.stats.retransmits += lost.len() as u32;
            wanted.extend(lost);
            let place = offset as usize..offset.saturating_add(CHUNK).min(length) as usize;
            match reply.response {
                Some(Response::CaptureData { token: of, offset: at })
                    if (of, at) == (token, offset) && reply.bulk.len() == place.len() =>
                {
                    read += place.len() as u32;
                    bytes[place].copy_from_slice(&reply.bulk);
                    on_update(OperationUpdate::Progress(CaptureProgress::Reading { bytes: read, length }));
                }
                Some(Response::Refused(refusal)) => return Err(refusal.into()),
                _ => return Err(self.unexpected()),
            }
            self.take_events().into_iter().map(OperationUpdate::Event).for_each(&mut *on_update);
        }
        Ok(bytes)
    }
}

/// Labels of the frame's own size.
fn labels_of(report: &FrameReport, encoded: &[u8]) -> Result<LabelImage, CaptureError> {
    let damaged = |source| CaptureError::Labels { frame: report.frame, source };
    let pixels =
        u32::try_from(u64::from(report.width) * u64::from(report.height)).map_err(|_| damaged(None))?;
    let labels = decode_labels(encoded, pixels).map_err(|error| damaged(Some(error)))?;
    if (labels.width(), labels.height()) != (report.width, report.height) {
        return Err(damaged(None));
    }
    Ok(labels)
}
