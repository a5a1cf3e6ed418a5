//! A model onto the station: announced, sent, verified, on trial, confirmed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shared::wire::{
    CameraState, ModelDigest, ModelRefusal, Refusal, Request, Response, StageProgress, Upload, UploadOptions,
};
use thiserror::Error;

use super::{Line, LinkError, Station};

/// A station that says nothing for so long during an upload is gone; it may restart in between.
const RESTART_PATIENCE: Duration = Duration::from_secs(15);
/// Loading and trying a model on a small processor takes its time.
const VERIFY_PATIENCE: Duration = Duration::from_secs(180);
/// A trial goes on as long as frames come.
const FRAME_PATIENCE: Duration = Duration::from_secs(30);
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How often a station may forget what it was told before that counts as a failure.
const MAX_ANNOUNCEMENTS: u32 = 5;

/// How far a flash is, for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashStep {
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
    Sent(Uploaded),
    /// The station checks, loads and tries the model.
    Verifying,
    /// The model runs on trial.
    Trial {
        /// Real frames still to pass.
        frames_left: u16,
    },
}

/// What an upload cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Uploaded {
    /// Bytes of the file that were sent now; those sent again count once.
    pub bytes: u32,
    /// How long that took.
    pub time: Duration,
    /// Chunks that were sent again.
    pub resent: u32,
}

impl Uploaded {
    /// Bytes of the file a second.
    pub fn bytes_per_second(&self) -> f64 {
        f64::from(self.bytes) / self.time.as_secs_f64().max(1e-9)
    }

    /// The share of the line's bytes that were bytes of the file, 0 to 1.
    pub fn line_share(&self, baud: u32) -> f64 {
        // A byte is ten bits on the line: start, eight, stop.
        self.bytes_per_second() * 10.0 / f64::from(baud.max(1))
    }
}

/// How a flash ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flashed {
    /// The model has proved itself and runs.
    Confirmed(Uploaded),
    /// The user wants to stop; the station keeps what it holds.
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
    #[error("the file is too long for any station")]
    TooLong,
    /// The station does not run this model.
    #[error("the station does not run the model: {0}; the model before it runs on")]
    Model(#[source] ModelRefusal),
    /// The verification does not end.
    #[error("the station did not verify the model in {} s", VERIFY_PATIENCE.as_secs())]
    Unverified,
    /// Frames are needed for the trial, and none come.
    #[error("the model runs on trial, but no frames come to confirm it: {}", match camera {
        CameraState::Running => "the camera delivers none",
        CameraState::Absent => "the station has no camera",
        CameraState::Finished => "its pictures came to their end",
    })]
    NoFrames {
        /// What the station says of its camera.
        camera: CameraState,
    },
    /// The station forgets the model again and again.
    #[error("the station forgot the model {MAX_ANNOUNCEMENTS} times, as if its storage did not last")]
    Forgotten,
}

/// Puts a model on the station, going on where an earlier try stopped, and waits until it has proved
/// itself.
///
/// # Errors
/// [`FlashError`]. The station then runs what it ran before, except after [`FlashError::NoFrames`].
pub fn flash<L: Line>(
    station: &mut Station<L>,
    onnx: &[u8],
    stop: &AtomicBool,
    mut on_step: impl FnMut(FlashStep),
) -> Result<Flashed, FlashError> {
    let length = u32::try_from(onnx.len()).map_err(|_| FlashError::TooLong)?;
    let digest = ModelDigest::of(onnx);
    let announce = Request::Stage { length, digest };
    let mut progress = staging(station, &announce)?;
    let mut announcements = 1;
    let mut uploaded = Uploaded::default();
    let mut patience = Patience::new(VERIFY_PATIENCE);
    let mut seen = None;
    let mut activations = 0;
    loop {
        if seen != Some(progress) {
            seen = Some(progress);
            match progress {
                StageProgress::Verifying { .. } => {
                    patience = Patience::new(VERIFY_PATIENCE);
                    on_step(FlashStep::Verifying);
                }
                StageProgress::Trial { frames_left, .. } => {
                    patience = Patience::new(FRAME_PATIENCE);
                    on_step(FlashStep::Trial { frames_left });
                }
                _ => {}
            }
        }
        let stopped = stop.load(Ordering::Relaxed);
        progress = match progress {
            StageProgress::Receiving { digest: of, received, .. } if of == digest && received < length => {
                if received > 0 && uploaded == Uploaded::default() {
                    on_step(FlashStep::Resumed { held: received });
                }
                match send(station, onnx, digest, received, stop, &mut uploaded, &mut on_step)? {
                    Sending::Complete => {
                        on_step(FlashStep::Sent(uploaded));
                        StageProgress::Receiving { digest, received: length, length }
                    }
                    Sending::Forgotten => StageProgress::Idle,
                    Sending::Stopped { held } => return Ok(Flashed::Stopped { held }),
                }
            }
            // Also after a restart in the middle of the verification.
            StageProgress::Receiving { digest: of, .. } if of == digest => {
                if activations > 0 {
                    station.wait(ASK_AGAIN)?;
                }
                if stopped {
                    return Ok(Flashed::Stopped { held: length });
                }
                activations += 1;
                staging(station, &Request::Activate { digest })?
            }
            StageProgress::Confirmed { digest: of } if of == digest => {
                return Ok(Flashed::Confirmed(uploaded));
            }
            StageProgress::Failed { digest: of, reason } if of == digest => {
                return Err(FlashError::Model(reason));
            }
            StageProgress::Verifying { digest: of } | StageProgress::Trial { digest: of, .. }
                if of == digest && stopped =>
            {
                return Ok(Flashed::Stopped { held: length });
            }
            StageProgress::Verifying { digest: of } if of == digest => {
                if patience.is_over() {
                    return Err(FlashError::Unverified);
                }
                station.wait(ASK_AGAIN)?;
                ask(station)?
            }
            StageProgress::Trial { digest: of, .. } if of == digest => {
                if patience.is_over() {
                    return Err(FlashError::NoFrames { camera: station.status()?.camera });
                }
                station.wait(ASK_AGAIN)?;
                ask(station)?
            }
            _ if announcements == MAX_ANNOUNCEMENTS => return Err(FlashError::Forgotten),
            _ => {
                announcements += 1;
                staging(station, &announce)?
            }
        };
        // Counts and pictures are not what this is about, and would pile up.
        station.take_events();
    }
}

