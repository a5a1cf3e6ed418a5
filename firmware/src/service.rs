//! The service: one thread that owns the slots, the settings and the capture, and responds to the host.
//!
//! Frames never wait for it, and it never waits for the line. Every request may be retried: a request that changes
//! something names what it changes, so a repetition finds it done.

mod captures;
mod changes;
mod host;
mod readiness;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use shared::slots::{SlotEvent, SlotRecord};
use shared::trust::Guard;
use shared::wire::{
    Acquisition, CameraState, Change, Downgrade, FlatFieldDigest, Identity, Kind, Message, ModelDigest,
    ModelRefusal, Name, Notice, PROTOCOL_VERSION, Packet, PacketError, QcFlags, Refusal, Request, Response,
    Setting, Settings, StageProgress, Status,
};

use crate::frames::{Counters, FrameControl};
use crate::inference::{Capture, Pipeline};
use crate::io::{Illumination, Signal, StatusLight};
use crate::link::{LineEvent, Outbox};
use crate::runtime::log;
use crate::runtime::watchdog::ThreadHeartbeat;
use crate::update::{Slots, Work};

use captures::Captures;
use host::Host;

pub use changes::draw_nonce;
pub use readiness::ReadyNotifier;

/// Events for the service.
#[expect(clippy::large_enum_variant, reason = "most are the large one; a box would cost an allocation each")]
pub enum Input {
    /// Something came from the line.
    Line(LineEvent),
    /// A camera connected, disconnected or ended.
    Camera {
        /// Its new state.
        state: CameraState,
        /// Its name, empty where there is none.
        name: String,
        /// The generation this belongs to; see [FrameControl::restart_source`].
        generation: u32,
    },
    /// The model segmented a frame, possibly with an unreliable count.
    Passed(ModelDigest, QcFlags),
    /// The model failed on a frame.
    Failed(ModelDigest),
    /// The frame for a capture's token, or `None` if it failed.
    Captured(u32, Option<Box<Capture>>),
    /// A model was verified.
    Verified(ModelDigest, Result<(), ModelRefusal>),
    /// A model was loaded.
    Loaded(ModelDigest, Result<Box<Pipeline>, ModelRefusal>),
    /// The station ends.
    Stop,
}

/// The parts of a [`Service`].
pub struct ServiceParts {
    /// The slots, booted.
    pub slots: Slots,
    /// Lets changes in.
    pub guard: Guard,
    /// The model that runs.
    pub running: ModelDigest,
    /// Does the slots' work.
    pub loader: SyncSender<Work>,
    /// The frames' thread.
    pub control: Arc<FrameControl>,
    /// Where answers go.
    pub outbox: Arc<Outbox>,
    /// The frames thread's counters.
    pub counters: Arc<Counters>,
    /// The settings at the start.
    pub settings: Settings,
    /// The flat field applied to frames.
    pub flat_field: Option<FlatFieldDigest>,
    /// The lamp.
    pub illumination: Box<dyn Illumination>,
    /// The status light.
    pub light: StatusLight,
    /// The station's name.
    pub name: Name,
    /// Threads of the network.
    pub threads: u16,
    /// Notifies the operator that the station is ready.
    pub readiness: Arc<ReadyNotifier>,
    /// Heartbeat of the thread.
    pub heartbeat: ThreadHeartbeat,
}

/// The service's thread.
pub struct Service {
    parts: ServiceParts,
    started: Instant,
    camera: CameraState,
    camera_name: Name,
    /// Camera events of other generations are ignored.
    generation: u32,
    captures: Captures,
    /// Of the last signed change.
    changed: Option<Answer>,
    host: Host,
    told: StageProgress,
    frame: LastFrame,
}

/// The outcome of the last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastFrame {
    None,
    Counted,
    Doubted,
    Failed,
}

/// A response with its bulk bytes.
type Answer = Result<(Response, Vec<u8>), Refusal>;

impl Service {
    /// A service that is ready to run.
    pub fn new(parts: ServiceParts) -> Self {
        let told = parts.slots.progress();
        Self {
            parts,
            started: Instant::now(),
            camera: CameraState::Absent,
            camera_name: Name::new(),
            generation: 0,
            captures: Captures::default(),
            changed: None,
            host: Host::default(),
            told,
            frame: LastFrame::None,
        }
    }

