//! Commands of viewers, executed at the station.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use host_console::Failure;
use shared::wire::{Downgrade, Setting, Settings};

use super::error::SessionError;
use crate::monitor::view::{ViewCommand, ViewPublisher};
use crate::records::capture_folder::{CaptureFolder, first_token};
use crate::records::frame_record::FrameRecord;
use crate::records::provenance::Provenance;
use crate::records::recording::Recording;
use crate::station::client::{
    CaptureError, FlashError, FlashStep, Flashed, LinkError, RevertError, SerialLine, Station, flash,
    revert_running, slot_name,
};
use crate::station::model_check::check_model;
use crate::support::brightness::from_percent;

/// Records frames to a file, if recording is on.
#[derive(Debug)]
pub(super) struct Recorder {
    /// The folder for files without a name of their own; empty for the current folder.
    folder: PathBuf,
    recording: Option<Recording>,
}

impl Recorder {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { folder, recording: None }
    }

    /// Replaces the file; `None` turns recording off.
    pub(super) fn record(&mut self, recording: Option<Recording>) {
        self.recording = recording;
    }

    /// Records a frame, if recording is on.
    pub(super) fn add(&mut self, record: &FrameRecord) -> Result<(), Failure> {
        self.recording.as_mut().map_or(Ok(()), |recording| recording.add(record))
    }

    /// Turns recording on, to a new file unless one is open, or off; the open file.
    fn set_recording(&mut self, on: bool) -> Result<Option<PathBuf>, Failure> {
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

/// A name that sorts after those of earlier calls.
fn dated(stem: &str, ending: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{stem}-{}{ending}", since.as_millis())
}

/// Executes a command and publishes its result; the settings if they have changed.
///
/// # Errors
/// [`SessionError`] when the line or the station is lost. Other failures are published as the result.
pub(super) fn execute(
    command: ViewCommand,
    station: &mut Station<SerialLine>,
    publisher: &mut ViewPublisher,
    recorder: &mut Recorder,
    provenance: &Provenance,
    stop: &AtomicBool,
) -> Result<Option<Settings>, SessionError> {
    let mut settings = None;
    let result = match command {
        ViewCommand::Illumination { percent } => {
            set_illumination(station, percent).map(|(changed, message)| {
                settings = Some(changed);
                message
            })
        }
        ViewCommand::Gates { gates } => {
            publisher.set_gates(gates).map(|()| "the gates are saved".into()).map_err(SessionError::Fatal)
        }
        ViewCommand::Record { on } => recorder.set_recording(on).map_err(SessionError::Fatal).map(|file| {
            let message = file.as_ref().map_or_else(
                || "recording is off".to_owned(),
                |file| format!("recording to {}", file.display()),
            );
            publisher.update_activity(|activity| {
                activity.recording = file.map(|file| file.display().to_string());
            });
            message
        }),
        ViewCommand::Snapshot => {
            snapshot(station, recorder.folder.join(dated("snapshot", "")), provenance, stop)
        }
        ViewCommand::Revert => revert(station),
        ViewCommand::Flash { name, onnx } => {
            let result = flash_model(station, publisher, &name, &onnx, stop);
            publisher.update_activity(|activity| activity.flashing = None);
            result
        }
    };
    match result {
        Ok(message) => publisher.set_result(Ok(message)),
        Err(SessionError::Link(error)) if error.is_passing() => return Err(SessionError::Link(error)),
        Err(SessionError::Link(error)) => publisher.set_result(Err(error.into())),
        Err(SessionError::Fatal(failure)) => publisher.set_result(Err(failure)),
    }
    Ok(settings)
}

fn set_illumination(
    station: &mut Station<SerialLine>,
    percent: f32,
) -> Result<(Settings, String), SessionError> {
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
) -> Result<String, SessionError> {
    let captured = match station.capture(first_token(), stop) {
        Ok(outcome) => outcome.into_frame()?,
        Err(CaptureError::Link(error)) => return Err(error.into()),
        Err(error) => return Err(Failure::from(error).into()),
    };
    let record = CaptureFolder::new(&path).write(&captured, provenance)?;
    Ok(format!("frame {} with {} nuclei is in {}", record.frame.frame, record.frame.count, path.display()))
}

fn revert(station: &mut Station<SerialLine>) -> Result<String, SessionError> {
    match revert_running(station) {
        Ok((_, after)) => Ok(format!("{} runs again", slot_name(after.active))),
        Err(RevertError::Link(error)) => Err(error.into()),
        Err(error) => Err(Failure::from(error).into()),
    }
}

/// Flashes a model and publishes the progress.
fn flash_model(
    station: &mut Station<SerialLine>,
    publisher: &mut ViewPublisher,
    name: &str,
    onnx: &[u8],
    stop: &AtomicBool,
) -> Result<String, SessionError> {
    check_model(onnx).map_err(|error| {
        let next = "nothing was sent; choose a file that nuclei-host train or export wrote";
        Failure::failed(
            format!("{name} is no model that a station takes: {}", host_console::one_line(&error)),
            next,
        )
    })?;
    let length = onnx.len().max(1) as u64;
    let mut progress =
        |message: String| publisher.update_activity(|activity| activity.flashing = Some(message));
    let flashed = flash(station, onnx, Downgrade::Refused, stop, |step| match step {
        FlashStep::Resumed { .. } | FlashStep::Sent(_) => {}
        FlashStep::Stored { stored } => {
            progress(format!("sending {name}: {} %", u64::from(stored) * 100 / length));
        }
        FlashStep::Verifying => progress(format!("the station verifies {name} and runs its golden frame")),
        FlashStep::Trial { frames_left } => {
            progress(format!("{name} is on trial: {frames_left} frames to pass"))
        }
    });
    match flashed {
        Ok(Flashed::Confirmed(_)) => Ok(format!("{name} is confirmed and runs")),
        Ok(Flashed::Stopped { .. }) => Ok("stopped".into()),
        Err(FlashError::Link(error)) => Err(LinkError::into(error)),
        Err(error) => Err(error.into_failure(name).into()),
    }
}
