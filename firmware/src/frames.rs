//! The loop that turns camera frames into results, independently of the line and the storage.

mod control;
mod postprocess;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shared::wire::CameraState;
use shared::{Image, Scale, ScaleChoice};

use crate::camera::{Camera, CameraError, Frame, Grab, GrabStrategy};
use crate::inbox::ServiceEvent;
use crate::inference::{
    InferenceOutput, InferenceStage, InferredFrame, Pipeline, PipelineError, PostprocessStage,
};
use crate::link::TxQueue;
use crate::runtime::ErrorChain;
use crate::runtime::watchdog::ThreadHeartbeat;

use postprocess::{PostprocessDone, PostprocessJob, ResultPublisher};

pub use control::{CameraReadiness, FrameCommand, FrameControl, FrameRequest};
pub use postprocess::PostprocessWorker;

/// Opens the camera, and reopens it after it was lost.
pub type OpenCamera = Box<dyn FnMut() -> Result<Box<dyn Camera>, CameraError> + Send>;

/// Whether a camera can replay its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Frames cannot be replayed.
    Live,
    /// When reopened, it starts with its first image.
    Replayable,
}

/// Counters besides the frames' results.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames counted.
    pub frames: AtomicU32,
    /// Camera frames skipped.
    pub skipped: AtomicU32,
    /// Damaged packets received.
    pub damaged: AtomicU32,
}

const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Whether the network runs on a frame while the previous one is post-processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduling {
    /// No: everything runs on the frames thread.
    Sequential,
    /// Yes: a second thread extracts, computes the evidence, encodes and publishes, while the network runs on the next
    /// frame. Each has at most one frame. The camera is asked for a frame when the network is free, so that no frame
    /// waits and the newest is taken.
    Pipelined,
}

impl Scheduling {
    /// Scheduling for a network with this many threads: with one, everything runs on that thread.
    pub const fn of(threads: NonZeroUsize) -> Self {
        if threads.get() == 1 { Self::Sequential } else { Self::Pipelined }
    }
}

/// The frames' thread.
pub struct FrameLoop {
    open: OpenCamera,
    source_kind: SourceKind,
    control: Arc<FrameControl>,
    heartbeat: ThreadHeartbeat,
    results: Arc<ResultPublisher>,
    inference: InferenceStage,
    /// `None` while it processes a frame.
    finisher: Option<Box<PostprocessStage>>,
    /// The thread that it goes to.
    beside: Option<(SyncSender<PostprocessJob>, Receiver<PostprocessDone>)>,
    /// The scale that the finisher had learned when it was here last.
    learnt: Option<Scale>,
    camera: Option<Box<dyn Camera>>,
    readiness: CameraReadiness,
    retry: Duration,
    generation: u32,
    number: u32,
}

/// What a [`FrameLoop`] is joined to.
pub struct FrameLoopParts {
    /// Opens the camera.
    pub open: OpenCamera,
    /// Starts the camera again.
    pub source_kind: SourceKind,
    /// Requests from the service.
    pub control: Arc<FrameControl>,
    /// Where results go.
    pub queue: Arc<TxQueue>,
    /// What it counts.
    pub counters: Arc<Counters>,
    /// Receives events about cameras, frames and captures.
    pub service: SyncSender<ServiceEvent>,
    /// Heartbeat of the thread.
    pub heartbeat: ThreadHeartbeat,
    /// Heartbeat of the results thread.
    pub postprocess_heartbeat: ThreadHeartbeat,
    /// Whether there is a results thread.
    pub scheduling: Scheduling,
    /// What runs first.
    pub pipeline: Pipeline,
}

impl FrameLoop {
    /// A loop ready to run, and its second thread's work if pipelined.
    pub fn new(parts: FrameLoopParts) -> (Self, Option<PostprocessWorker>) {
        let FrameLoopParts { open, source_kind, control, queue, counters, service, heartbeat, .. } = parts;
        let Pipeline { inference, finisher } = parts.pipeline;
        let results = Arc::new(ResultPublisher { queue, counters, service, last_fault: Mutex::default() });
        let (beside, results_loop) = match parts.scheduling {
            Scheduling::Sequential => (None, None),
            Scheduling::Pipelined => {
                let ((to_finish, jobs), (done, finished)) = (sync_channel(1), sync_channel(1));
                let (results, heartbeat) = (Arc::clone(&results), parts.postprocess_heartbeat);
                (Some((to_finish, finished)), Some(PostprocessWorker { jobs, done, results, heartbeat }))
            }
        };
        let frames = Self {
            open,
            source_kind,
            control,
            heartbeat,
            results,
            inference,
            learnt: finisher.learnt(),
            finisher: Some(finisher),
            beside,
            camera: None,
            readiness: CameraReadiness::RetryAt(Instant::now()),
            retry: FIRST_RETRY,
            generation: 0,
            number: 0,
        };
        (frames, results_loop)
    }

    /// Runs until the control ends it; returns the last pipeline.
    pub fn run(mut self) -> Option<Pipeline> {
        while let Some(order) = self.control.next(self.readiness, self.generation) {
            let heartbeat = self.heartbeat.clone();
            heartbeat.busy(|| match order {
                FrameCommand::Grab(shot) => self.grab(shot),
                order => self.change(order),
            });
            if self.postprocess_died() {
                break;
            }
        }
        self.wait_for_postprocess();
        Some(Pipeline { inference: self.inference, finisher: self.finisher? })
    }

