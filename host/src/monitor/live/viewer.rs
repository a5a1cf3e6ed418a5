//! Frames shown and recorded as they come, through whatever happens to the station.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use host_console::{Failure, output};
use shared::wire::{CameraState, Identity, MAX_KEPT, News, Notice, Settings, StageProgress, Status, Stream};

use super::buttons::{Recorder, act};
use super::show::Show;
use super::waiting::{Awaited, End, Ended, is_over, wait_for};
use super::{Summary, Watch};
use crate::records::frame_record::FrameRecord;
use crate::records::gates::Gates;
use crate::records::provenance::{Provenance, ProvenanceError};
use crate::records::recording::Recording;
use crate::station::client::{Climb, LineSpeed, LinkError, SerialLine, Station, Told, camera_word};
use crate::station::link_state::LinkState;

/// A host that asks nothing for long counts as gone at the station.
const STATUS_EVERY: Duration = Duration::from_secs(2);
/// A page tells within two seconds that the station is lost: it asks this often, and waits this long.
const PAGE_STATUS_EVERY: Duration = Duration::from_millis(600);
const PAGE_PATIENCE: Duration = Duration::from_millis(900);
pub(super) const LOOK_AROUND: Duration = Duration::from_millis(200);

/// Why watching failed.
#[derive(Debug)]
pub(super) enum Broken {
    Link(LinkError),
    Output(Failure),
}

impl From<LinkError> for Broken {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<ProvenanceError> for Broken {
    fn from(error: ProvenanceError) -> Self {
        match error {
            ProvenanceError::Link(error) => Self::Link(error),
            ProvenanceError::Kept(failure) => Self::Output(failure),
        }
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Output(failure)
    }
}

/// Shows and records a station's frames.
#[derive(Debug)]
pub struct Viewer {
    show: Show,
    recorder: Recorder,
    /// What its station is called among several: by its port until its name is known.
    among: Option<String>,
}

impl Viewer {
    /// A viewer that also records, where it is given a recording.
    pub fn new(show: Show, record: Option<Recording>) -> Self {
        let mut viewer = Self { show, recorder: Recorder::new(PathBuf::new()), among: None };
        viewer.record(record);
        viewer
    }

    /// A viewer of one station of several, on that port.
    pub fn among_several(show: Show, port: &str) -> Self {
        Self { show, recorder: Recorder::new(PathBuf::new()), among: Some(port.to_owned()) }
    }

    /// The station is known by that name; what is recorded of it goes into `folder`.
    pub fn joined(&mut self, name: &str, folder: PathBuf, record: Option<Recording>) {
        self.among = Some(name.to_owned());
        self.recorder = Recorder::new(folder);
        self.record(record);
    }

    /// Whether its station is one of several.
    pub const fn is_among_several(&self) -> bool {
        self.among.is_some()
    }

    fn record(&mut self, record: Option<Recording>) {
        if let (Some(panel), Some(record)) = (self.show.panel_mut(), &record) {
            panel.work(|work| work.recording = Some(record.path().display().to_string()));
        }
        self.recorder.record(record);
    }

    /// Tells that no station is there yet, and why.
    pub fn absent(&self, error: &LinkError) {
        self.link(LinkState::Absent, &format!("{error}; it is waited for"));
    }

    /// Tells that nothing more comes from the station, and why.
    pub fn failed(&self, failure: &Failure) {
        self.link(LinkState::Lost, &failure.to_string().replace('\n', ";"));
    }

    /// Tells viewers that nothing more comes from the station, as was to be.
    pub fn finished(&self) {
        if let Some(panel) = self.show.panel() {
            panel.link(LinkState::Lost, "watching it has ended");
        }
    }

