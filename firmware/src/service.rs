//! The service: one thread that owns the slots, the settings and the capture, and responds to the host.
//!
//! Frames never wait for it, and it never waits for the line. Every request may be retried: a request that changes
//! something names what it changes, so a repetition finds it done.

mod capture_slot;
mod changes;
mod host_presence;
mod readiness;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Instant;

use shared::slots::{SlotEvent, SlotRecord};
use shared::trust::ReplayGuard;
use shared::wire::{
    Acquisition, CameraState, Change, Downgrade, FlatFieldDigest, Identity, Kind, Message, ModelDigest,
    ModelRefusal, Name, Notice, PROTOCOL_VERSION, Packet, PacketError, Refusal, Request, Response, Setting,
    Settings, StageProgress, Status, truncated_name,
};

use crate::frames::{Counters, FrameControl};
use crate::inbox::ServiceEvent;
use crate::inference::Pipeline;
use crate::io::{Illumination, Signal, StatusLight};
use crate::link::{LinkEvent, TxQueue};
use crate::runtime::log;
use crate::runtime::watchdog::ThreadHeartbeat;
use crate::update::{LoaderJob, SlotStore};

use capture_slot::CaptureSlot;
use host_presence::HostPresence;

pub use changes::draw_nonce;
pub use readiness::ReadyNotifier;