    /// Answers and notes until [`Input::Stop`]; leaves the illumination off.
    pub fn run(mut self, inputs: &Receiver<Input>) {
        let heartbeat = self.parts.heartbeat.clone();
        loop {
            self.parts.light.show(self.signal());
            let input = match self.host.leaves_in(Instant::now()) {
                Some(left) => inputs.recv_timeout(left),
                None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match input {
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(input) => heartbeat.busy(|| self.hear(input)),
                Err(RecvTimeoutError::Timeout) => self.host_left(),
            }
            self.tell_progress();
        }
        self.end();
    }

    fn hear(&mut self, input: Input) {
        match input {
            Input::Line(LineEvent::Packet(packet)) => self.packet(packet),
            Input::Line(LineEvent::Lost) => {
                self.renew();
                self.host_left();
            }
            Input::Camera { state, name, generation } => self.camera(state, &name, generation),
            Input::Passed(digest, qc_flags) => {
                self.frame = if qc_flags.is_empty() { LastFrame::Counted } else { LastFrame::Doubted };
                self.happened(SlotEvent::FramePassed(digest));
            }
            Input::Failed(digest) => {
                self.frame = LastFrame::Failed;
                self.happened(SlotEvent::FrameFailed(digest));
            }
            Input::Captured(token, capture) => self.captures.arrived(token, capture),
            Input::Verified(digest, Ok(())) => self.happened(SlotEvent::Verified(digest)),
            Input::Verified(digest, Err(reason)) => {
                self.happened(SlotEvent::VerifyFailed(digest, reason));
            }
            Input::Loaded(digest, loaded) => self.loaded(digest, loaded),
            Input::Stop => {}
        }
    }

    fn packet(&mut self, packet: Result<Packet, PacketError>) {
        let (sequence, answer) = match packet {
            Ok(Packet { sequence, message: Message::Request(request), bulk }) => {
                self.host.heard(Instant::now());
                (sequence, self.answer(request, bulk))
            }
            // An echo of our own packets, or another station; not a host.
            Ok(_) => return,
            Err(PacketError::Damaged | PacketError::Oversize) => return,
            Err(PacketError::UnknownMessage { kind: Some(Kind::Request) | None, sequence }) => {
                (sequence, Err(Refusal::Unknown))
            }
            Err(PacketError::ProtocolVersion { kind: Some(Kind::Request) | None, sequence, .. }) => {
                (sequence, Err(Refusal::Protocol { station: PROTOCOL_VERSION }))
            }
            Err(PacketError::UnknownMessage { .. } | PacketError::ProtocolVersion { .. }) => return,
        };
        let (response, bulk) = answer.unwrap_or_else(|refusal| (Response::Refused(refusal), Vec::new()));
        // The response already reports this, so no notice is needed.
        if let Response::Stage(progress) = response {
            self.told = progress;
        }
        self.parts.outbox.answer(sequence, response, bulk);
    }

    fn answer(&mut self, request: Request, bulk: Vec<u8>) -> Answer {
        let response = match request {
            Request::Hello { .. } => {
                self.parts.outbox.greeted();
                Response::Hello(self.identity())
            }
            Request::Status => Response::Status(self.status()),
            Request::Slots => Response::Slots(self.parts.slots.report()),
            Request::Stage { length, digest } => self.unsigned(Change::Stage { length, digest })?,
            Request::StageChunk { digest, offset } => {
                self.parts.slots.store_chunk(digest, offset, &bulk)?;
                Response::Stage(self.parts.slots.progress())
            }
            Request::Activate { digest } => {
                self.unsigned(Change::Activate { digest, downgrade: Downgrade::Allowed })?
            }
            Request::StageStatus => Response::Stage(self.parts.slots.progress()),
            Request::Revert { digest } => self.unsigned(Change::Revert { digest })?,
            Request::Settings => Response::Settings(self.parts.settings),
            Request::Set(setting) => self.unsigned(Change::Set(setting))?,
            Request::Capture { token } => {
                let (state, wanted) = self.captures.ask(token, self.camera)?;
                if let Some(token) = wanted {
                    self.parts.control.trigger(Some(token));
                }
                Response::Capture(state)
            }
            Request::ReadCapture { token, part, offset } => {
                let bytes = self.captures.read(token, part, offset)?;
                return Ok((Response::CaptureData { token, offset }, bytes));
            }
            Request::Echo => return Ok((Response::Echo, bulk)),
            Request::Challenge => Response::Challenge(self.parts.guard.challenge()),
            Request::Change(signed) => return self.signed(&signed),
            Request::FlatField => Response::FlatField(self.parts.flat_field),
            Request::Resend(nack) => Response::Resend(self.parts.outbox.tell_again(&nack)),
        };
        Ok((response, Vec::new()))
    }

    fn identity(&self) -> Identity {
        Identity {
            protocol: PROTOCOL_VERSION,
            version: short_name(env!("CARGO_PKG_VERSION")),
            name: self.parts.name.clone(),
        }
    }

    fn status(&self) -> Status {
        let ServiceParts { counters, outbox, running, threads, .. } = &self.parts;
        Status {
            uptime_ms: self.started.elapsed().as_millis() as u64,
            camera: self.camera,
            camera_name: self.camera_name.clone(),
            model: *running,
            frames: counters.frames.load(Ordering::Relaxed),
            frames_skipped: counters.skipped.load(Ordering::Relaxed),
            frames_unsent: outbox.unsent(),
            damaged_packets: counters.damaged.load(Ordering::Relaxed),
            threads: *threads,
        }
    }

    fn set(&mut self, setting: Setting) {
        match setting {
            Setting::Illumination(duty) => {
                // The response reports the actual brightness.
                match self.parts.illumination.set(duty) {
                    Ok(()) => self.parts.settings.illumination = duty,
                    Err(error) => log!("cannot set the illumination: {error}"),
                }
            }
            Setting::PixelSize(pixel_size) => self.parts.settings.pixel_size = pixel_size,
            Setting::Acquisition(acquisition) => self.acquire(acquisition),
            Setting::Masks(masks) => self.parts.settings.masks = masks,
            Setting::Preview(preview) => self.parts.settings.preview = preview,
        }
        self.parts.control.set(&self.parts.settings);
    }

    /// Triggered acquisition starts with the first image of a recording, so that none is skipped.
    fn acquire(&mut self, acquisition: Acquisition) {
        let before = std::mem::replace(&mut self.parts.settings.acquisition, acquisition);
        if (before, acquisition) == (Acquisition::Continuous, Acquisition::Triggered) {
            self.generation = self.parts.control.restart_source(&self.parts.settings);
            if self.camera == CameraState::Finished {
                self.camera = CameraState::Running;
            }
        }
    }

    fn request(&mut self, event: SlotEvent) -> Result<(), Refusal> {
        let work = self.parts.slots.request(event)?;
        self.load(work);
        Ok(())
    }

    fn happened(&mut self, event: SlotEvent) {
        let trial = self.is_on_trial();
        let work = self.parts.slots.happened(event);
        self.load(work);
        if trial && !self.is_on_trial() {
            match self.parts.slots.progress() {
                StageProgress::Confirmed { digest } => log!("model {digest} confirmed"),
                StageProgress::Failed { digest, reason } => {
                    log!("model {digest} rejected: {reason}; rolled back to the previous model");
                }
                _ => {}
            }
        }
    }

    fn is_on_trial(&self) -> bool {
        let table = self.parts.slots.table();
        matches!(table.record(table.active()), SlotRecord::Trial { .. })
    }

    fn load(&self, work: Vec<Work>) {
        for work in work {
            // The loader ends after this thread.
            let _ = self.parts.loader.send(work);
        }
    }

    fn loaded(&mut self, digest: ModelDigest, loaded: Result<Box<Pipeline>, ModelRefusal>) {
        // The slots may have changed meanwhile; then another load is under way.
        if digest != self.parts.slots.active_digest() {
            return;
        }
        match loaded {
            Ok(pipeline) => {
                log!("model {digest} is active");
                self.parts.running = digest;
                self.parts.control.run(pipeline);
            }
            Err(reason) => self.happened(SlotEvent::LoadFailed(reason)),
        }
    }

    fn camera(&mut self, state: CameraState, name: &str, generation: u32) {
        if generation != self.generation {
            return;
        }
        self.parts.readiness.camera(state, name);
        if state != CameraState::Running {
            self.captures.give_up();
            self.parts.control.trigger(None);
        }
        let name = short_name(name);
        if state != self.camera || name != self.camera_name {
            match state {
                CameraState::Running => log!("camera {name} connected"),
                CameraState::Finished => log!("the camera has reached its last image"),
                CameraState::Absent => {}
            }
            self.parts.outbox.notice(Notice::Camera(state));
        }
        self.camera = state;
        self.camera_name = name;
    }

    fn host_left(&mut self) {
        self.host.left();
        if self.parts.settings.acquisition != Acquisition::Continuous {
            log!("host disconnected; acquisition is continuous again");
            self.set(Setting::Acquisition(Acquisition::Continuous));
        }
    }

    /// Notifies the host of progress that no request caused.
    fn tell_progress(&mut self) {
        let progress = self.parts.slots.progress();
        if progress != self.told {
            self.told = progress;
            self.parts.outbox.notice(Notice::Stage(progress));
        }
    }

    /// The signal of the status light, most urgent first.
    fn signal(&self) -> Signal {
        match (self.camera, self.frame) {
            (CameraState::Absent | CameraState::Finished, _) => Signal::NoCamera,
            (CameraState::Running, LastFrame::Failed) => Signal::Error,
            (CameraState::Running, _) if self.is_on_trial() => Signal::Trial,
            (CameraState::Running, LastFrame::Doubted) => Signal::Doubt,
            (CameraState::Running, LastFrame::Counted) => Signal::Running,
            (CameraState::Running, LastFrame::None) => Signal::Starting,
        }
    }

    fn end(&mut self) {
        if let Err(error) = self.parts.illumination.set(shared::DutyCycle::OFF) {
            log!("cannot switch off the illumination: {error}");
        }
    }
}

/// A text truncated to the capacity of a [`Name`].
pub fn short_name(text: &str) -> Name {
    let mut name = Name::new();
    for character in text.chars() {
        if name.push(character).is_err() {
            break;
        }
    }
    name
}

/// Silence after which the host counts as disconnected.
pub const HOST_SILENCE: Duration = Duration::from_secs(10);
