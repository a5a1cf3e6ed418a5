//! `nuclei-host live`: the station's counts as they come.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use shared::wire::{CameraState, Event, FrameReport, Notice, Request, StageProgress};

use super::port_args::PortArgs;
use super::station::camera_word;
use crate::failure::{Exit, Failure};
use crate::frame_record::FrameRecord;
use crate::interrupt;
use crate::link::{LinkError, SerialLine, Station};
use crate::live::{Summary, Watch};
use crate::output;

const EXAMPLES: &str = "Examples:
  nuclei-host live --port /dev/ttyUSB0
  nuclei-host live --seconds 600 --record counts.jsonl
  nuclei-host live --json --frames 100 | jq .count";

/// A host that asks nothing for long counts as gone at the station.
const STATUS_EVERY: Duration = Duration::from_secs(2);
const LOOK_AROUND: Duration = Duration::from_millis(200);
/// Pause between attempts to find a station that went away.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// Watch the station count: time, count, trend, size, focus, and why a count cannot be trusted.
///
/// Ends with ctrl-C. A station that goes away is waited for.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LiveArgs {
    #[command(flatten)]
    port: PortArgs,
    /// Print one JSON object a frame
    #[arg(long)]
    json: bool,
    /// End after so many seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// End after so many frames
    #[arg(long, value_name = "N")]
    frames: Option<u32>,
    /// Add the frames to this file, one JSON object a line
    #[arg(long, value_name = "FILE.jsonl")]
    record: Option<PathBuf>,
}

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

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &LiveArgs) -> Result<Exit, Failure> {
    let stop = interrupt::flag()?;
    let record = args.record.as_deref().map(Recording::open).transpose()?;
    let (station, _) = args.port.open()?;
    let show = if args.json { Show::Json } else { Show::Lines };
    let at = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut viewer = Viewer::new(show, record);
    let (ended, summary) = viewer.watch(station, End { at, frames: args.frames }, stop)?;
    if ended == Ended::Finished {
        eprintln!("the station's pictures came to their end");
    }
    if show == Show::Lines {
        output::line(&summary_line(&summary))?;
    }
    Ok(Exit::Done)
}

/// The frames in one line.
pub fn summary_line(summary: &Summary) -> String {
    let mut line = format!("{} frames, {:.1} a second", summary.frames, summary.frames_per_second);
    if summary.doubted > 0 {
        line += &format!(", {} not to be trusted", summary.doubted);
    }
    if let Some(truth) = summary.truth {
        line += &format!(
            ", mean count {:.1} against {:.1} true ({:+.1} %; {:.1} % off in a frame)",
            truth.mean_count,
            truth.mean_true_count,
            truth.mean_deviation_percent,
            truth.frame_deviation_percent
        );
    }
    line
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
        let pixel_size = station.settings(&Request::Settings)?.pixel_size;
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

/// A file that frames are added to, a line each.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    file: File,
}

#[derive(Debug, thiserror::Error)]
#[error("{path} could not be written")]
struct RecordError {
    path: PathBuf,
    source: std::io::Error,
}

impl Recording {
    /// Opens the file, to add to what is there.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be written.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let file = opened.map_err(|source| Self::failure(path, source))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be written.
    pub fn add(&mut self, record: &impl serde::Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(record).map_err(std::io::Error::from)?;
        line.push(b'\n');
        // In one write, so that a line is there whole or not at all.
        self.file.write_all(&line).map_err(|source| Self::failure(&self.path, source))
    }

    fn failure(path: &Path, source: std::io::Error) -> Failure {
        Failure::failed(
            RecordError { path: path.to_owned(), source },
            "free space on the disk, or name another file",
        )
    }
}
