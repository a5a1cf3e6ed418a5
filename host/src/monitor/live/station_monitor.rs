//! One station's frames, shown and recorded as they arrive, across reconnects.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use host_console::{Failure, output, warning};
use shared::wire::{
    CameraState, Identity, Notice, RETRANSMIT_CAPACITY, ReliableEvent, Settings, StageProgress, Status,
    Stream,
};

use super::actions::{Recorder, flash_model, revert, set_illumination, snapshot};
use super::count_stats::{CountStats, CountSummary};
use super::error::SessionError;
use super::reconnect::{POLL_INTERVAL, ReconnectOutcome, StopCondition, StopReason, reconnect};
use super::sink::FrameSink;
use crate::monitor::view::{ViewCommand, ViewPublisher};
use crate::records::frame_record::FrameRecord;
use crate::records::gates::Gates;
use crate::records::provenance::Provenance;
use crate::records::recording::Recording;
use crate::station::client::{
    BaudRate, BaudRecovery, Incoming, LinkError, OperationUpdate, SerialTransport, StationClient, camera_word,
};
use crate::station::link_state::LinkState;

/// Well within the station's timeout for its host.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);
/// With viewers: interval and timeout together show within two seconds that a station is lost.
const VIEW_STATUS_INTERVAL: Duration = Duration::from_millis(600);
const VIEW_STATUS_TIMEOUT: Duration = Duration::from_millis(900);

/// Shows and records one station's frames.
#[derive(Debug)]
pub struct StationMonitor {
    sink: FrameSink,
    recorder: Recorder,
    /// Prefix of messages where there are several stations: the port until the name is known.
    label: Option<String>,
}

impl StationMonitor {
    /// A monitor of a single station, which also records if it is given a recording.
    pub fn new(sink: FrameSink, record: Option<Recording>) -> Self {
        let mut monitor = Self { sink, recorder: Recorder::new(PathBuf::new()), label: None };
        monitor.record(record);
        monitor
    }

    /// A monitor of one station of several, on that port.
    pub fn among_several(sink: FrameSink, port: &str) -> Self {
        Self { sink, recorder: Recorder::new(PathBuf::new()), label: Some(port.to_owned()) }
    }

    /// Sets the station's name, and the folder for its recordings.
    pub fn set_station(&mut self, name: &str, folder: PathBuf, record: Option<Recording>) {
        self.label = Some(name.to_owned());
        self.recorder = Recorder::new(folder);
        self.record(record);
    }

    /// Whether its station is one of several.
    pub const fn is_among_several(&self) -> bool {
        self.label.is_some()
    }

    /// Why the recording that the command line asks for has ended early, if it has.
    pub fn take_recording_failure(&mut self) -> Option<Failure> {
        self.recorder.take_failure()
    }

    fn record(&mut self, record: Option<Recording>) {
        if let (Some(publisher), Some(record)) = (self.sink.publisher_mut(), &record) {
            publisher.update_activity(|activity| {
                activity.recording = Some(record.path().display().to_string());
            });
        }
        self.recorder.record(record);
    }

    /// Reports that the station has not connected yet.
    pub fn report_absent(&self, error: &LinkError) {
        self.set_link_state(LinkState::Absent, &format!("{error}; waiting for the station"));
    }

    /// Reports a failure that ends the session.
    pub fn report_failure(&self, failure: &Failure) {
        self.set_link_state(LinkState::Lost, &failure.to_string().replace('\n', ";"));
    }

    /// Reports to viewers that the session has ended.
    pub fn report_end(&self) {
        if let Some(publisher) = self.sink.publisher() {
            publisher.set_link_state(LinkState::Lost, "monitoring has ended");
        }
    }