    /// Watches until the end, waiting for a station that goes away.
    ///
    /// # Errors
    /// [`Failure`] when the output fails or the station is another one when it comes back.
    pub fn watch(
        &mut self,
        (mut station, mut identity): (Station<SerialLine>, Identity),
        end: End,
        stop: &AtomicBool,
    ) -> Result<(Ended, Summary), Failure> {
        let mut watch = Watch::new(None);
        let mut climb = Climb::new();
        let mut before = None;
        loop {
            let damaged = station.traffic().damaged;
            match self.session(&mut station, (&identity, &mut before), (&mut watch, &mut climb), end, stop) {
                Ok(ended) => return Ok((ended, watch.summary())),
                Err(Broken::Output(failure)) => return Err(failure),
                Err(Broken::Link(error)) if error.is_passing() => {
                    self.link(LinkState::Lost, &format!("{error}; waiting for it to come back"));
                    let port = station.port().to_owned();
                    // A line on which only damaged packets come may get whole ones across at a slower speed.
                    let speed = match error {
                        LinkError::Silent { .. } if station.traffic().damaged > damaged => {
                            climb.fell();
                            station.speed().lowered()
                        }
                        _ => LineSpeed::top(station.speed().top),
                    };
                    let (numbering, key) = (station.numbering(), station.take_key());
                    // The port must be closed before it can be opened again.
                    drop(station);
                    let known = identity.name;
                    (station, identity) = match wait_for(&port, speed, numbering, end, stop)? {
                        Awaited::Back(back) => *back,
                        Awaited::Over(ended) => return Ok((ended, watch.summary())),
                    };
                    if identity.name != known {
                        let problem = format!("{} answers on {port}, where {known} was", identity.name);
                        return Err(Failure::failed(problem, "run the command again for the other station"));
                    }
                    station.sign_with(key);
                    self.link(LinkState::Up, &format!("the station is back{}", slowed(station.speed())));
                }
                Err(Broken::Link(error)) => return Err(error.into()),
            }
        }
    }

    fn link(&self, state: LinkState, message: &str) {
        match &self.show {
            Show::Lines | Show::Json => self.complain(message),
            Show::Broker(outlet) => outlet.link(state, message),
            Show::Page(panel) | Show::Terminal(panel) => panel.link(state, message),
        }
    }

    /// Tells what happened at the station, where it does not spoil what is shown.
    fn note(&mut self, message: String) {
        match &mut self.show {
            Show::Lines | Show::Json | Show::Page(_) => self.complain(&message),
            Show::Broker(outlet) => outlet.note(&message),
            Show::Terminal(panel) => panel.told(Ok(message)),
        }
    }

    fn complain(&self, message: &str) {
        match &self.among {
            None => eprintln!("{message}"),
            Some(station) => eprintln!("{station}: {message}"),
        }
    }

    /// Watches as long as the line lasts. For viewers masks are streamed, and previews where they show pictures; at the
    /// end the settings are restored that the first session found, which `before` keeps.
    fn session(
        &mut self,
        station: &mut Station<SerialLine>,
        (identity, before): (&Identity, &mut Option<Settings>),
        (watch, climb): (&mut Watch, &mut Climb),
        end: End,
        stop: &AtomicBool,
    ) -> Result<Ended, Broken> {
        let settings = station.settings()?;
        let before = *before.get_or_insert(settings);
        watch.set_pixel_size(settings.pixel_size);
        let gates = self.show.panel().map_or_else(Gates::kept, |panel| Ok(panel.gates()))?;
        let provenance = Provenance::of(station, identity, &settings, gates)?;
        if let Some(panel) = self.show.panel() {
            let preview = if matches!(self.show, Show::Page(_)) { Stream::On } else { Stream::Off };
            station.stream(Stream::On, preview)?;
            panel.link(LinkState::Up, "");
        }
        let mut known = Known { identity, status: station.status()?, settings, provenance };
        let followed = self.follow(station, &mut known, (watch, climb), end, stop);
        if let Err(Broken::Link(_)) = followed {
            // What came before the line was lost counts as well.
            for told in station.take_events() {
                if is_over(end, watch.frames(), stop).is_none() {
                    self.take(told, &mut known, watch)?;
                }
            }
        }
        let ended = followed?;
        if self.show.panel().is_some() {
            station.stream(before.masks, before.preview)?;
        }
        Ok(ended)
    }

