//! Puts a model on the station: staged, uploaded, verified, on trial, confirmed.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use host_console::Failure;
use shared::wire::{
    CameraState, Change, Downgrade, ModelDigest, ModelRefusal, Notice, Refusal, ReliableEvent, StageProgress,
};
use thiserror::Error;

use super::deadline::Deadline;
use super::upload::{UploadError, upload};
use super::{Incoming, LinkError, OperationUpdate, StationClient, Transport, UploadStats};

/// A small processor needs time to load and test a model.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(180);
/// A trial continues as long as frames arrive.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// The station announces each step. Without an announcement it is asked this often, so that whoever waits for progress sees
/// that it still responds.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// How often a station may lose the model before that counts as a failure.
const MAX_ATTEMPTS: u32 = 5;

/// How far a flash is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashProgress {
    /// The station holds bytes from an earlier attempt.
    Resumed {
        /// Bytes that need not be sent.
        held: u32,
    },
    /// The upload is under way.
    Sending {
        /// Bytes that the station holds.
        held: u32,
        /// Bytes of the file.
        length: u32,
    },
    /// The station checks, loads and tests the model.
    Verifying,
    /// The model runs on trial.
    Trial {
        /// Real frames that it must still pass.
        frames_left: u16,
    },
}

impl fmt::Display for FlashProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resumed { held } => {
                write!(f, "the station already has {held} bytes from an earlier attempt")
            }
            Self::Sending { held, length } => {
                write!(f, "sending: {} %", 100 * u64::from(*held) / u64::from(*length).max(1))
            }
            Self::Verifying => f.write_str("the station is verifying the model"),
            Self::Trial { frames_left } => write!(f, "trial run: {frames_left} real frames left"),
        }
    }
}

/// How a flash ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashOutcome {
    /// The model passed its trial and runs.
    Confirmed(UploadStats),
    /// The user stopped the flash. The station keeps what it holds.
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
    /// The station loses the model again and again.
    #[error("the station lost the model {MAX_ATTEMPTS} times, so its storage may not be persistent")]
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

/// Puts a model on the station, continuing an earlier attempt, and waits until it is confirmed. A station that trusts keys
/// runs a model older than its own only as a `downgrade`.
///
/// `on_update` receives every event that arrives meanwhile, in order, and the progress with every response of the station:
/// at least every [`POLL_INTERVAL`] while it responds.
///
/// # Errors
/// [`FlashError`]. The station then runs what it ran before, except after [`FlashError::NoFrames`].
pub fn flash<T: Transport>(
    station: &mut StationClient<T>,
    onnx: &[u8],
    downgrade: Downgrade,
    stop: &AtomicBool,
    on_update: impl FnMut(OperationUpdate<FlashProgress>),
) -> Result<FlashOutcome, FlashError> {
    let length = u32::try_from(onnx.len()).map_err(|_| FlashError::TooLong)?;
    let (digest, stats) = (ModelDigest::of(onnx), UploadStats::default());
    let mut flash = Flash { station, onnx, length, digest, downgrade, stop, stats, on_update };
    for _ in 0..MAX_ATTEMPTS {
        return match flash.attempt() {
            Ok(()) => Ok(FlashOutcome::Confirmed(flash.stats)),
            Err(Interruption::Lost) => continue,
            Err(Interruption::Stopped { held }) => Ok(FlashOutcome::Stopped { held }),
            Err(Interruption::Failed(error)) => Err(error),
        };
    }
    Err(FlashError::UploadLost)
}

struct Flash<'a, T, U> {
    station: &'a mut StationClient<T>,
    onnx: &'a [u8],
    length: u32,
    digest: ModelDigest,
    downgrade: Downgrade,
    stop: &'a AtomicBool,
    stats: UploadStats,
    on_update: U,
}

/// What ends an attempt early.
enum Interruption {
    /// The station no longer knows the model.
    Lost,
    /// The user wants to stop.
    Stopped { held: u32 },
    /// Another attempt would fail as well.
    Failed(FlashError),
}

impl From<LinkError> for Interruption {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Refused(Refusal::Model(reason)) => Self::Failed(FlashError::Model(reason)),
            LinkError::Refused(Refusal::NotFound) => Self::Lost,
            error => Self::Failed(error.into()),
        }
    }
}

impl From<UploadError> for Interruption {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Link(error) => error.into(),
            UploadError::Refused(reason) => Self::Failed(FlashError::Model(reason)),
            UploadError::Lost => Self::Lost,
            UploadError::Stopped { held } => Self::Stopped { held },
        }
    }
}

