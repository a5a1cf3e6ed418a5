//! Post-processes frames and publishes their results in order: on the frames thread, or on a second thread while the
//! network runs on the next frame.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use shared::wire::{ModelDigest, Stream};
use shared::{ProbabilityMaps, Scale};

use super::{Counters, FrameRequest};
use crate::camera::microseconds;
use crate::inbox::ServiceEvent;
use crate::inference::{Capture, FrameResult, InferredFrame, PostprocessStage, preview_jpeg};
use crate::link::{FramePayload, TxQueue};
use crate::runtime::log;
use crate::runtime::watchdog::ThreadHeartbeat;

/// Where results go.
pub(super) struct ResultPublisher {
    pub(super) queue: Arc<TxQueue>,
    pub(super) counters: Arc<Counters>,
    pub(super) service: SyncSender<ServiceEvent>,
    /// The last logged fault, so that a persistent fault is logged once.
    pub(super) last_fault: Mutex<Option<String>>,
}

/// Work for the worker.
pub(super) enum PostprocessJob {
    /// Post-process a frame; [`Feedback`] follows.
    Frame(Box<InferredFrame>, FrameRequest),
    /// Use another model's stage from the next frame on.
    Replace(Box<PostprocessStage>),
}

/// What a post-processed frame returns to the inference stage.
pub(super) struct Feedback {
    /// The scale learned so far.
    pub(super) learned_scale: Option<Scale>,
    /// Buffers to use again.
    pub(super) maps: Option<ProbabilityMaps>,
}

/// A model's post-processing stage, and where its results go.
pub(super) struct Postprocessor {
    pub(super) stage: Box<PostprocessStage>,
    pub(super) results: Arc<ResultPublisher>,
}

impl Postprocessor {
    /// Post-processes a frame and publishes its result.
    pub(super) fn process(&mut self, inferred: InferredFrame, request: FrameRequest) -> Feedback {
        let (number, name) = (inferred.number, inferred.frame.source.clone());
        let fault = match catch_unwind(AssertUnwindSafe(|| self.stage.postprocess(inferred))) {
            Ok(Ok((result, maps))) => {
                self.results.publish(result, request);
                return Feedback { learned_scale: self.stage.learned_scale(), maps };
            }
            Ok(Err(error)) => format!("frame {number} {name} failed: {error}"),
            Err(_) => format!("frame {number} {name} failed with a panic"),
        };
        self.results.fail(self.stage.digest(), request, fault);
        Feedback { learned_scale: self.stage.learned_scale(), maps: None }
    }
}

impl ResultPublisher {
    fn publish(&self, result: FrameResult, request: FrameRequest) {
        self.clear_fault();
        self.counters.frames.fetch_add(1, Ordering::Relaxed);
        let mut report = result.report;
        let number = report.frame;
        let preview = (request.preview == Stream::On).then(|| {
            let start = Instant::now();
            let jpeg = preview_jpeg(&result.frame.image);
            report.times.encode.0 = report.times.encode.0.saturating_add(microseconds(start.elapsed()).0);
            jpeg
        });
        self.queue.frame(report.clone());
        let (digest, qc_flags) = (report.model, report.qc_flags);
        let capture = request.token.map(|token| {
            (token, Capture::new(report, &result.frame.image, &result.masks, result.frame.truth.as_ref()))
        });
        if request.masks == Stream::On {
            self.queue.masks(FramePayload { frame: number, bytes: result.masks });
        }
        if let Some(bytes) = preview {
            self.queue.preview(FramePayload { frame: number, bytes });
        }
        // One passed frame more or less does not matter; a full inbox must not hold up the camera.
        let _ = self.service.try_send(ServiceEvent::FramePassed(digest, qc_flags));
        match capture {
            Some((token, Ok(capture))) => {
                let _ = self.service.send(ServiceEvent::Captured(token, Some(Box::new(capture))));
            }
            Some((token, Err(error))) => {
                log!("cannot store frame {number}: {error}");
                let _ = self.service.send(ServiceEvent::Captured(token, None));
            }
            None => {}
        }
    }

    pub(super) fn fail(&self, digest: ModelDigest, request: FrameRequest, fault: String) {
        self.log_once(fault);
        let _ = self.service.try_send(ServiceEvent::FrameFailed(digest));
        if let Some(token) = request.token {
            let _ = self.service.send(ServiceEvent::Captured(token, None));
        }
    }

    pub(super) fn log_once(&self, fault: String) {
        let mut last = self.last_fault();
        if last.as_ref() != Some(&fault) {
            log!("{fault}");
            *last = Some(fault);
        }
    }

    /// Nothing is wrong any more: the next fault is logged, even if it is the last one again.
    pub(super) fn clear_fault(&self) {
        *self.last_fault() = None;
    }

    fn last_fault(&self) -> MutexGuard<'_, Option<String>> {
        self.last_fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The results thread. It has one frame at a time.
pub struct PostprocessWorker {
    pub(super) jobs: Receiver<PostprocessJob>,
    pub(super) feedback: SyncSender<Feedback>,
    pub(super) postprocessor: Postprocessor,
    pub(super) heartbeat: ThreadHeartbeat,
}

impl PostprocessWorker {
    /// Runs until the frames thread ends; returns the last stage.
    pub fn run(self) -> Box<PostprocessStage> {
        let Self { jobs, feedback, mut postprocessor, heartbeat } = self;
        for job in jobs {
            match job {
                PostprocessJob::Frame(inferred, request) => {
                    let processed = heartbeat.busy(|| postprocessor.process(*inferred, request));
                    if feedback.send(processed).is_err() {
                        break;
                    }
                }
                PostprocessJob::Replace(stage) => postprocessor.stage = stage,
            }
        }
        postprocessor.stage
    }
}
