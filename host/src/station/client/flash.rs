//! Flashing a model: announce, upload, verify, trial, confirm.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use host_console::Failure;
use shared::wire::{CameraState, Change, Downgrade, ModelDigest, ModelRefusal, Refusal, StageProgress};
use thiserror::Error;

use super::deadline::Deadline;
use super::upload::{UploadOutcome, send};
use super::{LinkError, OperationUpdate, StationClient, Transport, UploadStats};

/// Loading and trying a model on a small processor takes its time.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(180);
/// A trial goes on as long as frames come.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How often a station may lose an announced model before that counts as a failure.
const MAX_STAGE_REQUESTS: u32 = 5;

/// The progress of a flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashProgress {
    /// The station holds so many bytes from an earlier try.
    Resumed {
        /// Bytes that need not be sent.
        held: u32,
    },
    /// The station holds so many bytes.
    Stored {
        /// Bytes held.
        stored: u32,
    },
    /// All bytes are there.
    Sent(UploadStats),
    /// The station checks, loads and tries the model.
    Verifying,
    /// The model runs on trial.
    Trial {
        /// Real frames still to pass.
        frames_left: u16,
    },
}

/// How a flash ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashOutcome {
    /// The model is confirmed and runs.
    Confirmed(UploadStats),
    /// The user cancelled; the station keeps the bytes it has.
    Stopped {
        /// Bytes that it holds.
        held: u32,
    },
}

/// Why the station does not run the model.
#[derive(Debug, Error)]
pub enum FlashError {
    /// The line or the station.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The file is longer than a packet can announce.
    #[error("the file is too large for any station")]
    TooLong,
    /// The station does not run this model.
    #[error("the station rejected the model and keeps running the previous one")]
    Model(#[source] ModelRefusal),
    /// The verification does not end.
    #[error("the station did not verify the model within {} s", VERIFY_TIMEOUT.as_secs())]
    VerifyTimeout,
    /// The trial needs frames, but none arrive.
    #[error("the model is on trial, but no frames arrive to confirm it: {}", match camera {
        CameraState::Running => "the camera delivers no frames",
        CameraState::Absent => "the station has no camera",
        CameraState::Finished => "it has reached its last image",
    })]
    NoFrames {
        /// The state of the station's camera.
        camera: CameraState,
    },
    /// The station forgets the model again and again.
    #[error("the station lost the model {MAX_STAGE_REQUESTS} times, so its storage may not be persistent")]
    UploadLost,
}

impl FlashError {
    /// The next step for the person who flashes `file`.
    pub fn into_failure(self, file: &str) -> Failure {
        let again = format!("run nuclei-host flash {file} again to continue");
        match self {
            Self::Link(error @ (LinkError::NoKey(_) | LinkError::Refused(Refusal::Trust(_)))) => error.into(),
            Self::Link(error) => Failure::new(error.exit(), error, again),
            Self::Model(ModelRefusal::Storage) => {
                Failure::failed(self, "free space on the station's disk, or replace it; then flash again")
            }
            Self::Model(
                ModelRefusal::Unsigned | ModelRefusal::UnknownKey { .. } | ModelRefusal::BadSignature,
            ) => Failure::failed(
                self,
                format!(
                    "if you trust the file, sign it with a key that the station trusts: nuclei-host \
                             sign {file} (nuclei-host key list shows your keys)"
                ),
            ),
            Self::Model(ModelRefusal::Older { .. }) => {
                Failure::failed(self, format!("to run it anyway: nuclei-host flash {file} --allow-downgrade"))
            }
            Self::Model(_) | Self::TooLong => Failure::failed(
                self,
                "nuclei-host station slots shows the active model; train or export a model that passes \
                     nuclei-host flash --dry-run",
            ),
            Self::NoFrames { .. } => Failure::failed(
                self,
                "connect a working camera to the station; the trial then continues and confirms or reverts the model",
            ),
            Self::VerifyTimeout | Self::UploadLost => Failure::failed(self, again),
        }
    }
}

