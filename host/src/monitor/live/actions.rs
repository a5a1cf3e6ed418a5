//! Commands of viewers, executed at the station.
//!
//! Long commands forward the events that arrive meanwhile, and report progress with every response of the station.
//! Recordings therefore have no gaps, and viewers see that the station is connected.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use host_console::Failure;
use shared::wire::{Downgrade, Setting, Settings};

use super::error::SessionError;
use super::reconnect::POLL_INTERVAL;
use crate::records::capture_folder::{CaptureFolder, first_token};
use crate::records::frame_record::FrameRecord;
use crate::records::provenance::Provenance;
use crate::records::recording::Recording;
use crate::station::client::{
    CaptureError, CaptureProgress, FlashError, FlashOutcome, LinkError, OperationUpdate, RevertError,
    SerialTransport, StationClient, Transport, flash, revert_running, slot_name,
};
use crate::station::model_check::check_model;
use crate::support::brightness::from_percent;

/// Records frames to a file, if recording is on.
#[derive(Debug)]
pub(super) struct Recorder {
    /// The folder for files without a given name; empty for the current folder.
    folder: PathBuf,
    recording: Option<Recording>,
    /// Whether the command line names the file, so that the command fails if the recording does.
    is_required: bool,
    failure: Option<Failure>,
}

