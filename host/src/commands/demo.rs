//! `nuclei-host demo`: everything without hardware.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use host_console::{Exit, Failure, STATION, interrupt, output, read_input, warning};
use serde::Serialize;
use shared::wire::{Downgrade, Identity};

use super::flash::{Watched, cost};
use super::view_args::ViewArgs;
use crate::monitor::live::{CountSummary, StationMonitor, StopCondition, StopReason};
use crate::station::bundled::BUNDLED_MODEL;
use crate::station::client::{DEFAULT_BAUD, FlashOutcome, LinkError, SerialTransport, StationClient};
use crate::station::model_check::check_model;
use crate::station::station_process::StationProcess;
use crate::station::virtual_line::VirtualLine;

const EXAMPLES: &str = "Examples:
  nuclei-host demo
  nuclei-host demo --seconds 20 --frames my-pictures/
  nuclei-host demo --model nuclei.onnx --frames stage1_train.zip";

/// A station needs time to load its model.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Try everything without hardware, data or GPU: a station process with a simulated camera counts on this machine,
/// shown next to the true counts.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// How long to run
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Use your own images (a folder or zip) instead of simulated ones
    #[arg(long, value_name = "DIR|ZIP")]
    frames: Option<PathBuf>,
    /// Flash this model instead of the bundled one
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    #[command(flatten)]
    view: ViewArgs,
}

/// The last object of `--json`.
#[derive(Debug, Serialize)]
struct DemoSummary {
    summary: CountSummary,
    /// Bytes per second on the wire, from the station.
    bytes_per_second: f64,
    /// The same as a fraction of the line's capacity, 0 to 1.
    line_share: f64,
    /// Bytes of the model sent over the line.
    flashed_bytes: u32,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &DemoArgs) -> Result<Exit, Failure> {
    let stop = interrupt::flag()?;
    match demo(args, stop) {
        // The station receives the ctrl-C as well, and may end before this program notices.
        Err(failure) if stop.load(Ordering::Relaxed) && !failure.is_closed_pipe() => Ok(Exit::Done),
        ended => ended,
    }
}

fn demo(args: &DemoArgs, stop: &'static AtomicBool) -> Result<Exit, Failure> {
    let program = STATION.find()?;
    let (name, model) = model(args.model.as_deref())?;
    if let Some(frames) = &args.frames
        && !frames.exists()
    {
        return Err(Failure::failed(
            format!("{} does not exist", frames.display()),
            "name a folder or zip of images",
        ));
    }
    let system = |error: std::io::Error| Failure::failed(error, "is the disk full, or /dev/ptmx missing?");
    let folder = tempfile::Builder::new().prefix("nuclei-demo-").tempdir().map_err(system)?;
    let line = VirtualLine::new(DEFAULT_BAUD).map_err(system)?;
    let config = folder.path().join("station.toml");
    fs::write(&config, "name = \"demo\"\n").map_err(system)?;
    let camera =
        args.frames.as_ref().map_or_else(|| "simulated".into(), |path| path.clone().into_os_string());
    let flags: [(&str, OsString); 5] = [
        ("--config", config.into()),
        ("--port", line.station_end().into()),
        ("--baud", DEFAULT_BAUD.to_string().into()),
        ("--camera", camera),
        ("--storage", folder.path().join("storage").into()),
    ];
    let flags = flags.into_iter().flat_map(|(flag, value)| [flag.into(), value]);
    let arguments: Vec<OsString> = std::iter::once("run".into()).chain(flags).collect();
    // Declared after line and folder, so that it stops before they are dropped.
    let mut process =
        StationProcess::start(&program, &arguments, &folder.path().join("log")).map_err(system)?;

    let print = |line: &str| if args.view.json { Ok(()) } else { output::line(line) };
    print(&format!("station: {} on a virtual line at {DEFAULT_BAUD} baud", program.display()))?;
    let Some((mut station, identity)) = open(&line.host_end(), &mut process, stop)? else {
        return Ok(Exit::Done);
    };
    print(&format!("flashing {} ({} bytes)", name.display(), model.len()))?;
    let watched =
        Watched { file: &name, length: model.len(), downgrade: Downgrade::Refused, quiet: args.view.json };
    let uploaded = match watched.flash(&mut station, &model, stop) {
        Ok(FlashOutcome::Confirmed(uploaded)) => uploaded,
        Ok(FlashOutcome::Stopped { .. }) => return Ok(Exit::Done),
        Err(failure) => {
            if process.ended().is_some() {
                process.last_words().lines().for_each(output::warn);
            }
            return Err(failure);
        }
    };
    print(&format!("confirmed: {}", cost(&uploaded, station.baud())))?;

    let (sink, terminal) = args.view.open(station.port(), stop)?;
    let (start, carried) = (Instant::now(), line.carried());
    let at = Some(start + Duration::from_secs(args.seconds));
    let (reason, summary) =
        StationMonitor::new(sink, None).run((station, identity), StopCondition { at, frames: None }, stop)?;
    drop(terminal);
    if reason == StopReason::EndOfInput {
        warning!("the station has reached its last image");
    }
    let bytes_per_second = (line.carried().1 - carried.1) as f64 / start.elapsed().as_secs_f64().max(1e-9);
    let line_share = bytes_per_second * 10.0 / f64::from(DEFAULT_BAUD);
    drop(process);
    if args.view.json {
        output::json(&DemoSummary { summary, bytes_per_second, line_share, flashed_bytes: uploaded.bytes })?;
    } else {
        let stages: Vec<String> =
            summary.stages_ms.by_name().iter().map(|(stage, ms)| format!("{stage} {ms:.1}")).collect();
        output::line(&format!(
            "{}; ms per frame: {}; {:.1} kB/s on the wire, {:.0} % of the line",
            summary.to_line(),
            stages.join(", "),
            bytes_per_second / 1000.0,
            100.0 * line_share
        ))?;
    }
    Ok(Exit::Done)
}

/// The model to flash and its name.
fn model(path: Option<&Path>) -> Result<(PathBuf, Vec<u8>), Failure> {
    let Some(path) = path else { return Ok(("the bundled model".into(), BUNDLED_MODEL.to_vec())) };
    let next = "give a model file written by nuclei-host train or export";
    let onnx =
        read_input(path).map_err(|error| Failure::failed(format!("{}: {error}", path.display()), next))?;
    check_model(&onnx).map_err(|error| Failure::failed(error, next))?;
    Ok((path.to_owned(), onnx))
}

/// Waits for the station to answer; `None` when the user wants no more.
fn open(
    port: &Path,
    process: &mut StationProcess,
    stop: &AtomicBool,
) -> Result<Option<(StationClient<SerialTransport>, Identity)>, Failure> {
    let until = Instant::now() + START_TIMEOUT;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if let Some(status) = process.ended() {
            return Err(Failure::failed(
                format!("the station exited at start ({status}): {}", process.last_words()),
                "run nuclei-station check to see why",
            ));
        }
        match StationClient::open(&port.to_string_lossy(), DEFAULT_BAUD) {
            Ok(opened) => return Ok(Some(opened)),
            Err(LinkError::Cancelled { .. }) => return Ok(None),
            Err(LinkError::NoStation { .. } | LinkError::Lost { .. }) if Instant::now() < until => {}
            Err(error) => return Err(error.into()),
        }
    }
}
