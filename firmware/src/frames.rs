//! The loop that turns camera frames into results, whatever the line and the storage are doing.

mod control;
mod results;
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

use crate::camera::{Camera, CameraError, Frame, Grab, Pace};
use crate::inference::{Finisher, Looker, Pipeline, PipelineError, Seen, Sight};
use crate::link::Outbox;
use crate::runtime::ErrorChain;
use crate::runtime::watchdog::ThreadHeartbeat;
use crate::service::Input;

use results::{Done, Job, Results};

pub use control::{FrameControl, Order, Readiness, Shot};
pub use results::ResultsLoop;

/// Opens the camera, again whenever it was lost.
pub type OpenCamera = Box<dyn FnMut() -> Result<Box<dyn Camera>, CameraError> + Send>;

/// Whether a camera can show again what it showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Play {
    /// What is gone is gone.
    Live,
    /// Opened anew, it begins with its first picture.
    Recording,
}

/// What is counted beside the frames' results.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames counted.
    pub frames: AtomicU32,
    /// Camera frames passed over.
    pub skipped: AtomicU32,
    /// Damaged packets received.
    pub damaged: AtomicU32,
}

const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Whether a frame is looked at while the one before is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stages {
    /// No: all is done on the frames' thread.
    InTurn,
    /// Yes: a thread beside it extracts, weighs the evidence, encodes and puts out, while the network, on the
    /// threads that it has, looks at the next frame. Neither has more than one frame, and the camera is asked for
    /// one when the network is free, so that none waits and the newest is taken.
    Overlapped,
}

impl Stages {
    /// How a station works whose network runs on so many threads: with one alone, no other is wanted beside it.
    pub const fn of(threads: NonZeroUsize) -> Self {
        if threads.get() == 1 { Self::InTurn } else { Self::Overlapped }
    }
}

/// The frames' thread.
pub struct FrameLoop {
    open: OpenCamera,
    play: Play,
    control: Arc<FrameControl>,
    heartbeat: ThreadHeartbeat,
    results: Arc<Results>,
    looker: Looker,
    /// Away while it finishes a frame.
    finisher: Option<Box<Finisher>>,
    /// The thread that it goes to.
    beside: Option<(SyncSender<Job>, Receiver<Done>)>,
    /// The scale that the finisher had learnt when it was here last.
    learnt: Option<Scale>,
    camera: Option<Box<dyn Camera>>,
    readiness: Readiness,
    retry: Duration,
    opening: u32,
    number: u32,
}

/// What a [`FrameLoop`] is joined to.
pub struct FrameLoopParts {
    /// Opens the camera.
    pub open: OpenCamera,
    /// What opening it anew does.
    pub play: Play,
    /// What the service wants of it.
    pub control: Arc<FrameControl>,
    /// Where results go.
    pub outbox: Arc<Outbox>,
    /// What it counts.
    pub counters: Arc<Counters>,
    /// Who hears of cameras, passed and failed frames, captures.
    pub service: SyncSender<Input>,
    /// Shows that the thread lives.
    pub heartbeat: ThreadHeartbeat,
    /// Shows that the results' thread lives.
    pub postprocess_heartbeat: ThreadHeartbeat,
    /// Whether there is a results' thread.
    pub stages: Stages,
    /// What runs first.
    pub pipeline: Pipeline,
}

impl FrameLoop {
    /// A loop that is yet to run, and what runs beside it where stages overlap.
    pub fn new(parts: FrameLoopParts) -> (Self, Option<ResultsLoop>) {
        let FrameLoopParts { open, play, control, outbox, counters, service, heartbeat, .. } = parts;
        let Pipeline { looker, finisher } = parts.pipeline;
        let results = Arc::new(Results { outbox, counters, service, trouble: Mutex::default() });
        let (beside, results_loop) = match parts.stages {
            Stages::InTurn => (None, None),
            Stages::Overlapped => {
                let ((to_finish, jobs), (done, finished)) = (sync_channel(1), sync_channel(1));
                let (results, heartbeat) = (Arc::clone(&results), parts.postprocess_heartbeat);
                (Some((to_finish, finished)), Some(ResultsLoop { jobs, done, results, heartbeat }))
            }
        };
        let frames = Self {
            open,
            play,
            control,
            heartbeat,
            results,
            looker,
            learnt: finisher.learnt(),
            finisher: Some(finisher),
            beside,
            camera: None,
            readiness: Readiness::After(Instant::now()),
            retry: FIRST_RETRY,
            opening: 0,
            number: 0,
        };
        (frames, results_loop)
    }

    /// Runs until the control says that it is over; gives back what ran last.
    pub fn run(mut self) -> Option<Pipeline> {
        while let Some(order) = self.control.next(self.readiness, self.opening) {
            let heartbeat = self.heartbeat.clone();
            heartbeat.busy(|| match order {
                Order::Grab(shot) => self.grab(shot),
                order => self.change(order),
            });
            if self.is_alone() {
                break;
            }
        }
        self.settle();
        Some(Pipeline { looker: self.looker, finisher: self.finisher? })
    }

