//! The station at work: its threads, what joins them, and how they end.
//!
//! | thread | does | waits for |
//! | --- | --- | --- |
//! | frames | grabs, runs the network | the camera |
//! | results | extracts, weighs, encodes, puts results out | the frames' thread |
//! | service | answers, notes, changes slots | its inbox |
//! | loader | verifies and loads models | the slots' work |
//! | line, and its reader | sends and receives | the port |
//!
//! There is no results' thread where the network has one thread alone: the frames' then does its work. The inbox is
//! bounded: a host that floods it waits at its end of the line. A thread that ends by a fault
//! ends the station, and what supervises it starts it anew.

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
use shared::trust::{Guard, Keyring};
use shared::wire::{Acquisition, FlatFieldDigest, ModelRefusal, Run, Settings, Slot, Stream};
use shared::{DutyCycle, Execution};
use thiserror::Error;

use crate::camera::{CameraSource, FlatFielded};
use crate::frames::{Counters, FrameControl, FrameLoop, FrameLoopParts, OpenCamera, Play, Stages};
use crate::inference::Pipeline;
use crate::io::{
    Illumination, IlluminationConfig, IlluminationError, StatusLight, StatusLightConfig, StatusLightError,
};
use crate::link::{Link, Outbox, SerialLink, keep_open};
use crate::runtime::supervision::{self, LONGEST_WORK, Pulse};
use crate::runtime::{Stop, note};
use crate::service::{Announcement, Input, Service, ServiceParts, draw_nonce, short_name};
use crate::update::{
    FACTORY_MODEL, FolderStorage, NoStorage, SlotStorage, Slots, StorageError, Work, load, load_models,
};
pub(crate) use config::threads_or_all;
pub use config::{Config, ConfigError, DEFAULT_CONFIG, LinkConfig, StorageConfig, TrustConfig};

/// What waits for the service at most.
const INBOX: usize = 256;
/// Changes of the slots that wait for the loader at most.
const LOADER_INBOX: usize = 8;

