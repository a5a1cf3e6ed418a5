//! What a person asks for on the page, done at the station.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use host_console::Failure;
use shared::wire::{Downgrade, Setting, Settings};

use super::viewer::Broken;
use crate::monitor::web::{Command, Panel};
use crate::records::capture_folder::{CaptureFolder, first_token};
use crate::records::frame_record::FrameRecord;
use crate::records::provenance::Provenance;
use crate::records::recording::Recording;
use crate::station::client::{
    CaptureError, FlashError, FlashStep, Flashed, LinkError, RevertError, SerialLine, Shot, Station, flash,
    revert_running, slot_name,
};
use crate::station::model_check::check_model;
use crate::support::brightness::from_percent;

/// Where frames are recorded, and whether.
#[derive(Debug)]
pub(super) struct Recorder {
    /// Where files go that nobody names; empty for the current folder.
    folder: PathBuf,
    recording: Option<Recording>,
}

impl Recorder {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { folder, recording: None }
    }

    /// From now on frames are recorded there, or no more.
    pub(super) fn record(&mut self, recording: Option<Recording>) {
        self.recording = recording;
    }

    /// Records a frame, where frames are recorded.
    pub(super) fn add(&mut self, record: &FrameRecord) -> Result<(), Failure> {
        self.recording.as_mut().map_or(Ok(()), |recording| recording.add(record))
    }

    /// Begins a new file, unless one is open, or ends it; the file in use.
    fn switch(&mut self, on: bool) -> Result<Option<PathBuf>, Failure> {
        match (on, &self.recording) {
            (false, _) => self.recording = None,
            (true, Some(_)) => {}
            (true, None) => {
                self.recording = Some(Recording::open_within(&self.folder, &dated("counts", ".jsonl"))?);
            }
        }
        Ok(self.recording.as_ref().map(|recording| recording.path().to_owned()))
    }
}

/// A name that later ones sort after.
fn dated(stem: &str, ending: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{stem}-{}{ending}", since.as_millis())
}

/// Does what is asked for and tells the page what came of it; the settings where they have changed.
///
/// # Errors
/// [`Broken`] when the line or the station is gone. What merely fails is told on the page.
pub(super) fn act(
    command: Command,
    station: &mut Station<SerialLine>,
    panel: &mut Panel,
    recorder: &mut Recorder,
    provenance: &Provenance,
    stop: &AtomicBool,
) -> Result<Option<Settings>, Broken> {
    let mut settings = None;
    let outcome = match command {
        Command::Illumination { percent } => illuminate(station, percent).map(|(set, told)| {
            settings = Some(set);
            told
        }),
        Command::Gates { gates } => {
            panel.set_gates(gates).map(|()| "the gates are kept".into()).map_err(Broken::Output)
        }
        Command::Record { on } => recorder.switch(on).map_err(Broken::Output).map(|file| {
            let told = file.as_ref().map_or_else(
                || "nothing is recorded any more".to_owned(),
                |file| format!("recording to {}", file.display()),
            );
            panel.work(|work| work.recording = file.map(|file| file.display().to_string()));
            told
        }),
        Command::Snapshot => snapshot(station, recorder.folder.join(dated("snapshot", "")), provenance, stop),
        Command::Revert => revert(station),
        Command::Flash { name, onnx } => {
            let outcome = put(station, panel, &name, &onnx, stop);
            panel.work(|work| work.flashing = None);
            outcome
        }
    };
    match outcome {
        Ok(told) => panel.told(Ok(told)),
        Err(Broken::Link(error)) if error.is_passing() => return Err(Broken::Link(error)),
        Err(Broken::Link(error)) => panel.told(Err(error.into())),
        Err(Broken::Output(failure)) => panel.told(Err(failure)),
    }
    Ok(settings)
}

fn illuminate(station: &mut Station<SerialLine>, percent: f32) -> Result<(Settings, String), Broken> {
    let wrong = || Failure::usage(format!("{percent} is no brightness"), "0 to 100 per cent");
    let brightness = from_percent(percent.into()).ok_or_else(wrong)?;
    let settings = station.set(Setting::Illumination(brightness))?;
    Ok((settings, format!("illumination {percent:.0} %")))
}

/// Writes the next frame, its labels and its evidence into a folder of its own, at `path`.
fn snapshot(
    station: &mut Station<SerialLine>,
    path: PathBuf,
    provenance: &Provenance,
    stop: &AtomicBool,
) -> Result<String, Broken> {
    let captured = match station.capture(first_token(), stop) {
        Ok(Shot::Taken(captured)) => captured,
        Ok(Shot::Stopped) => return Ok("stopped".into()),
        Ok(Shot::Finished) => return Ok("the pictures came to their end: nothing was taken".into()),
        Ok(Shot::CameraAbsent) => {
            let next = "connect a camera; nothing was taken";
            return Err(Failure::failed("the station has no camera that delivers", next).into());
        }
        Err(CaptureError::Link(error)) => return Err(error.into()),
        Err(error) => return Err(Failure::from(error).into()),
    };
    let record = CaptureFolder::new(&path).write(&captured, provenance)?;
    Ok(format!("frame {} with {} nuclei is in {}", record.frame.frame, record.frame.count, path.display()))
}

fn revert(station: &mut Station<SerialLine>) -> Result<String, Broken> {
    match revert_running(station) {
        Ok((_, after)) => Ok(format!("{} runs again", slot_name(after.active))),
        Err(RevertError::Link(error)) => Err(error.into()),
        Err(error) => Err(Failure::from(error).into()),
    }
}

/// Puts a model on the station, telling the page how far it is.
fn put(
    station: &mut Station<SerialLine>,
    panel: &mut Panel,
    name: &str,
    onnx: &[u8],
    stop: &AtomicBool,
) -> Result<String, Broken> {
    check_model(onnx).map_err(|error| {
        let next = "nothing was sent; choose a file that nuclei-host train or export wrote";
        Failure::failed(
            format!("{name} is no model that a station takes: {}", host_console::one_line(&error)),
            next,
        )
    })?;
    let length = onnx.len().max(1) as u64;
    let mut tell = |told: String| panel.work(|work| work.flashing = Some(told));
    let flashed = flash(station, onnx, Downgrade::Refused, stop, |step| match step {
        FlashStep::Resumed { .. } | FlashStep::Sent(_) => {}
        FlashStep::Stored { stored } => {
            tell(format!("sending {name}: {} %", u64::from(stored) * 100 / length));
        }
        FlashStep::Verifying => tell(format!("the station verifies {name} and runs its golden frame")),
        FlashStep::Trial { frames_left } => tell(format!("{name} is on trial: {frames_left} frames to pass")),
    });
    match flashed {
        Ok(Flashed::Confirmed(_)) => Ok(format!("{name} is confirmed and runs")),
        Ok(Flashed::Stopped { .. }) => Ok("stopped".into()),
        Err(FlashError::Link(error)) => Err(LinkError::into(error)),
        Err(error) => Err(error.into_failure(name).into()),
    }
}
