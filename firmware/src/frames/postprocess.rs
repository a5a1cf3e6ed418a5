//! Post-processes frames and publishes their results in order: on the frames thread, or on a second thread while the
//! network runs on the next frame.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use shared::ProbabilityMaps;
use shared::wire::{ModelDigest, Stream};

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

/// A frame that is to be finished, with what finishes it.
pub(super) struct PostprocessJob {
    pub(super) seen: InferredFrame,
    pub(super) shot: FrameRequest,
    pub(super) finisher: Box<PostprocessStage>,
}

/// What is left of a job.
pub(super) struct PostprocessDone {
    pub(super) finisher: Box<PostprocessStage>,
    pub(super) maps: Option<ProbabilityMaps>,
}

impl ResultPublisher {
    /// Finishes a frame and puts its result out.
    pub(super) fn finish(
        &self,
        PostprocessJob { seen, shot, mut finisher }: PostprocessJob,
    ) -> PostprocessDone {
        let (number, name) = (seen.number, seen.frame.source.clone());
        let finished = catch_unwind(AssertUnwindSafe(|| finisher.postprocess(seen)));
        let maps = match finished {
            Ok(Ok((result, maps))) => {
                self.publish(result, shot);
                maps
            }
            Ok(Err(error)) => {
                self.fail(finisher.digest(), shot, format!("frame {number} {name} failed: {error}"));
                None
            }
            Err(_) => {
                self.fail(finisher.digest(), shot, format!("frame {number} {name} failed with a panic"));
                None
            }
        };
        PostprocessDone { finisher, maps }
    }

    fn publish(&self, result: FrameResult, shot: FrameRequest) {
        self.clear_fault();
        self.counters.frames.fetch_add(1, Ordering::Relaxed);
        let mut report = result.report;
        let number = report.frame;
        let preview = (shot.preview == Stream::On).then(|| {
            let start = Instant::now();
            let jpeg = preview_jpeg(&result.frame.image);
            report.times.encode.0 = report.times.encode.0.saturating_add(microseconds(start.elapsed()).0);
            jpeg
        });
        self.queue.frame(report.clone());
        let (digest, qc_flags) = (report.model, report.qc_flags);
        let capture = shot.token.map(|token| {
            (token, Capture::new(report, &result.frame.image, &result.masks, result.frame.truth.as_ref()))
        });
        if shot.masks == Stream::On {
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

    pub(super) fn fail(&self, digest: ModelDigest, shot: FrameRequest, fault: String) {
        self.log_once(fault);
        let _ = self.service.try_send(ServiceEvent::FrameFailed(digest));
        if let Some(token) = shot.token {
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

    /// What troubled is over.
    pub(super) fn clear_fault(&self) {
        *self.last_fault() = None;
    }

    fn last_fault(&self) -> MutexGuard<'_, Option<String>> {
        self.last_fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The results' thread: it has one frame at a time.
pub struct PostprocessWorker {
    pub(super) jobs: Receiver<PostprocessJob>,
    pub(super) done: SyncSender<PostprocessDone>,
    pub(super) results: Arc<ResultPublisher>,
    pub(super) heartbeat: ThreadHeartbeat,
}

impl PostprocessWorker {
    /// Runs until the frames' thread ends.
    pub fn run(self) {
        for job in &self.jobs {
            let done = self.heartbeat.busy(|| self.results.finish(job));
            if self.done.send(done).is_err() {
                return;
            }
        }
    }
}