    fn follow(
        &mut self,
        station: &mut Station<SerialLine>,
        known: &mut Known<'_>,
        (watch, climb): (&mut Watch, &mut Climb),
        end: End,
        stop: &AtomicBool,
    ) -> Result<Ended, Broken> {
        let mut asked: Option<Instant> = None;
        let mut lost = 0;
        loop {
            let before = std::mem::replace(&mut lost, station.traffic().events_lost);
            let newly_lost = lost - before;
            if newly_lost > 0 {
                self.note(format!(
                    "{newly_lost} counts or notices are lost: the station keeps the last {MAX_KEPT}, and they were older"
                ));
            }
            if let Some(ended) = is_over(end, watch.frames(), stop) {
                return Ok(ended);
            }
            if let Some(panel) = self.show.panel_mut() {
                while let Some(command) = panel.asked() {
                    let changed = act(command, station, panel, &mut self.recorder, &known.provenance, stop)?;
                    known.settings = changed.unwrap_or(known.settings);
                    known.provenance.gates = panel.gates();
                    asked = None;
                }
            }
            if let Some(speed) = climb.when_due(station)? {
                self.note(format!("the line runs at {speed} baud again"));
            }
            if asked.is_none_or(|asked| asked.elapsed() >= self.status_every()) {
                known.status = self.status(station)?;
                asked = Some(Instant::now());
                if let Some(panel) = self.show.panel() {
                    let line = (station.port(), station.baud());
                    let Known { identity, status, settings, .. } = &*known;
                    panel.station(line, identity, status, settings, station.traffic());
                }
            }
            let Some(told) = station.next_event(LOOK_AROUND)? else {
                if known.status.camera == CameraState::Finished {
                    return Ok(Ended::Finished);
                }
                continue;
            };
            self.take(told, known, watch)?;
        }
    }

    /// Shows and records what the station told.
    fn take(&mut self, told: Told, known: &mut Known<'_>, watch: &mut Watch) -> Result<(), Failure> {
        match told {
            Told::News(News::Frame(report)) => {
                let line = watch.see(&report, known.status.frames_unsent);
                self.frame(&FrameRecord::new(&report, &known.provenance), &line, watch)?;
            }
            Told::News(News::Notice(Notice::Camera(camera))) => {
                known.status.camera = camera;
                self.note(format!("camera: {}", camera_word(camera)));
            }
            Told::News(News::Notice(Notice::Stage(progress))) => {
                notice(progress).into_iter().for_each(|message| self.note(message));
            }
            Told::Masks(piece, bytes) => {
                self.show.panel_mut().into_iter().for_each(|panel| panel.masks(piece, &bytes));
            }
            Told::Preview(piece, bytes) => {
                self.show.panel_mut().into_iter().for_each(|panel| panel.preview(piece, &bytes));
            }
        }
        Ok(())
    }

    const fn status_every(&self) -> Duration {
        match self.show {
            Show::Lines | Show::Json | Show::Broker(_) => STATUS_EVERY,
            Show::Page(_) | Show::Terminal(_) => PAGE_STATUS_EVERY,
        }
    }

    /// Asks how the station is; a page is told soon when no answer comes.
    fn status(&self, station: &mut Station<SerialLine>) -> Result<Status, LinkError> {
        let Some(panel) = self.show.panel() else { return station.status() };
        if let Some(status) = station.status_within(PAGE_PATIENCE)? {
            return Ok(status);
        }
        panel.link(LinkState::Lost, "the station does not answer");
        let status = station.status()?;
        panel.link(LinkState::Up, "the station answers again");
        Ok(status)
    }

    fn frame(&mut self, record: &FrameRecord, line: &str, watch: &Watch) -> Result<(), Failure> {
        self.recorder.add(record)?;
        match &mut self.show {
            Show::Lines => match &self.among {
                None => output::line(line),
                Some(station) => output::line(&format!("{station}  {line}")),
            },
            Show::Json => output::json(record),
            Show::Broker(outlet) => outlet.frame(record),
            Show::Page(panel) | Show::Terminal(panel) => {
                panel.frame(record, watch.direction().word(), watch.frames_per_second());
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

/// What is known of the station beside its frames.
struct Known<'a> {
    identity: &'a Identity,
    status: Status,
    settings: Settings,
    provenance: Provenance,
}

/// What is told of a line that is slower than it was asked to be.
fn slowed(LineSpeed { top, now }: LineSpeed) -> String {
    if now == top { String::new() } else { format!(", at {now} baud instead of {top}") }
}
