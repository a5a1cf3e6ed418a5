//! `nuclei-host live`: shows counts as they arrive.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use clap::Args;
use host_console::{Exit, Failure, interrupt, output, warning};

use super::port_args::{FleetArgs, SigningArgs};
use super::view_args::ViewArgs;
use crate::monitor::fleet::{ConnectedStation, PendingStation, StationRegistry, require_one_connected};
use crate::monitor::live::{CountSummary, StationMonitor, StopCondition, StopReason};
use crate::records::recording::Recording;

const EXAMPLES: &str = "Examples:
  nuclei-host live --port /dev/ttyUSB0
  nuclei-host live --port /dev/ttyUSB0 --port /dev/ttyUSB1   (several stations, one card each)
  nuclei-host live --view page --listen 0.0.0.0:8070     (for other machines; prints a token)
  nuclei-host live --view terminal                       (works over SSH)
  nuclei-host live --seconds 600 --record counts.jsonl
  nuclei-host live --json --frames 100 | jq .count";

/// The file of one station's recording among several, in a folder named for the station.
const RECORDED: &str = "counts.jsonl";

/// Watch one or more stations count: count, trend, sizes, focus, and why a count is unreliable.
///
/// Ctrl-C stops it. A station that disconnects is reconnected when it returns. A full disk ends a recording, not the
/// counting. With several stations, at least one must
/// answer at start; the others are shown as absent and connect when they appear. Station names must be unique.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LiveArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    view: ViewArgs,
    /// Stop after N seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Stop after N frames (per station)
    #[arg(long, value_name = "N")]
    frames: Option<u32>,
    /// Append frames to this file, one JSON object per line, hash-chained for nuclei-host audit; with several stations,
    /// a folder that gets <station>/counts.jsonl for each
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
    let is_single = ports.len() == 1;
    let mut file = args.record.as_deref().filter(|_| is_single).map(Recording::open).transpose()?;
    // A missing named key is reported before anything is shown.
    drop(args.signing.key()?);
    let registry = StationRegistry::default();
    let stations = require_one_connected(args.fleet.connect_all(&ports, &registry)?)?;
    let (sinks, terminal) = args.view.open_all(&ports, stop)?;
    let at = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let condition = StopCondition { at, frames: args.frames };
    let sessions = LiveSessions { args, registry, condition, stop };
    let monitors = sinks.into_iter().zip(&ports).map(|(sink, port)| match is_single {
        true => StationMonitor::new(sink, file.take()),
        false => StationMonitor::among_several(sink, port),
    });
    let results: Vec<_> = std::thread::scope(|scope| {
        let sessions = &sessions;
        let threads: Vec<_> = monitors
            .zip(stations)
            .map(|(monitor, pending)| scope.spawn(move || sessions.run(monitor, pending)))
            .collect();
        threads.into_iter().map(ScopedJoinHandle::join).collect()
    });
    // Lines would be lost on the terminal view's screen.
    drop(terminal);
    let mut outcome = Ok(Exit::Done);
    for result in results {
        match result.unwrap_or_else(|panic| resume_unwind(panic)) {
            Ok(None) => {}
            Ok(Some(result)) => {
                result.print(args.view.json)?;
                if let Some(failure) = result.recording_failure {
                    outcome = outcome.and(Err(failure));
                }
            }
            Err(failure) => outcome = outcome.and(Err(failure)),
        }
    }
    outcome
}

/// What the sessions with all stations share.
struct LiveSessions<'a> {
    args: &'a LiveArgs,
    registry: StationRegistry,
    condition: StopCondition,
    stop: &'a AtomicBool,
}

impl LiveSessions<'_> {
    /// Monitors a station until the end; `None` when that is before the station connects.
    fn run(
        &self,
        mut monitor: StationMonitor,
        pending: PendingStation,
    ) -> Result<Option<SessionResult>, Failure> {
        let result = self.connect_and_monitor(&mut monitor, pending);
        match &result {
            // Nobody reads standard output any more.
            Err(failure) if failure.is_closed_pipe() => self.stop.store(true, Ordering::Relaxed),
            // The other stations may go on for long.
            Err(failure) if monitor.is_among_several() => monitor.report_failure(failure),
            Ok(_) => monitor.report_end(),
            Err(_) => {}
        }
        result
    }

    fn connect_and_monitor(
        &self,
        monitor: &mut StationMonitor,
        pending: PendingStation,
    ) -> Result<Option<SessionResult>, Failure> {
        if let Some(error) = pending.connect_error() {
            monitor.report_absent(error);
        }
        let connected = pending.wait_until_connected(&self.registry, self.condition, self.stop)?;
        let Some(ConnectedStation { mut station, identity, slug }) = connected else { return Ok(None) };
        station.sign_with(self.args.signing.key()?);
        let mut name = None;
        if monitor.is_among_several() {
            let folder = self.args.record.clone().unwrap_or_default().join(&slug);
            let file = self.args.record.as_ref().map(|_| Recording::open_within(&folder, RECORDED));
            monitor.set_station(&slug, folder, file.transpose()?);
            name = Some(slug);
        }
        let (reason, summary) = monitor.run((station, identity), self.condition, self.stop)?;
        let recording_failure = monitor.take_recording_failure();
        Ok(Some(SessionResult { name, reason, summary, recording_failure }))
    }
}

/// The result of a session with a station.
struct SessionResult {
    /// The station's name; `None` of a single station.
    name: Option<String>,
    reason: StopReason,
    summary: CountSummary,
    /// Why the recording has ended before the session.
    recording_failure: Option<Failure>,
}

impl SessionResult {
    fn print(&self, json: bool) -> Result<(), Failure> {
        let prefix = self.name.as_ref().map_or_else(String::new, |name| format!("{name}: "));
        if self.reason == StopReason::EndOfInput {
            warning!("{prefix}the station has reached its last image");
        }
        if json { Ok(()) } else { output::line(&format!("{prefix}{}", self.summary.to_line())) }
    }
}
