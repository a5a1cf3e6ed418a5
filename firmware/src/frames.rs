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

use postprocess::{Feedback, PostprocessJob, Postprocessor, ResultPublisher};

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
    postprocess: Postprocess,
    /// The scale learned from the frames that are post-processed.
    learned_scale: Option<Scale>,
    camera: Option<Box<dyn Camera>>,
    readiness: CameraReadiness,
    retry: Duration,
    generation: u32,
    number: u32,
}

/// Where frames are post-processed.
enum Postprocess {
    /// On the frames thread.
    Inline(Postprocessor),
    /// On the worker's thread, which has a frame while it is busy.
    Worker { jobs: SyncSender<PostprocessJob>, feedback: Receiver<Feedback>, is_busy: bool },
    /// Nowhere: the worker crashed, which ends the station.
    Crashed,
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
        let Pipeline { inference, postprocess: stage } = parts.pipeline;
        let learned_scale = stage.learned_scale();
        let results = Arc::new(ResultPublisher { queue, counters, service, last_fault: Mutex::default() });
        let postprocessor = Postprocessor { stage, results: Arc::clone(&results) };
        let (postprocess, worker) = match parts.scheduling {
            Scheduling::Sequential => (Postprocess::Inline(postprocessor), None),
            Scheduling::Pipelined => {
                let ((to_worker, jobs), (feedback, from_worker)) = (sync_channel(1), sync_channel(1));
                let heartbeat = parts.postprocess_heartbeat;
                let handle = Postprocess::Worker { jobs: to_worker, feedback: from_worker, is_busy: false };
                (handle, Some(PostprocessWorker { jobs, feedback, postprocessor, heartbeat }))
            }
        };
        let frames = Self {
            open,
            source_kind,
            control,
            heartbeat,
            results,
            inference,
            postprocess,
            learned_scale,
            camera: None,
            readiness: CameraReadiness::RetryAt(Instant::now()),
            retry: FIRST_RETRY,
            generation: 0,
            number: 0,
        };
        (frames, worker)
    }

    /// Runs until the control ends it; returns the last stages, of which the worker has the second if there is one.
    /// `None` if the worker crashed.
    pub fn run(mut self) -> Option<(InferenceStage, Option<Box<PostprocessStage>>)> {
        while let Some(command) = self.control.next(self.readiness, self.generation) {
            let heartbeat = self.heartbeat.clone();
            heartbeat.busy(|| match command {
                FrameCommand::Grab(request) => self.grab(request),
                command => self.change(command),
            });
            if matches!(self.postprocess, Postprocess::Crashed) {
                return None;
            }
        }
        self.wait_for_postprocess();
        match self.postprocess {
            Postprocess::Inline(postprocessor) => Some((self.inference, Some(postprocessor.stage))),
            Postprocess::Worker { .. } => Some((self.inference, None)),
            Postprocess::Crashed => None,
        }
    }

    /// Applies a change to later frames, after finishing the earlier ones.
    fn change(&mut self, command: FrameCommand) {
        self.wait_for_postprocess();
        match command {
            FrameCommand::Run(pipeline) => self.replace(*pipeline),
            FrameCommand::RestartSource(generation) => self.restart_source(generation),
            FrameCommand::Open => self.open_camera(),
            FrameCommand::Grab(request) => self.grab(request),
        }
    }

    fn replace(&mut self, Pipeline { inference, postprocess: stage }: Pipeline) {
        (self.inference, self.learned_scale) = (inference, stage.learned_scale());
        match &mut self.postprocess {
            Postprocess::Inline(postprocessor) => postprocessor.stage = stage,
            // Whether the worker crashed shows when the next frame is waited for.
            Postprocess::Worker { jobs, .. } => drop(jobs.send(PostprocessJob::Replace(stage))),
            Postprocess::Crashed => {}
        }
    }

    /// Waits until the previous frame is post-processed.
    fn wait_for_postprocess(&mut self) {
        let Postprocess::Worker { feedback, is_busy, .. } = &mut self.postprocess else { return };
        if !std::mem::take(is_busy) {
            return;
        }
        match feedback.recv() {
            Ok(feedback) => self.apply(feedback),
            Err(_) => self.postprocess = Postprocess::Crashed,
        }
    }

    fn apply(&mut self, Feedback { learned_scale, maps }: Feedback) {
        self.inference.recycle(maps);
        self.learned_scale = learned_scale;
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

    fn grab(&mut self, request: FrameRequest) {
        let Some(camera) = &mut self.camera else { return };
        // The exposure of a captured frame begins after its request.
        let strategy =
            if request.token.is_some() { GrabStrategy::OneByOne } else { GrabStrategy::LatestOnly };
        match camera.grab(strategy) {
            Ok(Grab::Frame(frame)) => self.process(*frame, request),
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

    fn process(&mut self, frame: Frame, request: FrameRequest) {
        self.number = self.number.wrapping_add(1);
        let (number, illumination, acquisition) = (self.number, request.illumination, request.acquisition);
        self.results.counters.skipped.fetch_add(frame.skipped, Ordering::Relaxed);
        let fault = match self.infer(&frame.image, request) {
            Ok(Ok(output)) => {
                let inferred = InferredFrame { number, frame, illumination, acquisition, output };
                return self.postprocess(inferred, request);
            }
            Ok(Err(error)) => format!("frame {number} {} failed: {error}", frame.source),
            Err(Panicked) => format!("frame {number} {} failed with a panic", frame.source),
        };
        self.results.fail(self.inference.digest(), request, fault);
    }

    /// Runs the network on an image while the previous frame is post-processed, and waits for that. The scale learned
    /// from that frame applies to this one: if it differs from the one before, which is rare, the network runs again.
    fn infer(
        &mut self,
        image: &Image,
        request: FrameRequest,
    ) -> Result<Result<InferenceOutput, PipelineError>, Panicked> {
        loop {
            let mut choice = self.inference.choice(request.acquisition, self.learned_scale);
            if choice == ScaleChoice::PerPicture {
                // The previous frame may determine the scale; without one, the nuclei determine the number of passes.
                self.wait_for_postprocess();
                choice = self.inference.choice(request.acquisition, self.learned_scale);
            }
            let inference = &mut self.inference;
            let inferred =
                catch_unwind(AssertUnwindSafe(|| inference.infer(image, choice))).map_err(|_| Panicked);
            self.wait_for_postprocess();
            if choice == self.inference.choice(request.acquisition, self.learned_scale) {
                return inferred;
            }
            if let Ok(Ok(output)) = inferred {
                self.inference.recycle(output.into_buffers());
            }
        }
    }

    /// Has a frame post-processed, at once or by the worker.
    fn postprocess(&mut self, inferred: InferredFrame, request: FrameRequest) {
        match &mut self.postprocess {
            Postprocess::Inline(postprocessor) => {
                let feedback = postprocessor.process(inferred, request);
                self.apply(feedback);
            }
            Postprocess::Worker { jobs, is_busy, .. } => {
                // Whether the worker crashed shows when its feedback is waited for.
                let _ = jobs.send(PostprocessJob::Frame(Box::new(inferred), request));
                *is_busy = true;
            }
            Postprocess::Crashed => {}
        }
    }

    fn report_camera_state(&self, state: CameraState) {
        let name = self.camera.as_ref().map_or_else(String::new, |camera| camera.name().to_owned());
        let _ = self.results.service.send(ServiceEvent::Camera { state, name, generation: self.generation });
    }
}

/// The inference engine panicked.
struct Panicked;