    /// Applies a change to later frames, after finishing the earlier ones.
    fn change(&mut self, order: FrameCommand) {
        self.wait_for_postprocess();
        match order {
            FrameCommand::Run(pipeline) => {
                let Pipeline { inference, finisher } = *pipeline;
                (self.inference, self.learnt) = (inference, finisher.learnt());
                self.finisher = Some(finisher);
            }
            FrameCommand::RestartSource(generation) => self.restart_source(generation),
            FrameCommand::Open => self.open_camera(),
            FrameCommand::Grab(shot) => self.grab(shot),
        }
    }

    /// Waits until the previous frame is post-processed.
    fn wait_for_postprocess(&mut self) {
        if self.finisher.is_some() {
            return;
        }
        match self.beside.as_ref().map(|(_, finished)| finished.recv()) {
            Some(Ok(done)) => self.reclaim(done),
            // It crashed, which ends the station.
            Some(Err(_)) | None => self.beside = None,
        }
    }

    /// Whether what finishes frames is gone for good.
    const fn postprocess_died(&self) -> bool {
        self.finisher.is_none() && self.beside.is_none()
    }

    fn reclaim(&mut self, PostprocessDone { finisher, maps }: PostprocessDone) {
        self.inference.recycle(maps);
        self.learnt = finisher.learnt();
        self.finisher = Some(finisher);
    }

    fn restart_source(&mut self, generation: u32) {
        self.generation = generation;
        match (self.source_kind, &self.camera) {
            (SourceKind::Live, Some(_)) => self.report_camera_state(CameraState::Running),
            _ => self.open_camera(),
        }
    }

    fn open_camera(&mut self) {
        // A device must be closed before it can be opened again.
        self.camera = None;
        match (self.open)() {
            Ok(camera) => {
                self.camera = Some(camera);
                self.readiness = CameraReadiness::Ready;
                self.retry = FIRST_RETRY;
                self.results.clear_fault();
                self.report_camera_state(CameraState::Running);
            }
            Err(error) => self.on_camera_lost(&error),
        }
    }

    fn on_camera_lost(&mut self, error: &CameraError) {
        self.results.log_once(format!("no frames from the camera ({}); retrying", ErrorChain(error)));
        self.camera = None;
        self.readiness = CameraReadiness::RetryAt(Instant::now() + self.retry);
        self.retry = (self.retry * 2).min(LAST_RETRY);
        self.report_camera_state(CameraState::Absent);
    }

    fn grab(&mut self, shot: FrameRequest) {
        let Some(camera) = &mut self.camera else { return };
        // The exposure of a captured frame begins after its request.
        let pace = if shot.token.is_some() { GrabStrategy::OneByOne } else { GrabStrategy::LatestOnly };
        match camera.grab(pace) {
            Ok(Grab::Frame(frame)) => self.process(*frame, shot),
            Ok(Grab::Finished) => {
                self.wait_for_postprocess();
                self.readiness = CameraReadiness::EndOfInput;
                self.report_camera_state(CameraState::Finished);
            }
            Err(error) => {
                self.wait_for_postprocess();
                self.on_camera_lost(&error);
            }
        }
    }

    fn process(&mut self, frame: Frame, shot: FrameRequest) {
        self.number = self.number.wrapping_add(1);
        let (number, illumination, acquisition) = (self.number, shot.illumination, shot.acquisition);
        self.results.counters.skipped.fetch_add(frame.skipped, Ordering::Relaxed);
        let fault = match self.look(&frame.image, shot) {
            Ok(Ok(sight)) => {
                return self.finish(InferredFrame { number, frame, illumination, acquisition, sight }, shot);
            }
            Ok(Err(error)) => format!("frame {number} {} failed: {error}", frame.source),
            Err(Panicked) => format!("frame {number} {} failed with a panic", frame.source),
        };
        self.results.fail(self.inference.digest(), shot, fault);
    }

    /// Looks at an image while the frame before is finished, and waits for that. What it taught counts for this one:
    /// if it learned another scale than the one before it, which is rare, the network runs on the frame again.
    fn look(
        &mut self,
        image: &Image,
        shot: FrameRequest,
    ) -> Result<Result<InferenceOutput, PipelineError>, Panicked> {
        loop {
            let mut choice = self.inference.choice(shot.acquisition, self.learnt);
            if choice == ScaleChoice::PerPicture {
                // The previous frame may determine the scale; without one, the nuclei determine the number of passes.
                self.wait_for_postprocess();
                choice = self.inference.choice(shot.acquisition, self.learnt);
            }
            let inference = &mut self.inference;
            let looked =
                catch_unwind(AssertUnwindSafe(|| inference.infer(image, choice))).map_err(|_| Panicked);
            self.wait_for_postprocess();
            if choice == self.inference.choice(shot.acquisition, self.learnt) {
                return looked;
            }
            if let Ok(Ok(sight)) = looked {
                self.inference.recycle(sight.into_buffers());
            }
        }
    }

    /// Has a frame finished, here or beside.
    fn finish(&mut self, seen: InferredFrame, shot: FrameRequest) {
        let Some(finisher) = self.finisher.take() else { return };
        let job = PostprocessJob { seen, shot, finisher };
        match &self.beside {
            // A thread that is gone is found out when the job's end is waited for.
            Some((jobs, _)) => drop(jobs.send(job)),
            None => {
                let done = self.results.finish(job);
                self.reclaim(done);
            }
        }
    }

    fn report_camera_state(&self, state: CameraState) {
        let name = self.camera.as_ref().map_or_else(String::new, |camera| camera.name().to_owned());
        let _ = self.results.service.send(ServiceEvent::Camera { state, name, generation: self.generation });
    }
}

/// The inference engine panicked.
struct Panicked;
