//! Frames shown and recorded as they come, through whatever happens to the station.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shared::wire::{CameraState, Event, FrameReport, Notice, StageProgress};

use super::{Summary, Watch};
use crate::failure::Failure;
use crate::frame_record::FrameRecord;
use crate::link::{LinkError, SerialLine, Station, camera_word};
use crate::output;
use crate::recording::Recording;

/// A host that asks nothing for long counts as gone at the station.
const STATUS_EVERY: Duration = Duration::from_secs(2);
const LOOK_AROUND: Duration = Duration::from_millis(200);
/// Pause between attempts to find a station that went away.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// How frames are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// A line for a person.
    Lines,
    /// A JSON object a line.
    Json,
}

/// When watching ends by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct End {
    /// At this time.
    pub at: Option<Instant>,
    /// After so many frames.
    pub frames: Option<u32>,
}

/// Why watching ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As was asked for.
    AsAsked,
    /// By ctrl-C.
    Stopped,
    /// The pictures came to their end.
    Finished,
}

/// Why watching failed.
#[derive(Debug)]
enum Broken {
    Link(LinkError),
    Output(Failure),
}

impl From<LinkError> for Broken {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Output(failure)
    }
}

/// Shows and records frames.
pub struct Viewer {
    show: Show,
    record: Option<Recording>,
}

impl Viewer {
    /// A viewer that also records, where it is given a recording.
    pub const fn new(show: Show, record: Option<Recording>) -> Self {
        Self { show, record }
    }

    /// Watches until the end, waiting for a station that goes away.
    ///
    /// # Errors
    /// [`Failure`] when the output fails or the station is another one when it comes back.
    pub fn watch(
        &mut self,
        mut station: Station<SerialLine>,
        end: End,
        stop: &AtomicBool,
    ) -> Result<(Ended, Summary), Failure> {
        let mut watch = Watch::new(None);
        loop {
            match self.session(&mut station, &mut watch, end, stop) {
                Ok(ended) => return Ok((ended, watch.summary())),
                Err(Broken::Output(failure)) => return Err(failure),
                Err(Broken::Link(error)) if error.is_passing() => {
                    eprintln!("{error}; waiting for it to come back");
                    let (port, baud) = (station.port().to_owned(), station.baud());
                    // The port must be closed before it can be opened again.
                    drop(station);
                    station = match wait_for(&port, baud, end, stop)? {
                        Awaited::Back(station) => *station,
                        Awaited::Over(ended) => return Ok((ended, watch.summary())),
                    };
                    eprintln!("the station is back");
                }
                Err(Broken::Link(error)) => return Err(error.into()),
            }
        }
    }

    fn session(
        &mut self,
        station: &mut Station<SerialLine>,
        watch: &mut Watch,
        end: End,
        stop: &AtomicBool,
    ) -> Result<Ended, Broken> {
        let pixel_size = station.settings()?.pixel_size;
        watch.set_pixel_size(pixel_size);
        let mut status = station.status()?;
        let mut asked = Instant::now();
        loop {
            if let Some(ended) = is_over(end, watch.frames(), stop) {
                return Ok(ended);
            }
            if asked.elapsed() >= STATUS_EVERY {
                status = station.status()?;
                asked = Instant::now();
            }
            let Some(told) = station.next_event(LOOK_AROUND)? else {
                if status.camera == CameraState::Finished {
                    return Ok(Ended::Finished);
                }
                continue;
            };
            match told.event {
                Event::Frame(report) => {
                    let line = watch.see(&report, status.frames_unsent);
                    self.frame(&report, &line, watch)?;
                }
                Event::Notice(Notice::Camera(camera)) => {
                    status.camera = camera;
                    eprintln!("camera: {}", camera_word(camera));
                }
                Event::Notice(Notice::Stage(progress)) => notice(progress),
                Event::Masks(_) | Event::Preview(_) => {}
            }
        }
    }

    fn frame(&mut self, report: &FrameReport, line: &str, watch: &Watch) -> Result<(), Failure> {
        let record = FrameRecord::new(report, watch.pixel_size());
        if let Some(recording) = &mut self.record {
            recording.add(&record)?;
        }
        match self.show {
            Show::Lines => output::line(line),
            Show::Json => output::json(&record),
        }
    }
}

fn notice(progress: StageProgress) {
    match progress {
        StageProgress::Failed { digest, reason } => eprintln!("model {digest} does not run: {reason}"),
        StageProgress::Confirmed { digest } => eprintln!("model {digest} is confirmed"),
        _ => {}
    }
}

fn is_over(end: End, frames: u32, stop: &AtomicBool) -> Option<Ended> {
    if stop.load(Ordering::Relaxed) {
        return Some(Ended::Stopped);
    }
    let in_time = end.at.is_none_or(|at| Instant::now() < at);
    let wanted = end.frames.is_none_or(|wanted| frames < wanted);
    if in_time && wanted { None } else { Some(Ended::AsAsked) }
}

/// What came of waiting.
enum Awaited {
    Back(Box<Station<SerialLine>>),
    Over(Ended),
}

/// Opens the line again as soon as that works.
fn wait_for(port: &str, baud: u32, end: End, stop: &AtomicBool) -> Result<Awaited, LinkError> {
    loop {
        let until = Instant::now() + TRY_AGAIN;
        while Instant::now() < until {
            if let Some(ended) = is_over(End { frames: None, ..end }, 0, stop) {
                return Ok(Awaited::Over(ended));
            }
            std::thread::sleep(LOOK_AROUND.min(TRY_AGAIN));
        }
        match Station::open(port, baud) {
            Ok((station, _)) => return Ok(Awaited::Back(Box::new(station))),
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(error),
        }
    }
}