impl<T: Transport, U: FnMut(OperationUpdate<FlashProgress>)> Flash<'_, T, U> {
    fn attempt(&mut self) -> Result<(), Interruption> {
        let staged = self.station.stage(Change::Stage { length: self.length, digest: self.digest })?;
        let uploaded = self.upload(staged)?;
        let activated = self.activate(uploaded)?;
        self.await_trial(activated)
    }

    /// Sends what the station is missing, if it waits for the model's bytes.
    fn upload(&mut self, staged: StageProgress) -> Result<StageProgress, Interruption> {
        let (digest, length) = (self.digest, self.length);
        match staged {
            StageProgress::Receiving { digest: of, received, .. } if of == digest && received < length => {
                if received > 0 && self.stats == UploadStats::default() {
                    self.report(FlashProgress::Resumed { held: received });
                }
                let on_update = &mut self.on_update;
                let mut on_update = |update: OperationUpdate<u32>| {
                    on_update(update.map(|held| FlashProgress::Sending { held, length }));
                };
                let model = (self.onnx, digest);
                upload(self.station, model, received, self.stop, &mut self.stats, &mut on_update)?;
                Ok(StageProgress::Receiving { digest, received: length, length })
            }
            further => Ok(further),
        }
    }

    /// Has the station verify the model and put it on trial, if it holds all of it.
    fn activate(&mut self, uploaded: StageProgress) -> Result<StageProgress, Interruption> {
        match uploaded {
            StageProgress::Receiving { digest, received, .. }
                if digest == self.digest && received == self.length =>
            {
                self.check_stop()?;
                let change = Change::Activate { digest, downgrade: self.downgrade };
                Ok(self.station.stage(change)?)
            }
            further => Ok(further),
        }
    }

    /// Waits until the station has confirmed the model.
    fn await_trial(&mut self, mut progress: StageProgress) -> Result<(), Interruption> {
        let mut deadline = deadline_of(progress);
        loop {
            match progress {
                StageProgress::Confirmed { digest } if digest == self.digest => return Ok(()),
                StageProgress::Failed { digest, reason } if digest == self.digest => {
                    return Err(Interruption::Failed(FlashError::Model(reason)));
                }
                StageProgress::Verifying { digest } if digest == self.digest => {
                    self.report(FlashProgress::Verifying);
                    if deadline.is_over() {
                        return Err(Interruption::Failed(FlashError::VerifyTimeout));
                    }
                }
                StageProgress::Trial { digest, frames_left } if digest == self.digest => {
                    self.report(FlashProgress::Trial { frames_left });
                    if deadline.is_over() {
                        let camera = self.station.status()?.camera;
                        return Err(Interruption::Failed(FlashError::NoFrames { camera }));
                    }
                }
                // The station restarted while it verified the model.
                StageProgress::Receiving { digest, received, .. }
                    if digest == self.digest && received == self.length =>
                {
                    if deadline.is_over() {
                        return Err(Interruption::Failed(FlashError::VerifyTimeout));
                    }
                    self.station.wait(RETRY_DELAY)?;
                    progress = self.activate(progress)?;
                    continue;
                }
                _ => return Err(Interruption::Lost),
            }
            self.check_stop()?;
            let next = self.next_progress()?;
            if next != progress {
                deadline = deadline_of(next);
            }
            progress = next;
        }
    }

    /// How far the station is, once it announces a step or the poll interval is over. An announcement may be an old one that
    /// was resent, so that the station is asked in either case.
    fn next_progress(&mut self) -> Result<StageProgress, Interruption> {
        let poll = Deadline::after(POLL_INTERVAL);
        while let Some(event) = self.station.next_event(poll.remaining())? {
            let is_step = matches!(event, Incoming::Event(ReliableEvent::Notice(Notice::Stage(_))));
            (self.on_update)(OperationUpdate::Event(event));
            if is_step || poll.is_over() {
                break;
            }
        }
        let restart = Deadline::after(self.station.timeouts.restart);
        loop {
            // A station that loads a model may respond late, and may restart.
            match self.station.stage_status() {
                Err(LinkError::Timeout { .. }) if !restart.is_over() => {}
                result => return Ok(result?),
            }
        }
    }

    fn check_stop(&self) -> Result<(), Interruption> {
        if self.stop.load(Ordering::Relaxed) {
            Err(Interruption::Stopped { held: self.length })
        } else {
            Ok(())
        }
    }

    fn report(&mut self, progress: FlashProgress) {
        (self.on_update)(OperationUpdate::Progress(progress));
    }
}

/// When the station must have gone on from there.
fn deadline_of(progress: StageProgress) -> Deadline {
    let is_trial = matches!(progress, StageProgress::Trial { .. });
    Deadline::after(if is_trial { FRAME_TIMEOUT } else { VERIFY_TIMEOUT })
}
