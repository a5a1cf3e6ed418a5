//! The loop that turns camera frames into results, whatever the line and the storage are doing.

mod control;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use shared::wire::{CameraState, ModelDigest, Stream};

use crate::camera::{Camera, CameraError, Frame, Grab, Pace, microseconds};
use crate::capture::Capture;
use crate::journal::{Told, note};
use crate::link::{Bulk, Outbox};
use crate::pipeline::{Pipeline, preview_jpeg};
use crate::service::Input;
use crate::supervision::Pulse;

pub use control::{FrameControl, Order, Readiness, Shot};

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

/// The frames' thread.
pub struct FrameLoop {
    open: OpenCamera,
    play: Play,
    control: Arc<FrameControl>,
    outbox: Arc<Outbox>,
    counters: Arc<Counters>,
    service: SyncSender<Input>,
    pulse: Pulse,
    pipeline: Pipeline,
    camera: Option<Box<dyn Camera>>,
    readiness: Readiness,
    retry: Duration,
    opening: u32,
    number: u32,
    /// What was told last, so that a lasting trouble is told once.
    trouble: Option<String>,
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
    pub pulse: Pulse,
    /// What runs first.
    pub pipeline: Pipeline,
}

impl FrameLoop {
    /// A loop that is yet to run.
    pub fn new(parts: FrameLoopParts) -> Self {
        let FrameLoopParts { open, play, control, outbox, counters, service, pulse, pipeline } = parts;
        Self {
            open,
            play,
            control,
            outbox,
            counters,
            service,
            pulse,
            pipeline,
            camera: None,
            readiness: Readiness::After(Instant::now()),
            retry: FIRST_RETRY,
            opening: 0,
            number: 0,
            trouble: None,
        }
    }

    /// Runs until the control says that it is over.
    pub fn run(mut self) {
        while let Some(order) = self.control.next(self.readiness, self.opening) {
            let pulse = self.pulse.clone();
            pulse.during(|| match order {
                Order::Run(pipeline) => self.pipeline = *pipeline,
                Order::Rewind(opening) => self.rewind(opening),
                Order::Open => self.open_camera(),
                Order::Grab(shot) => self.grab(shot),
            });
        }
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
                self.trouble = None;
                self.tell(CameraState::Running);
            }
            Err(error) => self.lose(&error),
        }
    }

    fn lose(&mut self, error: &CameraError) {
        self.say(format!("no camera delivers ({}); it is looked for again", Told(error)));
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
                self.readiness = Readiness::Never;
                self.tell(CameraState::Finished);
            }
            Err(error) => self.lose(&error),
        }
    }

    fn process(&mut self, frame: Frame, shot: Shot) {
        self.number = self.number.wrapping_add(1);
        let (number, skipped) = (self.number, frame.skipped);
        let name = frame.source.clone();
        self.counters.skipped.fetch_add(skipped, Ordering::Relaxed);
        let pipeline = &mut self.pipeline;
        let digest = pipeline.digest();
        let processed = catch_unwind(AssertUnwindSafe(|| {
            pipeline.process(number, frame, shot.illumination, shot.acquisition)
        }));
        let result = match processed {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => {
                return self.fail(digest, shot, format!("frame {number} {name} failed: {error}"));
            }
            Err(_) => return self.fail(digest, shot, format!("frame {number} {name} failed by a panic")),
        };
        self.trouble = None;
        self.counters.frames.fetch_add(1, Ordering::Relaxed);

        let mut report = result.report;
        let preview = (shot.preview == Stream::On).then(|| {
            let start = Instant::now();
            let jpeg = preview_jpeg(&result.frame.image);
            report.times.encode.0 = report.times.encode.0.saturating_add(microseconds(start.elapsed()).0);
            jpeg
        });
        self.outbox.frame(report.clone());
        let doubts = report.doubts;
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
        let _ = self.service.try_send(Input::Passed(digest, doubts));
        match capture {
            Some((token, Ok(capture))) => {
                let _ = self.service.send(Input::Captured(token, Some(Box::new(capture))));
            }
            Some((token, Err(error))) => {
                note!("frame {number} could not be kept: {error}");
                let _ = self.service.send(Input::Captured(token, None));
            }
            None => {}
        }
    }

    fn fail(&mut self, digest: ModelDigest, shot: Shot, trouble: String) {
        self.say(trouble);
        let _ = self.service.try_send(Input::Failed(digest));
        if let Some(token) = shot.token {
            let _ = self.service.send(Input::Captured(token, None));
        }
    }

    fn say(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            note!("{trouble}");
            self.trouble = Some(trouble);
        }
    }

    fn tell(&self, state: CameraState) {
        let name = self.camera.as_ref().map_or_else(String::new, |camera| camera.name().to_owned());
        let _ = self.service.send(Input::Camera { state, name, opening: self.opening });
    }
}