fn staging<L: Line>(station: &mut Station<L>, request: &Request) -> Result<StageProgress, FlashError> {
    match station.stage(request) {
        Err(LinkError::Refused(Refusal::Model(reason))) => Err(FlashError::Model(reason)),
        Err(LinkError::Refused(Refusal::NotFound)) => Ok(StageProgress::Idle),
        result => Ok(result?),
    }
}

/// How far it is now. A station that loads a model may be slow to answer, and may restart.
fn ask<L: Line>(station: &mut Station<L>) -> Result<StageProgress, FlashError> {
    let patience = Patience::new(RESTART_PATIENCE);
    loop {
        match staging(station, &Request::StageStatus) {
            Err(FlashError::Link(LinkError::Silent { .. })) if !patience.is_over() => {}
            result => return result,
        }
    }
}

enum Sending {
    Complete,
    /// The station knows nothing of the model.
    Forgotten,
    Stopped {
        held: u32,
    },
}

fn send<L: Line>(
    station: &mut Station<L>,
    onnx: &[u8],
    digest: ModelDigest,
    received: u32,
    stop: &AtomicBool,
    uploaded: &mut Uploaded,
    on_step: &mut impl FnMut(FlashStep),
) -> Result<Sending, FlashError> {
    let start = Instant::now();
    let now_ms = || start.elapsed().as_millis() as u64;
    let mut upload = Upload::new(onnx.len() as u32, received, UploadOptions::for_baud(station.baud()));
    let mut offsets: Vec<(u16, u32)> = Vec::new();
    let mut patience = Patience::new(RESTART_PATIENCE);
    let mut stored = received;
    let ended = loop {
        while let Some(offset) = upload.next_to_send(now_ms()) {
            let request = Request::StageChunk { digest, offset };
            offsets.retain(|&(_, sent)| sent != offset);
            offsets.push((station.send(&request, &onnx[upload.range(offset)])?, offset));
        }
        if stop.load(Ordering::Relaxed) {
            break Sending::Stopped { held: upload.stored() };
        }
        let wait = upload.wake_ms().map_or(0, |wake| wake.saturating_sub(now_ms())).clamp(1, 250);
        match station.next_reply(Duration::from_millis(wait))? {
            Some(reply) => {
                patience = Patience::new(RESTART_PATIENCE);
                let Some(at) = offsets.iter().position(|&(sequence, _)| sequence == reply.sequence) else {
                    station.traffic.late += 1;
                    continue;
                };
                let (_, offset) = offsets.swap_remove(at);
                match reply.response {
                    Some(Response::Stage(StageProgress::Receiving { digest: of, received, .. }))
                        if of == digest =>
                    {
                        upload.on_ack(offset, received);
                    }
                    Some(Response::Refused(Refusal::Model(reason))) => return Err(FlashError::Model(reason)),
                    Some(Response::Stage(_) | Response::Refused(Refusal::NotFound)) => {
                        break Sending::Forgotten;
                    }
                    Some(Response::Refused(refusal)) => return Err(LinkError::from(refusal).into()),
                    Some(_) | None => return Err(station.unfitting().into()),
                }
            }
            None if patience.is_over() => {
                return Err(LinkError::Silent { port: station.port().to_owned() }.into());
            }
            None => {}
        }
        if upload.stored() != stored {
            stored = upload.stored();
            on_step(FlashStep::Stored { stored });
        }
        if upload.is_done() {
            break Sending::Complete;
        }
        station.take_events();
    };
    uploaded.bytes += upload.stored().saturating_sub(received);
    uploaded.time += start.elapsed();
    uploaded.resent += upload.resent();
    station.traffic.retried += upload.resent();
    Ok(ended)
}

/// A time that runs out.
struct Patience {
    until: Instant,
}

impl Patience {
    fn new(time: Duration) -> Self {
        Self { until: Instant::now() + time }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}
