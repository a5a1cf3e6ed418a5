//! Results of frames, put out in their order: on the frames' thread, or on one beside it while the network works on
//! the next frame.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use shared::Maps;
use shared::wire::{ModelDigest, Stream};

use super::{Counters, Shot};
use crate::camera::microseconds;
use crate::inference::{Capture, Finisher, FrameResult, Seen, preview_jpeg};
use crate::link::{Bulk, Outbox};
use crate::runtime::log;
use crate::runtime::watchdog::ThreadHeartbeat;
use crate::service::Input;

/// Where results go.
pub(super) struct Results {
    pub(super) outbox: Arc<Outbox>,
    pub(super) counters: Arc<Counters>,
    pub(super) service: SyncSender<Input>,
    /// What was told last, so that a lasting trouble is told once.
    pub(super) trouble: Mutex<Option<String>>,
}

/// A frame that is to be finished, with what finishes it.
pub(super) struct Job {
    pub(super) seen: Seen,
    pub(super) shot: Shot,
    pub(super) finisher: Box<Finisher>,
}

/// What is left of a job.
pub(super) struct Done {
    pub(super) finisher: Box<Finisher>,
    pub(super) maps: Option<Maps>,
}

impl Results {
    /// Finishes a frame and puts its result out.
    pub(super) fn finish(&self, Job { seen, shot, mut finisher }: Job) -> Done {
        let (number, name) = (seen.number, seen.frame.source.clone());
        let finished = catch_unwind(AssertUnwindSafe(|| finisher.finish(seen)));
        let maps = match finished {
            Ok(Ok((result, maps))) => {
                self.put(result, shot);
                maps
            }
            Ok(Err(error)) => {
                self.fail(finisher.digest(), shot, format!("frame {number} {name} failed: {error}"));
                None
            }
            Err(_) => {
                self.fail(finisher.digest(), shot, format!("frame {number} {name} failed by a panic"));
                None
            }
        };
        Done { finisher, maps }
    }

    fn put(&self, result: FrameResult, shot: Shot) {
        self.is_well();
        self.counters.frames.fetch_add(1, Ordering::Relaxed);
        let mut report = result.report;
        let number = report.frame;
        let preview = (shot.preview == Stream::On).then(|| {
            let start = Instant::now();
            let jpeg = preview_jpeg(&result.frame.image);
            report.times.encode.0 = report.times.encode.0.saturating_add(microseconds(start.elapsed()).0);
            jpeg
        });
        self.outbox.frame(report.clone());
        let (digest, qc_flags) = (report.model, report.qc_flags);
        let capture = shot.token.map(|token| {
            (token, Capture::new(report, &result.frame.image, &result.masks, result.frame.truth.as_ref()))
        });
        if shot.masks == Stream::On {
            self.outbox.masks(Bulk { frame: number, bytes: result.masks });
        }
        if let Some(bytes) = preview {
            self.outbox.preview(Bulk { frame: number, bytes });
        }
        // One passed frame more or less does not matter; a full inbox must not hold up the camera.
        let _ = self.service.try_send(Input::Passed(digest, qc_flags));
        match capture {
            Some((token, Ok(capture))) => {
                let _ = self.service.send(Input::Captured(token, Some(Box::new(capture))));
            }
            Some((token, Err(error))) => {
                log!("frame {number} could not be kept: {error}");
                let _ = self.service.send(Input::Captured(token, None));
            }
            None => {}
        }
    }

    pub(super) fn fail(&self, digest: ModelDigest, shot: Shot, trouble: String) {
        self.say(trouble);
        let _ = self.service.try_send(Input::Failed(digest));
        if let Some(token) = shot.token {
            let _ = self.service.send(Input::Captured(token, None));
        }
    }

    pub(super) fn say(&self, trouble: String) {
        let mut told = self.told();
        if told.as_ref() != Some(&trouble) {
            log!("{trouble}");
            *told = Some(trouble);
        }
    }

    /// What troubled is over.
    pub(super) fn is_well(&self) {
        *self.told() = None;
    }

    fn told(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The results' thread: it has one frame at a time.
pub struct ResultsLoop {
    pub(super) jobs: Receiver<Job>,
    pub(super) done: SyncSender<Done>,
    pub(super) results: Arc<Results>,
    pub(super) heartbeat: ThreadHeartbeat,
}

impl ResultsLoop {
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
