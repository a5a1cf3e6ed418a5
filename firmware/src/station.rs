//! The station at work: its threads, what joins them, and how they end.
//!
//! | thread | does | waits for |
//! | --- | --- | --- |
//! | frames | grabs frames, runs the network | the camera |
//! | results | extracts and encodes results, publishes them | the frames thread |
//! | service | answers the host, logs, changes slots | its inbox |
//! | loader | verifies and loads models | the slot store's jobs |
//! | line, and its reader | sends and receives | the port |
//!
//! Where the network has only one thread, there is no results thread: the frames thread does that work as well. The
//! inbox is bounded, so that a host that floods it only blocks its own line. A thread that crashes ends the station,
//! and the supervisor restarts it.

mod config;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle, scope};
use std::time::Duration;

use shared::slots::SlotEvent;
use shared::trust::{Keyring, ReplayGuard};
use shared::wire::{
    Acquisition, BootId, FlatFieldDigest, ModelRefusal, Settings, Slot, Stream, truncated_name,
};
use shared::{DutyCycle, Execution};
use thiserror::Error;

use crate::camera::{CameraSource, FlatFielded};
use crate::frames::{Counters, FrameControl, FrameLoop, FrameLoopParts, OpenCamera, Scheduling, SourceKind};
use crate::inbox::ServiceEvent;
use crate::inference::Pipeline;
use crate::io::{
    Illumination, IlluminationConfig, IlluminationError, StatusLight, StatusLightConfig, StatusLightError,
};
use crate::link::{Connector, SerialConnector, TxQueue, keep_open};
use crate::runtime::watchdog::{self, STALL_LIMIT, ThreadHeartbeat};
use crate::runtime::{CancellationToken, log};
use crate::service::{ReadyNotifier, Service, ServiceParts, draw_nonce};
use crate::update::{
    FACTORY_MODEL, FolderStorage, LoaderJob, NoStorage, SlotStorage, SlotStore, StorageError, load,
    load_models,
};
pub(crate) use config::threads_or_all;
pub use config::{Config, ConfigError, DEFAULT_CONFIG, LinkConfig, StorageConfig, TrustConfig};

/// Capacity of the service's inbox.
const INBOX: usize = 256;
/// Capacity of the loader's queue.
const LOADER_INBOX: usize = 8;

