//! `nuclei-host live`: the station's counts as they come.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use clap::Args;
use host_console::{Exit, Failure, interrupt, output};

use super::port_args::{FleetArgs, SigningArgs};
use super::view_args::ViewArgs;
use crate::monitor::fleet::{Member, Place, Roster, some_present};
use crate::monitor::live::{End, Ended, Summary, Viewer};
use crate::records::recording::Recording;

const EXAMPLES: &str = "Examples:
  nuclei-host live --port /dev/ttyUSB0
  nuclei-host live --port /dev/ttyUSB0 --port /dev/ttyUSB1   (several stations, a card each)
  nuclei-host live --view page --listen 0.0.0.0:8070     (for other machines; prints a token)
  nuclei-host live --view terminal                       (over SSH; keys for what the page's buttons do)
  nuclei-host live --seconds 600 --record counts.jsonl
  nuclei-host live --json --frames 100 | jq .count";

/// The file that a station of several is recorded in, in a folder named for it.
const RECORDED: &str = "counts.jsonl";

/// Watch one or several stations count: time, count, trend, size, focus, and why a count cannot be trusted.
///
/// Ends with ctrl-C. A station that goes away is waited for. Of several stations, those that are not there at the start
/// are shown as absent and joined when they come, as long as one of them is there; each must have a name of its own.
/// Each is watched by itself: one that is lost holds up no other.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LiveArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    view: ViewArgs,
    /// End after so many seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// End after so many frames; of several stations, of each
    #[arg(long, value_name = "N")]
    frames: Option<u32>,
    /// Add the frames to this file, one JSON object a line, chained for nuclei-host audit; of several stations, to
    /// counts.jsonl in a folder for each, named for the station, in this folder
    #[arg(long, value_name = "FILE.jsonl|DIR")]
    record: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &LiveArgs) -> Result<Exit, Failure> {
    let stop = interrupt::flag()?;
    let ports = args.fleet.ports()?;
    let is_alone = ports.len() == 1;
    let mut file = args.record.as_deref().filter(|_| is_alone).map(Recording::open).transpose()?;
    // A key that is named and not there is missed before anything is shown.
    drop(args.signing.key()?);
    let roster = Roster::default();
    let places = some_present(args.fleet.gather(&ports, &roster)?)?;
    let (shows, terminal) = args.view.open_all(&ports, stop)?;
    let at = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let watching = Watching { args, roster, end: End { at, frames: args.frames }, stop };
    let viewers = shows.into_iter().zip(&ports).map(|(show, port)| match is_alone {
        true => Viewer::new(show, file.take()),
        false => Viewer::among_several(show, port),
    });
    let watched: Vec<_> = std::thread::scope(|scope| {
        let watching = &watching;
        let threads: Vec<_> = viewers
            .zip(places)
            .map(|(viewer, place)| scope.spawn(move || watching.station(viewer, place)))
            .collect();
        threads.into_iter().map(ScopedJoinHandle::join).collect()
    });
    // A terminal is as before only when its view is gone.
    drop(terminal);
    let mut ended = Ok(Exit::Done);
    for watched in watched {
        match watched.unwrap_or_else(|panic| resume_unwind(panic)) {
            Ok(None) => {}
            Ok(Some(watched)) => watched.tell(args.view.json)?,
            Err(failure) => ended = ended.and(Err(failure)),
        }
    }
    ended
}

/// What watching every station needs.
struct Watching<'a> {
    args: &'a LiveArgs,
    roster: Roster,
    end: End,
    stop: &'a AtomicBool,
}

impl Watching<'_> {
    /// Watches a station until the end; `None` where that is before the station comes.
    fn station(&self, mut viewer: Viewer, place: Place) -> Result<Option<Watched>, Failure> {
        let watched = self.joined(&mut viewer, place);
        match &watched {
            // Nobody reads any more.
            Err(failure) if failure.is_closed_pipe() => self.stop.store(true, Ordering::Relaxed),
            // The other stations may go on for long.
            Err(failure) if viewer.is_among_several() => viewer.failed(failure),
            Ok(_) => viewer.finished(),
            Err(_) => {}
        }
        watched
    }

    fn joined(&self, viewer: &mut Viewer, place: Place) -> Result<Option<Watched>, Failure> {
        if let Some(error) = place.absence() {
            viewer.absent(error);
        }
        let Some(member) = place.join(&self.roster, self.end, self.stop)? else { return Ok(None) };
        let Member { mut station, identity, level } = member;
        station.sign_with(self.args.signing.key()?);
        let mut name = None;
        if viewer.is_among_several() {
            let level = level.to_string();
            let folder = self.args.record.clone().unwrap_or_default().join(&level);
            let file = self.args.record.as_ref().map(|_| Recording::open_within(&folder, RECORDED));
            viewer.joined(&level, folder, file.transpose()?);
            name = Some(level);
        }
        let (ended, summary) = viewer.watch((station, identity), self.end, self.stop)?;
        Ok(Some(Watched { name, ended, summary }))
    }
}

/// What came of watching a station.
struct Watched {
    /// What it is called, where it is one of several.
    name: Option<String>,
    ended: Ended,
    summary: Summary,
}

impl Watched {
    fn tell(&self, json: bool) -> Result<(), Failure> {
        let of = self.name.as_ref().map_or_else(String::new, |name| format!("{name}: "));
        if self.ended == Ended::Finished {
            eprintln!("{of}the station's pictures came to their end");
        }
        if json { Ok(()) } else { output::line(&format!("{of}{}", summary_line(&self.summary))) }
    }
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