impl Recorder {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { folder, recording: None, is_required: false, failure: None }
    }

    /// Records to the file that the command line names; `None` turns recording off.
    pub(super) fn record(&mut self, recording: Option<Recording>) {
        self.is_required = recording.is_some();
        self.recording = recording;
    }

    /// Records a frame, if recording is on. A failure ends the recording, and nothing else: the message for those who
    /// watch.
    ///
    /// # Errors
    /// [`Failure`] when the program that reads the recording has closed its pipe.
    pub(super) fn add(&mut self, record: &FrameRecord) -> Result<Option<String>, Failure> {
        let Some(recording) = &mut self.recording else { return Ok(None) };
        match recording.add(record) {
            Ok(()) => Ok(None),
            Err(failure) if failure.is_closed_pipe() => Err(failure),
            Err(failure) => {
                let text = failure.to_string().replace('\n', ";");
                self.recording = None;
                if self.is_required {
                    self.failure = Some(failure);
                }
                Ok(Some(format!("the recording has ended, and counting goes on; {text}")))
            }
        }
    }

    /// Why the recording that the command line asks for has ended early, if it has.
    pub(super) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// The folder for files without a given name.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Turns recording on, to a new file unless one is open, or off; returns the open file.
    pub(super) fn set_recording(&mut self, on: bool) -> Result<Option<PathBuf>, Failure> {
        match (on, &self.recording) {
            (false, _) => self.recording = None,
            (true, Some(_)) => {}
            (true, None) => {
                self.is_required = false;
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

/// Sets the brightness; returns the current settings.
pub(super) fn set_illumination(
    station: &mut StationClient<SerialTransport>,
    percent: f32,
) -> Result<(Settings, String), SessionError> {
    let wrong = || Failure::usage(format!("{percent} is not a valid brightness"), "0 to 100 percent");
    let brightness = from_percent(percent.into()).ok_or_else(wrong)?;
    let settings = station.set(Setting::Illumination(brightness))?;
    Ok((settings, format!("illumination {percent:.0} %")))
}

/// Writes the next frame, its labels and its evidence to a new folder within `folder`.
pub(super) fn snapshot(
    station: &mut StationClient<SerialTransport>,
    folder: &Path,
    provenance: &Provenance,
    stop: &AtomicBool,
    mut on_update: impl FnMut(OperationUpdate<String>),
) -> Result<String, SessionError> {
    let path = folder.join(dated("snapshot", ""));
    let outcome = station.capture(first_token(), stop, |update| {
        on_update(update.map(|progress| match progress {
            CaptureProgress::Pending => "taking a snapshot".to_owned(),
            CaptureProgress::Reading { bytes, length } => {
                format!("reading the snapshot: {} % of {length} bytes", percent(bytes, length))
            }
        }));
    });
    let captured = match outcome {
        Ok(outcome) => outcome.into_frame()?,
        Err(CaptureError::Link(error)) => return Err(error.into()),
        Err(error) => return Err(Failure::from(error).into()),
    };
    let record = CaptureFolder::new(&path).write(&captured, provenance)?;
    Ok(format!("saved frame {} with {} nuclei to {}", record.frame.frame, record.frame.count, path.display()))
}

/// Reverts to the previous model.
pub(super) fn revert(station: &mut StationClient<SerialTransport>) -> Result<String, SessionError> {
    match revert_running(station) {
        Ok((_, after)) => Ok(format!("{} is active again", slot_name(after.active))),
        Err(RevertError::Link(error)) => Err(error.into()),
        Err(error) => Err(Failure::from(error).into()),
    }
}

/// Checks and flashes a model.
pub(super) fn flash_model<T: Transport>(
    station: &mut StationClient<T>,
    name: &str,
    onnx: &[u8],
    stop: &AtomicBool,
    mut on_update: impl FnMut(OperationUpdate<String>),
) -> Result<String, SessionError> {
    let checked = while_receiving(
        station,
        || check_model(onnx),
        |update| {
            on_update(update.map(|()| format!("{name}: checking the model")));
        },
    )?;
    checked.map_err(|error| {
        let next = "nothing was sent; choose a file written by nuclei-host train or export";
        Failure::failed(
            format!("{name} is not a model that a station accepts: {}", host_console::one_line(&error)),
            next,
        )
    })?;
    let flashed = flash(station, onnx, Downgrade::Refused, stop, |update| {
        on_update(update.map(|progress| format!("{name}: {progress}")));
    });
    match flashed {
        Ok(FlashOutcome::Confirmed(_)) => Ok(format!("{name} is confirmed and active")),
        Ok(FlashOutcome::Stopped { .. }) => Ok("stopped".into()),
        Err(FlashError::Link(error)) => Err(LinkError::into(error)),
        Err(error) => Err(error.into_failure(name).into()),
    }
}

/// Runs work on another thread, and receives from the station meanwhile, so that its events do not overflow the line's
/// buffers.
fn while_receiving<T: Transport, R: Send>(
    station: &mut StationClient<T>,
    work: impl FnOnce() -> R + Send,
    mut on_update: impl FnMut(OperationUpdate<()>),
) -> Result<R, LinkError> {
    std::thread::scope(|scope| {
        let work = scope.spawn(work);
        while !work.is_finished() {
            station.wait(POLL_INTERVAL)?;
            on_update(OperationUpdate::Progress(()));
            station.take_events().into_iter().map(OperationUpdate::Event).for_each(&mut on_update);
        }
        work.join().or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn percent(part: u32, whole: u32) -> u64 {
    100 * u64::from(part) / u64::from(whole.max(1))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use shared::wire::{CameraState, Notice, Refusal, ReliableEvent, Request, Response};

    use super::*;
    use crate::records::test_report::test_report;
    use crate::station::bundled::BUNDLED_MODEL;
    use crate::station::client::{Incoming, memory_line};

    #[test]
    fn events_arrive_while_a_model_is_checked() {
        let notice = ReliableEvent::Notice(Notice::Camera(CameraState::Running));
        let event = notice.clone();
        let line = memory_line(move |request, _| match request {
            Request::Slots => (vec![event.clone()], Some((Response::Refused(Refusal::Busy), vec![]))),
            _ => (vec![], Some((Response::Refused(Refusal::Busy), vec![]))),
        });
        let mut station = StationClient::new(line, "test", 921_600);
        // The event has arrived when the check begins, and nobody has taken it.
        station.slots().unwrap_err();
        let mut updates = Vec::new();
        let flashed = flash_model(&mut station, "x.onnx", BUNDLED_MODEL, &AtomicBool::new(false), |update| {
            if updates.last() != Some(&update) {
                updates.push(update);
            }
        });
        let checking = OperationUpdate::Progress("x.onnx: checking the model".to_owned());
        let expected = [checking.clone(), OperationUpdate::Event(Incoming::Event(notice)), checking];
        assert_eq!(updates, expected);
        assert!(matches!(flashed, Err(SessionError::Link(LinkError::Refused(Refusal::Busy)))));
    }

    fn record() -> FrameRecord {
        FrameRecord::new(&test_report(), &Provenance::of_nothing(None))
    }

    #[test]
    fn a_disk_that_is_full_ends_the_recording_alone() {
        for is_required in [false, true] {
            let mut recorder = Recorder::new(PathBuf::new());
            recorder.recording = Some(Recording::open(Path::new("/dev/full")).unwrap());
            recorder.is_required = is_required;
            let message = recorder.add(&record()).unwrap().unwrap();
            assert!(
                message.starts_with("the recording has ended, and counting goes on")
                    && message.contains("free space on the disk")
                    && !message.contains('\n'),
                "{message}"
            );
            assert_eq!(recorder.add(&record()).unwrap(), None, "it is off");
            assert_eq!(recorder.take_failure().is_some(), is_required);
        }
    }
}