/// Puts a model on the station, going on where an earlier try stopped, and waits until it has proved
/// itself. A station that trusts keys runs one that is older than what it has only as a `downgrade`.
///
/// `on_update` receives every event that arrives meanwhile, in order, and the progress with every answer of the
/// station.
///
/// # Errors
/// [`FlashError`]. The station then runs what it ran before, except after [`FlashError::NoFrames`].
pub fn flash<T: Transport>(
    station: &mut StationClient<T>,
    onnx: &[u8],
    downgrade: Downgrade,
    stop: &AtomicBool,
    mut on_update: impl FnMut(OperationUpdate<FlashProgress>),
) -> Result<FlashOutcome, FlashError> {
    let length = u32::try_from(onnx.len()).map_err(|_| FlashError::TooLong)?;
    let digest = ModelDigest::of(onnx);
    let announce = Change::Stage { length, digest };
    let mut progress = staging(station.stage(announce))?;
    let mut announcements = 1;
    let mut uploaded = UploadStats::default();
    let mut deadline = Deadline::after(VERIFY_TIMEOUT);
    let mut seen = None;
    let mut activations = 0;
    loop {
        let is_new = seen.replace(progress) != Some(progress);
        match progress {
            StageProgress::Verifying { .. } => {
                if is_new {
                    deadline = Deadline::after(VERIFY_TIMEOUT);
                }
                on_update(OperationUpdate::Progress(FlashProgress::Verifying));
            }
            StageProgress::Trial { frames_left, .. } => {
                if is_new {
                    deadline = Deadline::after(FRAME_TIMEOUT);
                }
                on_update(OperationUpdate::Progress(FlashProgress::Trial { frames_left }));
            }
            _ => {}
        }
        let stopped = stop.load(Ordering::Relaxed);
        progress = match progress {
            StageProgress::Receiving { digest: of, received, .. } if of == digest && received < length => {
                if received > 0 && uploaded == UploadStats::default() {
                    on_update(OperationUpdate::Progress(FlashProgress::Resumed { held: received }));
                }
                match send(station, onnx, digest, received, stop, &mut uploaded, &mut on_update)? {
                    UploadOutcome::Complete => {
                        on_update(OperationUpdate::Progress(FlashProgress::Sent(uploaded)));
                        StageProgress::Receiving { digest, received: length, length }
                    }
                    UploadOutcome::Lost => StageProgress::Idle,
                    UploadOutcome::Stopped { held } => return Ok(FlashOutcome::Stopped { held }),
                }
            }
            // Also after a restart in the middle of the verification.
            StageProgress::Receiving { digest: of, .. } if of == digest => {
                if activations > 0 {
                    station.wait(POLL_INTERVAL)?;
                }
                if stopped {
                    return Ok(FlashOutcome::Stopped { held: length });
                }
                activations += 1;
                staging(station.stage(Change::Activate { digest, downgrade }))?
            }
            StageProgress::Confirmed { digest: of } if of == digest => {
                return Ok(FlashOutcome::Confirmed(uploaded));
            }
            StageProgress::Failed { digest: of, reason } if of == digest => {
                return Err(FlashError::Model(reason));
            }
            StageProgress::Verifying { digest: of } | StageProgress::Trial { digest: of, .. }
                if of == digest && stopped =>
            {
                return Ok(FlashOutcome::Stopped { held: length });
            }
            StageProgress::Verifying { digest: of } if of == digest => {
                if deadline.is_over() {
                    return Err(FlashError::VerifyTimeout);
                }
                station.wait(POLL_INTERVAL)?;
                ask(station)?
            }
            StageProgress::Trial { digest: of, .. } if of == digest => {
                if deadline.is_over() {
                    return Err(FlashError::NoFrames { camera: station.status()?.camera });
                }
                station.wait(POLL_INTERVAL)?;
                ask(station)?
            }
            _ if announcements == MAX_STAGE_REQUESTS => return Err(FlashError::UploadLost),
            _ => {
                announcements += 1;
                staging(station.stage(announce))?
            }
        };
        station.take_events().into_iter().map(OperationUpdate::Event).for_each(&mut on_update);
    }
}

fn staging(answer: Result<StageProgress, LinkError>) -> Result<StageProgress, FlashError> {
    match answer {
        Err(LinkError::Refused(Refusal::Model(reason))) => Err(FlashError::Model(reason)),
        Err(LinkError::Refused(Refusal::NotFound)) => Ok(StageProgress::Idle),
        result => Ok(result?),
    }
}

/// How far it is now. A station that loads a model may be slow to answer, and may restart.
fn ask<T: Transport>(station: &mut StationClient<T>) -> Result<StageProgress, FlashError> {
    let deadline = Deadline::after(station.timeouts.restart);
    loop {
        match staging(station.stage_status()) {
            Err(FlashError::Link(LinkError::Timeout { .. })) if !deadline.is_over() => {}
            result => return result,
        }
    }
}