    /// Monitors the station until `condition` or `stop` ends the session, and reconnects when the line is lost.
    ///
    /// # Errors
    /// [`Failure`] when the output fails, or another station answers after a reconnect.
    pub fn run(
        &mut self,
        (mut station, mut identity): (StationClient<SerialTransport>, Identity),
        condition: StopCondition,
        stop: &AtomicBool,
    ) -> Result<(StopReason, CountSummary), Failure> {
        let mut stats = CountStats::default();
        let mut recovery = BaudRecovery::new();
        let mut initial = None;
        loop {
            let damaged = station.stats().damaged;
            let state = (&mut stats, &mut recovery);
            match self.session(&mut station, (&identity, &mut initial), state, condition, stop) {
                Ok(reason) => return Ok((reason, stats.summary())),
                Err(SessionError::Fatal(failure)) => return Err(failure),
                Err(SessionError::Link(error)) if error.is_transient() => {
                    self.set_link_state(LinkState::Lost, &format!("{error}; reconnecting"));
                    let port = station.port().to_owned();
                    // A line on which only damaged packets arrive may carry whole ones at a lower rate.
                    let baud = match error {
                        LinkError::Timeout { .. } if station.stats().damaged > damaged => {
                            recovery.on_fallback();
                            station.baud_rate().lowered()
                        }
                        _ => BaudRate::at_max(station.baud_rate().max),
                    };
                    let (session, key) = (station.session(), station.take_key());
                    // The port must be closed before it can be opened again.
                    drop(station);
                    let expected = identity.name;
                    (station, identity) = match reconnect(&port, baud, session, condition, stop)? {
                        ReconnectOutcome::Connected(opened) => *opened,
                        ReconnectOutcome::Stopped(reason) => return Ok((reason, stats.summary())),
                    };
                    if identity.name != expected {
                        let problem = format!("{} answers on {port} instead of {expected}", identity.name);
                        return Err(Failure::failed(problem, "run the command again for the other station"));
                    }
                    station.sign_with(key);
                    self.set_link_state(
                        LinkState::Up,
                        &format!("the station is back{}", slowed(station.baud_rate())),
                    );
                }
                Err(SessionError::Link(error)) => return Err(error.into()),
            }
        }
    }

    fn set_link_state(&self, state: LinkState, message: &str) {
        match &self.sink {
            FrameSink::Text | FrameSink::Json => self.warn(message),
            FrameSink::Mqtt(publisher) => publisher.set_link_state(state, message),
            FrameSink::Web(publisher) | FrameSink::Terminal(publisher) => {
                publisher.set_link_state(state, message);
            }
        }
    }

    /// Logs an event of the station, unless that would disturb the view.
    fn log(&mut self, message: String) {
        match &mut self.sink {
            FrameSink::Text | FrameSink::Json | FrameSink::Web(_) => self.warn(&message),
            FrameSink::Mqtt(publisher) => publisher.log(&message),
            FrameSink::Terminal(publisher) => publisher.set_result(Ok(message)),
        }
    }

    fn warn(&self, message: &str) {
        match &self.label {
            None => warning!("{message}"),
            Some(station) => warning!("{station}: {message}"),
        }
    }

    /// Monitors the station until the line is lost. For viewers it streams label images, and previews where they show
    /// images. At the end it restores the settings that the first session found, which `initial` holds.
    fn session(
        &mut self,
        station: &mut StationClient<SerialTransport>,
        (identity, initial): (&Identity, &mut Option<Settings>),
        (stats, recovery): (&mut CountStats, &mut BaudRecovery),
        condition: StopCondition,
        stop: &AtomicBool,
    ) -> Result<StopReason, SessionError> {
        let settings = station.settings()?;
        let initial = *initial.get_or_insert(settings);
        let gates = self.sink.publisher().map_or_else(Gates::saved, |publisher| Ok(publisher.gates()))?;
        let provenance = Provenance::of(station, identity, &settings, gates)?;
        if let Some(publisher) = self.sink.publisher() {
            let preview = if matches!(self.sink, FrameSink::Web(_)) { Stream::On } else { Stream::Off };
            station.stream(Stream::On, preview)?;
            publisher.set_link_state(LinkState::Up, "");
        }
        let mut context = StationContext { identity, status: station.status()?, settings, provenance };
        let outcome = self.follow(station, &mut context, (stats, recovery), condition, stop);
        if let Err(SessionError::Link(_)) = outcome {
            // Events that arrived before the line was lost count, too.
            for event in station.take_events() {
                if condition.check(stats.frames(), stop).is_none() {
                    self.handle(event, &mut context, stats)?;
                }
            }
        }
        let reason = outcome?;
        if self.sink.publisher().is_some() {
            station.stream(initial.masks, initial.preview)?;
        }
        Ok(reason)
    }