/// The parts of a [`Service`].
pub struct ServiceParts {
    /// The slots, booted.
    pub slots: SlotStore,
    /// Lets changes in.
    pub guard: ReplayGuard,
    /// The model that runs.
    pub running: ModelDigest,
    /// Does the slots' work.
    pub loader: SyncSender<LoaderJob>,
    /// The frames' thread.
    pub control: Arc<FrameControl>,
    /// Where answers go.
    pub queue: Arc<TxQueue>,
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
    capture: CaptureSlot,
    /// Of the last signed change.
    last_signed_response: Option<Answer>,
    host: HostPresence,
    reported_progress: StageProgress,
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
        let reported_progress = parts.slots.progress();
        Self {
            parts,
            started: Instant::now(),
            camera: CameraState::Absent,
            camera_name: Name::new(),
            generation: 0,
            capture: CaptureSlot::default(),
            last_signed_response: None,
            host: HostPresence::default(),
            reported_progress,
            frame: LastFrame::None,
        }
    }

    /// Answers and notes until [`ServiceEvent::Stop`]; leaves the illumination off.
    pub fn run(mut self, inputs: &Receiver<ServiceEvent>) {
        let heartbeat = self.parts.heartbeat.clone();
        loop {
            self.parts.light.show(self.signal());
            let input = match self.host.expires_in(Instant::now()) {
                Some(left) => inputs.recv_timeout(left),
                None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match input {
                Ok(ServiceEvent::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(input) => heartbeat.busy(|| self.handle(input)),
                Err(RecvTimeoutError::Timeout) => self.host_left(),
            }
            self.report_progress();
        }
        self.end();
    }

    fn handle(&mut self, input: ServiceEvent) {
        match input {
            ServiceEvent::Link(LinkEvent::Packet(packet)) => self.packet(packet),
            ServiceEvent::Link(LinkEvent::Lost) => {
                self.rotate_nonce();
                self.host_left();
            }
            ServiceEvent::Camera { state, name, generation } => self.camera(state, &name, generation),
            ServiceEvent::FramePassed(digest, qc_flags) => {
                self.frame = if qc_flags.is_empty() { LastFrame::Counted } else { LastFrame::Doubted };
                self.apply_slot_event(SlotEvent::FramePassed(digest));
            }
            ServiceEvent::FrameFailed(digest) => {
                self.frame = LastFrame::Failed;
                self.apply_slot_event(SlotEvent::FrameFailed(digest));
            }
            ServiceEvent::Captured(token, capture) => self.capture.complete(token, capture),
            ServiceEvent::Verified(digest, Ok(pipeline)) => {
                self.apply_slot_event(SlotEvent::Verified(digest));
                self.loaded(digest, Ok(pipeline));
            }
            ServiceEvent::Verified(digest, Err(reason)) => {
                self.apply_slot_event(SlotEvent::VerifyFailed(digest, reason));
            }
            ServiceEvent::Loaded(digest, loaded) => self.loaded(digest, loaded),
            ServiceEvent::Stop => {}
        }
    }

    fn packet(&mut self, packet: Result<Packet, PacketError>) {
        let (sequence, answer) = match packet {
            Ok(Packet { sequence, message: Message::Request(request), bulk }) => {
                self.host.touch(Instant::now());
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
            self.reported_progress = progress;
        }
        self.parts.queue.respond(sequence, response, bulk);
    }

    fn answer(&mut self, request: Request, bulk: Vec<u8>) -> Answer {
        let response = match request {
            Request::Hello { .. } => {
                self.parts.queue.on_hello();
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
                let (state, wanted) = self.capture.begin(token, self.camera)?;
                if let Some(token) = wanted {
                    self.parts.control.trigger(Some(token));
                }
                Response::Capture(state)
            }
            Request::ReadCapture { token, part, offset } => {
                let bytes = self.capture.read(token, part, offset)?;
                return Ok((Response::CaptureData { token, offset }, bytes));
            }
            Request::Echo => return Ok((Response::Echo, bulk)),
            Request::Challenge => Response::Challenge(self.parts.guard.challenge()),
            Request::Change(signed) => return self.signed(&signed),
            Request::FlatField => Response::FlatField(self.parts.flat_field),
            Request::Resend(nack) => Response::Resend(self.parts.queue.resend(&nack)),
        };
        Ok((response, Vec::new()))
    }

    fn identity(&self) -> Identity {
        Identity {
            protocol: PROTOCOL_VERSION,
            version: truncated_name(env!("CARGO_PKG_VERSION")),
            name: self.parts.name.clone(),
        }
    }

    fn status(&self) -> Status {
        let ServiceParts { counters, queue, running, threads, .. } = &self.parts;
        Status {
            uptime_ms: self.started.elapsed().as_millis() as u64,
            camera: self.camera,
            camera_name: self.camera_name.clone(),
            model: *running,
            frames: counters.frames.load(Ordering::Relaxed),
            frames_skipped: counters.skipped.load(Ordering::Relaxed),
            frames_unsent: queue.unsent(),
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

    fn apply_slot_event(&mut self, event: SlotEvent) {
        let trial = self.is_on_trial();
        let work = self.parts.slots.apply(event);
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

    fn load(&self, work: Vec<LoaderJob>) {
        for work in work {
            // The loader ends after this thread.
            let _ = self.parts.loader.send(work);
        }
    }

    fn loaded(&mut self, digest: ModelDigest, loaded: Result<Box<Pipeline>, ModelRefusal>) {
        // The slots may have changed meanwhile, or not have been written; then this model is not to run.
        if digest != self.parts.slots.active_digest() {
            return;
        }
        match loaded {
            Ok(pipeline) => {
                log!("model {digest} is active");
                self.parts.running = digest;
                self.parts.control.run(pipeline);
            }
            Err(reason) => self.apply_slot_event(SlotEvent::LoadFailed(reason)),
        }
    }

    fn camera(&mut self, state: CameraState, name: &str, generation: u32) {
        if generation != self.generation {
            return;
        }
        self.parts.readiness.camera(state, name);
        if state != CameraState::Running {
            self.capture.cancel();
            self.parts.control.trigger(None);
        }
        let name = truncated_name(name);
        if state != self.camera || name != self.camera_name {
            match state {
                CameraState::Running => log!("camera {name} connected"),
                CameraState::Finished => log!("the camera has reached its last image"),
                CameraState::Absent => {}
            }
            self.parts.queue.notice(Notice::Camera(state));
        }
        self.camera = state;
        self.camera_name = name;
    }

    fn host_left(&mut self) {
        self.host.clear();
        if self.parts.settings.acquisition != Acquisition::Continuous {
            log!("host disconnected; acquisition is continuous again");
            self.set(Setting::Acquisition(Acquisition::Continuous));
        }
    }

    /// Notifies the host of progress that no request caused.
    fn report_progress(&mut self) {
        let progress = self.parts.slots.progress();
        if progress != self.reported_progress {
            self.reported_progress = progress;
            self.parts.queue.notice(Notice::Stage(progress));
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