    /// Does what changes the frames to come: those before are finished first.
    fn change(&mut self, order: Order) {
        self.settle();
        match order {
            Order::Run(pipeline) => {
                let Pipeline { looker, finisher } = *pipeline;
                (self.looker, self.learnt) = (looker, finisher.learnt());
                self.finisher = Some(finisher);
            }
            Order::Rewind(opening) => self.rewind(opening),
            Order::Open => self.open_camera(),
            Order::Grab(shot) => self.grab(shot),
        }
    }

    /// Waits until the frame before is finished.
    fn settle(&mut self) {
        if self.finisher.is_some() {
            return;
        }
        match self.beside.as_ref().map(|(_, finished)| finished.recv()) {
            Some(Ok(done)) => self.have_back(done),
            // It ended by a fault, which ends the station.
            Some(Err(_)) | None => self.beside = None,
        }
    }

    /// Whether what finishes frames is gone for good.
    const fn is_alone(&self) -> bool {
        self.finisher.is_none() && self.beside.is_none()
    }

    fn have_back(&mut self, Done { finisher, maps }: Done) {
        self.looker.take_back(maps);
        self.learnt = finisher.learnt();
        self.finisher = Some(finisher);
    }

    fn rewind(&mut self, opening: u32) {
        self.opening = opening;
        match (self.play, &self.camera) {
            (Play::Live, Some(_)) => self.tell(CameraState::Running),
            _ => self.open_camera(),
        }
    }

    fn open_camera(&mut self) {
        // A device must be closed before it can be opened again.
        self.camera = None;
        match (self.open)() {
            Ok(camera) => {
                self.camera = Some(camera);
                self.readiness = Readiness::Ready;
                self.retry = FIRST_RETRY;
                self.results.is_well();
                self.tell(CameraState::Running);
            }
            Err(error) => self.lose(&error),
        }
    }

    fn lose(&mut self, error: &CameraError) {
        self.results.say(format!("no camera delivers ({}); it is looked for again", ErrorChain(error)));
        self.camera = None;
        self.readiness = Readiness::After(Instant::now() + self.retry);
        self.retry = (self.retry * 2).min(LAST_RETRY);
        self.tell(CameraState::Absent);
    }

    fn grab(&mut self, shot: Shot) {
        let Some(camera) = &mut self.camera else { return };
        // A capture's frame begins after it was asked for.
        let pace = if shot.token.is_some() { Pace::Every } else { Pace::Newest };
        match camera.grab(pace) {
            Ok(Grab::Frame(frame)) => self.process(*frame, shot),
            Ok(Grab::Finished) => {
                self.settle();
                self.readiness = Readiness::Never;
                self.tell(CameraState::Finished);
            }
            Err(error) => {
                self.settle();
                self.lose(&error);
            }
        }
    }

    fn process(&mut self, frame: Frame, shot: Shot) {
        self.number = self.number.wrapping_add(1);
        let (number, illumination, acquisition) = (self.number, shot.illumination, shot.acquisition);
        self.results.counters.skipped.fetch_add(frame.skipped, Ordering::Relaxed);
        let trouble = match self.look(&frame.image, shot) {
            Ok(Ok(sight)) => {
                return self.finish(Seen { number, frame, illumination, acquisition, sight }, shot);
            }
            Ok(Err(error)) => format!("frame {number} {} failed: {error}", frame.source),
            Err(Panicked) => format!("frame {number} {} failed by a panic", frame.source),
        };
        self.results.fail(self.looker.digest(), shot, trouble);
    }

    /// Looks at a picture while the frame before is finished, and waits for that. What it taught counts for this one:
    /// where it taught another scale than the one before it, which is rare, the picture is looked at anew.
    fn look(&mut self, image: &Image, shot: Shot) -> Result<Result<Sight, PipelineError>, Panicked> {
        loop {
            let mut choice = self.looker.choice(shot.acquisition, self.learnt);
            if choice == ScaleChoice::PerPicture {
                // The frame before may tell the scale; without one, nuclei decide on the passes.
                self.settle();
                choice = self.looker.choice(shot.acquisition, self.learnt);
            }
            let looker = &mut self.looker;
            let looked = catch_unwind(AssertUnwindSafe(|| looker.look(image, choice))).map_err(|_| Panicked);
            self.settle();
            if choice == self.looker.choice(shot.acquisition, self.learnt) {
                return looked;
            }
            if let Ok(Ok(sight)) = looked {
                self.looker.take_back(sight.into_maps());
            }
        }
    }

    /// Has a frame finished, here or beside.
    fn finish(&mut self, seen: Seen, shot: Shot) {
        let Some(finisher) = self.finisher.take() else { return };
        let job = Job { seen, shot, finisher };
        match &self.beside {
            // A thread that is gone is found out when the job's end is waited for.
            Some((jobs, _)) => drop(jobs.send(job)),
            None => {
                let done = self.results.finish(job);
                self.have_back(done);
            }
        }
    }

    fn tell(&self, state: CameraState) {
        let name = self.camera.as_ref().map_or_else(String::new, |camera| camera.name().to_owned());
        let _ = self.results.service.send(Input::Camera { state, name, opening: self.opening });
    }
}

/// The inference engine panicked.
struct Panicked;