    fn follow(
        &mut self,
        station: &mut StationClient<SerialTransport>,
        context: &mut StationContext<'_>,
        (stats, recovery): (&mut CountStats, &mut BaudRecovery),
        condition: StopCondition,
        stop: &AtomicBool,
    ) -> Result<StopReason, SessionError> {
        let mut last_status: Option<Instant> = None;
        let mut lost = 0;
        loop {
            let before = std::mem::replace(&mut lost, station.stats().events_lost);
            let newly_lost = lost - before;
            if newly_lost > 0 {
                self.log(format!(
                    "{newly_lost} counts or notices are lost: they were older than the last \
                         {RETRANSMIT_CAPACITY}, which the station buffers"
                ));
            }
            if let Some(reason) = condition.check(stats.frames(), stop) {
                return Ok(reason);
            }
            while let Some(command) = self.sink.publisher().and_then(ViewPublisher::next_command) {
                self.execute(command, station, context, stats, stop)?;
                last_status = None;
            }
            if let Some(baud) = recovery.probe_if_due(station)? {
                self.log(format!("the line runs at {baud} baud again"));
            }
            if last_status.is_none_or(|at| at.elapsed() >= self.status_interval()) {
                context.status = self.status(station)?;
                last_status = Some(Instant::now());
                if let Some(publisher) = self.sink.publisher() {
                    let line = (station.port(), station.baud());
                    let StationContext { identity, status, settings, .. } = &*context;
                    publisher.publish_station(line, identity, status, settings, station.stats());
                }
            }
            let Some(event) = station.next_event(POLL_INTERVAL)? else {
                if context.status.camera == CameraState::Finished {
                    return Ok(StopReason::EndOfInput);
                }
                continue;
            };
            self.handle(event, context, stats)?;
        }
    }

    /// Executes a command and publishes its result.
    ///
    /// # Errors
    /// [`SessionError`] when the line or the station is lost, or when the output fails for an event that arrived
    /// meanwhile. Other failures are published as the result.
    fn execute(
        &mut self,
        command: ViewCommand,
        station: &mut StationClient<SerialTransport>,
        context: &mut StationContext<'_>,
        stats: &mut CountStats,
        stop: &AtomicBool,
    ) -> Result<(), SessionError> {
        let (folder, provenance) = (self.recorder.folder().to_owned(), context.provenance.clone());
        let mut output = Ok(());
        let on_update = |update| match update {
            OperationUpdate::Progress(progress) => {
                if let Some(publisher) = self.sink.publisher_mut() {
                    publisher.update_activity(|activity| activity.flashing = Some(progress));
                }
            }
            OperationUpdate::Event(event) if output.is_ok() => output = self.handle(event, context, stats),
            OperationUpdate::Event(_) => {}
        };
        let result = match command {
            ViewCommand::Illumination { percent } => {
                set_illumination(station, percent).map(|(settings, message)| {
                    context.settings = settings;
                    message
                })
            }
            ViewCommand::Snapshot => snapshot(station, &folder, &provenance, stop, on_update),
            ViewCommand::Revert => revert(station),
            ViewCommand::Flash { name, onnx } => flash_model(station, &name, &onnx, stop, on_update),
            ViewCommand::Gates { gates } => gates.checked().map_err(SessionError::from).and_then(|gates| {
                context.provenance.gates = gates;
                self.set_gates(gates)
            }),
            ViewCommand::Record { on } => self.set_recording(on),
        };
        output?;
        let result = match result {
            Ok(message) => Ok(message),
            Err(SessionError::Link(error)) if error.is_transient() => return Err(SessionError::Link(error)),
            Err(SessionError::Link(error)) => Err(error.into()),
            Err(SessionError::Fatal(failure)) => Err(failure),
        };
        if let Some(publisher) = self.sink.publisher_mut() {
            publisher.update_activity(|activity| activity.flashing = None);
            publisher.set_result(result);
        }
        Ok(())
    }

    fn set_gates(&mut self, gates: Gates) -> Result<String, SessionError> {
        self.sink.publisher_mut().map_or(Ok(()), |publisher| publisher.set_gates(gates))?;
        Ok("the gates are saved".into())
    }

