//! `nuclei-host live`: the station's counts as they come.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use host_console::{Exit, Failure, interrupt, output};

use super::port_args::PortArgs;
use super::view_args::ViewArgs;
use crate::live::{End, Ended, Summary, Viewer};
use crate::recording::Recording;

const EXAMPLES: &str = "Examples:
  nuclei-host live --port /dev/ttyUSB0
  nuclei-host live --view page --listen 0.0.0.0:8070     (for other machines; prints a token)
  nuclei-host live --view terminal                       (over SSH; keys for what the page's buttons do)
  nuclei-host live --seconds 600 --record counts.jsonl
  nuclei-host live --json --frames 100 | jq .count";

/// Watch the station count: time, count, trend, size, focus, and why a count cannot be trusted.
///
/// Ends with ctrl-C. A station that goes away is waited for.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LiveArgs {
    #[command(flatten)]
    port: PortArgs,
    #[command(flatten)]
    view: ViewArgs,
    /// End after so many seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// End after so many frames
    #[arg(long, value_name = "N")]
    frames: Option<u32>,
    /// Add the frames to this file, one JSON object a line, chained for nuclei-host audit
    #[arg(long, value_name = "FILE.jsonl")]
    record: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &LiveArgs) -> Result<Exit, Failure> {
    let stop = interrupt::flag()?;
    let record = args.record.as_deref().map(Recording::open).transpose()?;
    let opened = args.port.open()?;
    let show = args.view.open(stop)?;
    let at = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut viewer = Viewer::new(show, record);
    let (ended, summary) = viewer.watch(opened, End { at, frames: args.frames }, stop)?;
    // A terminal is as before only when its view is gone.
    drop(viewer);
    if ended == Ended::Finished {
        eprintln!("the station's pictures came to their end");
    }
    if !args.view.json {
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