/// Why a station does not work, or works no more.
#[derive(Debug, Error)]
pub enum RunError {
    /// Another station holds the storage.
    #[error("{0}: stop it, or name another folder with --storage")]
    Storage(#[source] StorageError),
    /// The lamp cannot be had.
    #[error("the illumination cannot be used: {0}")]
    Illumination(#[from] IlluminationError),
    /// The status light cannot be had.
    #[error("the status light cannot be used: {0}")]
    StatusLight(#[from] StatusLightError),
    /// The keys cannot be trusted, or the flat field not be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: its kernel must have getrandom")]
    Random(#[from] getrandom::Error),
    /// Not even the program's own model runs.
    #[error("the factory model cannot be run ({0}): install this program again")]
    Factory(ModelRefusal),
    /// The system gives no thread.
    #[error("a thread could not be started: free memory")]
    Thread(#[from] io::Error),
    /// A thread ended by a fault.
    #[error("the {0} thread ended by a fault: start the station again, and report what is told above")]
    Fault(&'static str),
}

/// What a station consists of, apart from its program.
pub struct Station {
    /// Opens its camera.
    pub camera: OpenCamera,
    /// What opening it anew does.
    pub play: Play,
    /// The flat field that the camera's frames are corrected by.
    pub flat_field: Option<FlatFieldDigest>,
    /// Its line.
    pub link: Box<dyn Link>,
    /// Bits a second of the line.
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
    /// How the network is run.
    pub execution: Execution,
    /// Its own model.
    pub factory: &'static [u8],
    /// The keys that it trusts.
    pub keyring: Keyring,
}

impl Station {
    /// The station of a configuration. Camera and port may be absent.
    ///
    /// # Errors
    /// [`RunError`] when another station runs on the same storage, or configured pins, keys or flat
    /// field cannot be had.
    pub fn open(config: &Config) -> Result<Self, RunError> {
        let storage: Box<dyn SlotStorage> = match FolderStorage::open(&config.storage.folder) {
            Ok(storage) => Box::new(storage),
            Err(error @ StorageError::InUse { .. }) => return Err(RunError::Storage(error)),
            Err(error) => {
                note!("warning: {error}: the factory model runs, and no other can be flashed");
                Box::new(NoStorage)
            }
        };
        let source = config.camera.clone();
        let loaded = config.load_flat_field()?;
        let corrects = loaded.as_ref().map(|loaded| Arc::clone(&loaded.flat_field));
        let play = match source {
            CameraSource::V4l2 { .. } => Play::Live,
            CameraSource::Pictures { .. } | CameraSource::Simulated { .. } => Play::Recording,
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
            play,
            flat_field: loaded.map(|loaded| loaded.digest),
            link: Box::new(SerialLink::new(config.link.port.clone(), config.link.baud)),
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

    /// Works until `stop`, or until a thread ends by a fault. `on_ready` hears once what the station works
    /// with, after camera and port were looked for.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn run(self, stop: &Stop, on_ready: impl FnOnce(&str) + Send + 'static) -> Result<(), RunError> {
        let Self { settings, execution, link, keyring, .. } = self;
        tell_trust(&keyring);
        let guard = Guard::new(keyring.clone(), draw_nonce()?);
        let mut slots = Slots::open(self.storage, self.factory);
        let pipeline = boot(&mut slots, execution, &keyring)?;
        let running = pipeline.digest();
        let outbox = Arc::new(Outbox::new(self.baud, Run(getrandom::u32()?)));
        let control = Arc::new(FrameControl::new(&settings));
        let counters = Arc::new(Counters::default());
        let announcement = Arc::new(Announcement::new(link.name(), running, on_ready));
        let (inbox, inputs) = sync_channel(INBOX);
        let (loader, work) = sync_channel(LOADER_INBOX);
        let pulses = ["service", "frames", "results"].map(|name| (name, Pulse::default()));
        let [(_, service_pulse), (_, frames_pulse), (_, results_pulse)] = &pulses;
        let (frames, results) = FrameLoop::new(FrameLoopParts {
            open: self.camera,
            play: self.play,
            control: Arc::clone(&control),
            outbox: Arc::clone(&outbox),
            counters: Arc::clone(&counters),
            service: inbox.clone(),
            pulse: frames_pulse.clone(),
            results_pulse: results_pulse.clone(),
            stages: Stages::of(execution.threads),
            pipeline,
        });
        let service = Service::new(ServiceParts {
            slots,
            guard,
            running,
            loader,
            control: Arc::clone(&control),
            outbox: Arc::clone(&outbox),
            counters: Arc::clone(&counters),
            settings,
            flat_field: self.flat_field,
            illumination: self.illumination,
            light: self.light,
            name: short_name(&self.name),
            threads: u16::try_from(execution.threads.get()).unwrap_or(u16::MAX),
            announcement: Arc::clone(&announcement),
            pulse: service_pulse.clone(),
        });
        let (loaded, heard) = (inbox.clone(), inbox.clone());
        scope(|all| {
            let ending = Ending { stop, control: &control, outbox: &outbox, inbox };
            let (outbox, damaged, keyring) = (&outbox, &counters.damaged, &keyring);
            let mut spawned = vec![
                spawn(all, "service", stop, move || service.run(&inputs))?,
                spawn(all, "loader", stop, move || load_models(&work, execution, keyring, &loaded))?,
                spawn(all, "frames", stop, move || drop(frames.run()))?,
                spawn(all, "line", stop, move || {
                    let tell = |event| drop(heard.send(Input::Line(event)));
                    keep_open(link, outbox, damaged, stop, |port| announcement.port(port), tell);
                })?,
            ];
            if let Some(results) = results {
                spawned.push(spawn(all, "results", stop, move || results.run())?);
            }
            watch(stop, &pulses);
            supervision::stopping();
            drop(ending);
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

fn tell_trust(keyring: &Keyring) {
    if keyring.is_open() {
        note!("an open station: whoever reaches its line may change models and settings");
    }
    for trusted in keyring.keys() {
        note!("models and changes are taken from {} ({})", trusted.name, trusted.key.id());
    }
}

/// Waits for the end, and tells the supervisor that the station lives as long as its threads do.
fn watch(stop: &Stop, pulses: &[(&str, Pulse)]) {
    let interval = supervision::interval();
    while !stop.wait(interval.unwrap_or(Duration::from_secs(3600))) {
        match pulses.iter().find(|(_, pulse)| !pulse.beats(LONGEST_WORK)) {
            Some((name, _)) => note!("the {name} thread hangs: the supervisor may start the station again"),
            None if interval.is_some() => supervision::alive(),
            None => {}
        }
    }
}

/// Loads what the slots say, or what they then say, down to the factory model.
fn boot(slots: &mut Slots, execution: Execution, keyring: &Keyring) -> Result<Pipeline, RunError> {
    let mut work = VecDeque::from(slots.happened(SlotEvent::Booted));
    let mut refused = ModelRefusal::Storage;
    while let Some(next) = work.pop_front() {
        let Work::Load { slot, digest, onnx } = next else { continue };
        match load(slot, digest, &onnx, execution, keyring) {
            Ok(pipeline) => return Ok(pipeline),
            Err(reason) if slot == Slot::Factory => refused = reason,
            Err(reason) => {
                note!("the model {digest} cannot be run ({reason}): the one before runs");
                work.extend(slots.happened(SlotEvent::LoadFailed(reason)));
            }
        }
    }
    Err(RunError::Factory(refused))
}

/// Ends every thread when it goes, however that comes.
struct Ending<'a> {
    stop: &'a Stop,
    control: &'a FrameControl,
    outbox: &'a Outbox,
    inbox: SyncSender<Input>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.stop.set();
        self.control.end();
        self.outbox.close();
        // A service that ended takes nothing, and needs nothing.
        let _ = self.inbox.send(Input::Stop);
    }
}

/// Stack of each thread: the inference engine's planning goes deep.
const STACK: usize = 8 << 20;

/// Starts a thread whose end, by a fault as well, is the end of all.
fn spawn<'scope>(
    all: &'scope Scope<'scope, '_>,
    name: &'static str,
    stop: &Stop,
    work: impl FnOnce() + Send + 'scope,
) -> io::Result<(&'static str, ScopedJoinHandle<'scope, ()>)> {
    struct EndsAll(Stop);
    impl Drop for EndsAll {
        fn drop(&mut self) {
            self.0.set();
        }
    }
    let end = EndsAll(stop.clone());
    let thread = Builder::new().name(name.to_owned()).stack_size(STACK).spawn_scoped(all, move || {
        let _end = end;
        work();
    })?;
    Ok((name, thread))
}