    fn set_recording(&mut self, on: bool) -> Result<String, SessionError> {
        let file = self.recorder.set_recording(on)?.map(|file| file.display().to_string());
        let message = file
            .as_ref()
            .map_or_else(|| "recording is off".to_owned(), |file| format!("recording to {file}"));
        if let Some(publisher) = self.sink.publisher_mut() {
            publisher.update_activity(|activity| activity.recording = file);
        }
        Ok(message)
    }

    /// Shows and records an event of the station.
    fn handle(
        &mut self,
        event: Incoming,
        context: &mut StationContext<'_>,
        stats: &mut CountStats,
    ) -> Result<(), Failure> {
        match event {
            Incoming::Event(ReliableEvent::Frame(report)) => {
                stats.record_frame(&report);
                let record = FrameRecord::new(&report, &context.provenance);
                self.publish_frame(record, stats, context.status.frames_unsent)?;
            }
            Incoming::Event(ReliableEvent::Notice(Notice::Camera(camera))) => {
                context.status.camera = camera;
                self.log(format!("camera: {}", camera_word(camera)));
            }
            Incoming::Event(ReliableEvent::Notice(Notice::Stage(progress))) => {
                notice(progress).into_iter().for_each(|message| self.log(message));
            }
            Incoming::Masks(fragment, bytes) => {
                self.sink
                    .publisher_mut()
                    .into_iter()
                    .for_each(|publisher| publisher.add_labels(fragment, &bytes));
            }
            Incoming::Preview(fragment, bytes) => {
                self.sink
                    .publisher_mut()
                    .into_iter()
                    .for_each(|publisher| publisher.add_preview(fragment, &bytes));
            }
        }
        Ok(())
    }

    const fn status_interval(&self) -> Duration {
        match self.sink {
            FrameSink::Text | FrameSink::Json | FrameSink::Mqtt(_) => STATUS_INTERVAL,
            FrameSink::Web(_) | FrameSink::Terminal(_) => VIEW_STATUS_INTERVAL,
        }
    }

    /// Requests the station's status; viewers see soon when no response arrives.
    fn status(&self, station: &mut StationClient<SerialTransport>) -> Result<Status, LinkError> {
        let Some(publisher) = self.sink.publisher() else { return station.status() };
        if let Some(status) = station.status_within(VIEW_STATUS_TIMEOUT)? {
            return Ok(status);
        }
        publisher.set_link_state(LinkState::Lost, "the station does not answer");
        let status = station.status()?;
        publisher.set_link_state(LinkState::Up, "the station answers again");
        Ok(status)
    }

    fn publish_frame(&mut self, record: FrameRecord, stats: &CountStats, unsent: u32) -> Result<(), Failure> {
        if let Some(message) = self.recorder.add(&record)? {
            if let Some(publisher) = self.sink.publisher_mut() {
                publisher.update_activity(|activity| {
                    activity.recording = None;
                    activity.failed = true;
                    activity.result = Some(message.clone());
                });
            }
            if !matches!(self.sink, FrameSink::Terminal(_)) {
                self.warn(&message);
            }
        }
        match &mut self.sink {
            FrameSink::Text => {
                let line = stats.text_line(&record, unsent);
                match &self.label {
                    None => output::line(&line),
                    Some(station) => output::line(&format!("{station}  {line}")),
                }
            }
            FrameSink::Json => output::json(&record),
            FrameSink::Mqtt(publisher) => publisher.publish_frame(&record),
            FrameSink::Web(publisher) | FrameSink::Terminal(publisher) => {
                publisher.publish_frame(record, stats.direction().word(), stats.frames_per_second());
                Ok(())
            }
        }
    }
}

fn notice(progress: StageProgress) -> Option<String> {
    match progress {
        StageProgress::Failed { digest, reason } => Some(format!("model {digest} does not run: {reason}")),
        StageProgress::Confirmed { digest } => Some(format!("model {digest} is confirmed")),
        _ => None,
    }
}

/// What a session knows about its station besides the frames.
struct StationContext<'a> {
    identity: &'a Identity,
    status: Status,
    settings: Settings,
    provenance: Provenance,
}

/// A note about a line that is slower than requested.
fn slowed(BaudRate { max, current }: BaudRate) -> String {
    if current == max { String::new() } else { format!(", at {current} baud instead of {max}") }
}