/// Why a station cannot start, or had to stop.
#[derive(Debug, Error)]
pub enum RunError {
    /// Another station uses the storage.
    #[error("{0}; stop it, or choose another folder with --storage")]
    Storage(#[source] StorageError),
    /// The lamp cannot be opened.
    #[error("cannot use the illumination: {0}")]
    Illumination(#[from] IlluminationError),
    /// The status light cannot be opened.
    #[error("cannot use the status light: {0}")]
    StatusLight(#[from] StatusLightError),
    /// The keys or the flat field cannot be loaded.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system provides no random bytes.
    #[error("the system provides no random bytes; its kernel must support getrandom")]
    Random(#[from] getrandom::Error),
    /// Even the factory model cannot run.
    #[error("cannot run the factory model ({0}); reinstall this program")]
    Factory(ModelRefusal),
    /// The system cannot start a thread.
    #[error("cannot start a thread; free some memory")]
    Thread(#[from] io::Error),
    /// A thread panicked.
    #[error("the {0} thread crashed: restart the station, and report the error printed above")]
    Fault(&'static str),
}

/// The parts of a station, apart from its program.
pub struct Station {
    /// Opens its camera.
    pub camera: OpenCamera,
    /// Starts the camera again.
    pub source_kind: SourceKind,
    /// The flat field that the camera's frames are corrected by.
    pub flat_field: Option<FlatFieldDigest>,
    /// Its line.
    pub connector: Box<dyn Connector>,
    /// Baud rate of the line.
    pub baud: u32,
    /// Its storage.
    pub storage: Box<dyn SlotStorage>,
    /// Its lamp.
    pub illumination: Box<dyn Illumination>,
    /// Its light.
    pub light: StatusLight,
    /// Its settings at the start.
    pub settings: Settings,
    /// Its name.
    pub name: String,
    /// Options of the network.
    pub execution: Execution,
    /// Its own model.
    pub factory: &'static [u8],
    /// The trusted keys.
    pub keyring: Keyring,
}

impl Station {
    /// Opens the station of a configuration. Camera and port may be absent.
    ///
    /// # Errors
    /// [`RunError`] when another station runs on the same storage, or configured pins, keys or flat
    /// field cannot be had.
    pub fn open(config: &Config) -> Result<Self, RunError> {
        let storage: Box<dyn SlotStorage> = match FolderStorage::open(&config.storage.folder) {
            Ok(storage) => Box::new(storage),
            Err(error @ StorageError::InUse { .. }) => return Err(RunError::Storage(error)),
            Err(error) => {
                log!("warning: {error}; the factory model runs, and no other can be flashed");
                Box::new(NoStorage)
            }
        };
        let source = config.camera.clone();
        let loaded = config.load_flat_field()?;
        let corrects = loaded.as_ref().map(|loaded| Arc::clone(&loaded.flat_field));
        let source_kind = match source {
            CameraSource::V4l2 { .. } => SourceKind::Live,
            CameraSource::Pictures { .. } | CameraSource::Simulated { .. } => SourceKind::Replayable,
        };
        let lamp = config.illumination.as_ref();
        let mut illumination = IlluminationConfig::open_optional(lamp)?;
        let brightness = lamp.map_or(DutyCycle::OFF, |lamp| lamp.brightness);
        illumination.set(brightness)?;
        let settings = Settings {
            illumination: brightness,
            pixel_size: config.pixel_size,
            acquisition: Acquisition::Continuous,
            masks: Stream::On,
            preview: Stream::On,
        };
        Ok(Self {
            camera: Box::new(move || {
                let camera = source.open()?;
                Ok(match &corrects {
                    Some(flat_field) => Box::new(FlatFielded::new(camera, Arc::clone(flat_field))),
                    None => camera,
                })
            }),
            source_kind,
            flat_field: loaded.map(|loaded| loaded.digest),
            connector: Box::new(SerialConnector::new(config.link.port.clone(), config.link.baud)),
            baud: config.link.baud,
            storage,
            illumination,
            light: StatusLightConfig::open_optional(config.status_light.as_ref())?,
            settings,
            name: config.name.clone(),
            execution: config.execution(),
            factory: FACTORY_MODEL,
            keyring: config.keyring()?,
        })
    }

    /// Runs until `stop` is cancelled or a thread crashes. Calls `on_ready` once, with a line that says what the
    /// station runs with, after it has looked for camera and port.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn run(
        self,
        stop: &CancellationToken,
        on_ready: impl FnOnce(&str) + Send + 'static,
    ) -> Result<(), RunError> {
        let Self { settings, execution, connector, keyring, .. } = self;
        log_trust(&keyring);
        let guard = ReplayGuard::new(keyring.clone(), draw_nonce()?);
        let mut slots = SlotStore::open(self.storage, self.factory);
        let pipeline = load_active_model(&mut slots, execution, &keyring)?;
        let running = pipeline.digest();
        let queue = Arc::new(TxQueue::new(self.baud, BootId(getrandom::u32()?)));
        let control = Arc::new(FrameControl::new(&settings));
        let counters = Arc::new(Counters::default());
        let readiness = Arc::new(ReadyNotifier::new(connector.name(), running, on_ready));
        let (inbox, inputs) = sync_channel(INBOX);
        let (loader, work) = sync_channel(LOADER_INBOX);
        let heartbeats = ["service", "frames", "results"].map(|name| (name, ThreadHeartbeat::default()));
        let [(_, service_heartbeat), (_, frames_heartbeat), (_, postprocess_heartbeat)] = &heartbeats;
        let (frames, worker) = FrameLoop::new(FrameLoopParts {
            open: self.camera,
            source_kind: self.source_kind,
            control: Arc::clone(&control),
            queue: Arc::clone(&queue),
            counters: Arc::clone(&counters),
            service: inbox.clone(),
            heartbeat: frames_heartbeat.clone(),
            postprocess_heartbeat: postprocess_heartbeat.clone(),
            scheduling: Scheduling::of(execution.threads),
            pipeline,
        });
        let service = Service::new(ServiceParts {
            slots,
            guard,
            running,
            loader,
            control: Arc::clone(&control),
            queue: Arc::clone(&queue),
            counters: Arc::clone(&counters),
            settings,
            flat_field: self.flat_field,
            illumination: self.illumination,
            light: self.light,
            name: truncated_name(&self.name),
            threads: u16::try_from(execution.threads.get()).unwrap_or(u16::MAX),
            readiness: Arc::clone(&readiness),
            heartbeat: service_heartbeat.clone(),
        });
        let (loaded, linked) = (inbox.clone(), inbox.clone());
        scope(|all| {
            let shutdown = ShutdownGuard { stop, control: &control, queue: &queue, inbox };
            let (queue, damaged, keyring) = (&queue, &counters.damaged, &keyring);
            let mut spawned = vec![
                spawn(all, "service", stop, move || service.run(&inputs))?,
                spawn(all, "loader", stop, move || load_models(&work, execution, keyring, &loaded))?,
                spawn(all, "frames", stop, move || drop(frames.run()))?,
                spawn(all, "line", stop, move || {
                    let forward = |event| drop(linked.send(ServiceEvent::Link(event)));
                    keep_open(connector, queue, damaged, stop, |port| readiness.port(port), forward);
                })?,
            ];
            if let Some(worker) = worker {
                spawned.push(spawn(all, "results", stop, move || drop(worker.run()))?);
            }
            supervise(stop, &heartbeats);
            watchdog::notify_stopping();
            drop(shutdown);
            let mut ended = Ok(());
            for (name, thread) in spawned {
                if thread.join().is_err() {
                    ended = Err(RunError::Fault(name));
                }
            }
            ended
        })
    }
}

fn log_trust(keyring: &Keyring) {
    if keyring.is_open() {
        log!("this is an open station: anyone who can reach its serial line may change models and settings");
    }
    for trusted in keyring.keys() {
        log!("models and changes are accepted from {} ({})", trusted.name, trusted.key.id());
    }
}

/// Waits for the end, and notifies the supervisor's watchdog as long as no thread has stalled.
fn supervise(stop: &CancellationToken, heartbeats: &[(&str, ThreadHeartbeat)]) {
    let interval = watchdog::watchdog_interval();
    while !stop.wait_timeout(interval.unwrap_or(Duration::from_secs(3600))) {
        match heartbeats.iter().find(|(_, heartbeat)| !heartbeat.is_responsive(STALL_LIMIT)) {
            Some((name, _)) => log!("the {name} thread is stalled: the supervisor may restart the station"),
            None if interval.is_some() => watchdog::notify_watchdog(),
            None => {}
        }
    }
}

/// Loads the active model. When that fails, rolls back and tries again, down to the factory model.
fn load_active_model(
    slots: &mut SlotStore,
    execution: Execution,
    keyring: &Keyring,
) -> Result<Pipeline, RunError> {
    let mut work = VecDeque::from(slots.apply(SlotEvent::Booted));
    let mut refused = ModelRefusal::Storage;
    while let Some(next) = work.pop_front() {
        let LoaderJob::Load { slot, digest, onnx } = next else { continue };
        match load(slot, digest, &onnx, execution, keyring) {
            Ok(pipeline) => return Ok(pipeline),
            Err(reason) if slot == Slot::Factory => refused = reason,
            Err(reason) => {
                log!("model {digest} cannot be run ({reason}): rolled back to the previous model");
                work.extend(slots.apply(SlotEvent::LoadFailed(reason)));
            }
        }
    }
    Err(RunError::Factory(refused))
}

/// Stops every thread on drop.
struct ShutdownGuard<'a> {
    stop: &'a CancellationToken,
    control: &'a FrameControl,
    queue: &'a TxQueue,
    inbox: SyncSender<ServiceEvent>,
}

impl Drop for ShutdownGuard<'_> {
    fn drop(&mut self) {
        self.stop.cancel();
        self.control.end();
        self.queue.close();
        // A stopped service receives nothing, and needs nothing.
        let _ = self.inbox.send(ServiceEvent::Stop);
    }
}

/// Stack size of each thread; the inference engine's planning recurses deeply.
const STACK: usize = 8 << 20;

/// Starts a thread. When it ends, even by a panic, all threads end.
fn spawn<'scope>(
    all: &'scope Scope<'scope, '_>,
    name: &'static str,
    stop: &CancellationToken,
    work: impl FnOnce() + Send + 'scope,
) -> io::Result<(&'static str, ScopedJoinHandle<'scope, ()>)> {
    struct CancelOnDrop(CancellationToken);
    impl Drop for CancelOnDrop {
        fn drop(&mut self) {
            self.0.cancel();
        }
    }
    let end = CancelOnDrop(stop.clone());
    let thread = Builder::new().name(name.to_owned()).stack_size(STACK).spawn_scoped(all, move || {
        let _end = end;
        work();
    })?;
    Ok((name, thread))
}
