//! `nuclei-host flash`: puts a model file on a station.

use std::mem::discriminant;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;
use host_console::{Exit, Failure, Progress, interrupt, output, read_input};
use indicatif::DecimalBytes;
use serde::Serialize;
use shared::trust::ModelSignature;
use shared::wire::{Downgrade, ModelDigest, SlotReport, SlotState, Trust};

use super::port_args::PortArgs;
use crate::station::client::{
    FlashOutcome, FlashProgress, OperationUpdate, SerialTransport, StationClient, UploadStats, content,
    flash, running, slot_name,
};
use crate::station::model_check::check_model;

const EXAMPLES: &str = "Examples:
  nuclei-host flash nuclei.onnx --port /dev/ttyUSB0
  nuclei-host flash nuclei.onnx --key ana           (if the station requires a key; the file must be signed, too)
  nuclei-host flash nuclei.onnx --dry-run           (checks the file without opening a port)
  nuclei-host flash nuclei.onnx --verify            (exit code 3 unless the station runs exactly this file)";

/// Put a model on the station: upload, verify, trial run, confirm on real frames.
///
/// Until the new model is confirmed, and whenever it fails, the station runs the previous one. Uploads are resumable:
/// after Ctrl-C, an unplugged cable or a power cut, the same command continues where it stopped.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FlashArgs {
    /// The model file
    file: PathBuf,
    #[command(flatten)]
    port: PortArgs,
    /// Check the file and print what would be sent, without sending it
    #[arg(long, conflicts_with_all = ["verify", "force"])]
    dry_run: bool,
    /// Compare the station's active model with the file, without sending it
    #[arg(long, conflicts_with = "force")]
    verify: bool,
    /// Send the file even if it fails the check here or is already active
    #[arg(long)]
    force: bool,
    /// Run the model even if the station has confirmed one that was signed later
    #[arg(long)]
    allow_downgrade: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Ended<'a> {
    digest: String,
    length: usize,
    /// `checked`, `same`, `other`, `already active`, `confirmed` or `stopped`.
    outcome: &'a str,
    /// Bytes of the file sent by this run.
    sent: u32,
    seconds: f64,
    bytes_per_second: f64,
    line_share: f64,
    chunks_resent: u32,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &FlashArgs) -> Result<Exit, Failure> {
    let stop = interrupt::flag()?;
    let onnx = read(&args.file)?;
    let digest = ModelDigest::of(&onnx);
    let name = args.file.display();
    let print = |line: &str| if args.json { Ok(()) } else { output::line(line) };
    let ended = |outcome, uploaded: UploadStats, baud| {
        let ended = Ended {
            digest: format!("{digest:#}"),
            length: onnx.len(),
            outcome,
            sent: uploaded.bytes,
            seconds: uploaded.time.as_secs_f64(),
            bytes_per_second: uploaded.bytes_per_second(),
            line_share: uploaded.line_share(baud),
            chunks_resent: uploaded.resent,
        };
        if args.json { output::json(&ended) } else { Ok(()) }
    };

    if !args.force && !args.verify {
        let manifest = check_model(&onnx).map_err(|error| {
            Failure::failed(
                BadModel { path: args.file.clone(), source: error },
                "nothing was sent; give a file written by nuclei-host train or export",
            )
        })?;
        let size = DecimalBytes(onnx.len() as u64);
        print(&format!(
            "{name}: {}, {size}, digest {digest}; loads, self-test passed",
            manifest.architecture
        ))?;
    }
    if args.dry_run {
        let seconds = onnx.len() as f64 * 10.0 / f64::from(args.port.baud);
        print(&format!("it would take about {seconds:.0} s at {} baud; nothing was sent", args.port.baud))?;
        ended("checked", UploadStats::default(), args.port.baud)?;
        return Ok(Exit::Done);
    }

    let (mut station, _) = args.port.open()?;
    let baud = station.baud();
    let slots = station.slots()?;
    if args.verify {
        return verify(&args.file, digest, &slots, |outcome, line| {
            ended(outcome, UploadStats::default(), baud)?;
            print(line)
        });
    }
    if !args.force
        && running(&slots) == Some(digest)
        && content(&slots, slots.active).state == SlotState::Confirmed
    {
        print(&format!(
            "the station already runs this model, from {}; nothing was sent",
            slot_name(slots.active)
        ))?;
        ended("already active", UploadStats::default(), baud)?;
        return Ok(Exit::Done);
    }
    if !args.force && ModelSignature::at_end(&onnx).is_none() && station.trust()? != Trust::Open {
        return Err(Failure::failed(
            format!("the station only accepts models signed by a trusted key, and {name} is not signed"),
            format!("nothing was sent; run nuclei-host sign {name}, then flash again"),
        ));
    }
    let downgrade = if args.allow_downgrade { Downgrade::Allowed } else { Downgrade::Refused };
    let watched = Watched { file: &args.file, length: onnx.len(), downgrade, quiet: args.json };
    match watched.flash(&mut station, &onnx, stop)? {
        FlashOutcome::Confirmed(uploaded) => {
            let slots = station.slots()?;
            let sent =
                if uploaded.bytes > 0 { cost(&uploaded, baud) } else { "nothing had to be sent".into() };
            print(&format!("confirmed: the station runs {digest} from {}; {sent}", slot_name(slots.active)))?;
            ended("confirmed", uploaded, baud)?;
            Ok(Exit::Done)
        }
        FlashOutcome::Stopped { held } => {
            ended("stopped", UploadStats::default(), baud)?;
            Err(Failure::failed(
                format!(
                    "stopped; the station has {} of {}, and keeps running the previous model",
                    DecimalBytes(u64::from(held)),
                    DecimalBytes(onnx.len() as u64)
                ),
                "run the same command again to continue",
            ))
        }
    }
}

/// Bytes, time, and fraction of the line used.
pub fn cost(uploaded: &UploadStats, baud: u32) -> String {
    format!(
        "sent {} in {:.1} s: {}/s, {:.0} % of the line, {} chunks resent",
        DecimalBytes(u64::from(uploaded.bytes)),
        uploaded.time.as_secs_f64(),
        DecimalBytes(uploaded.bytes_per_second() as u64),
        100.0 * uploaded.line_share(baud),
        uploaded.resent
    )
}

#[derive(Debug, thiserror::Error)]
#[error("{path} is not a model that a station accepts")]
struct BadModel {
    path: PathBuf,
    source: crate::station::model_check::ModelCheckError,
}

#[derive(Debug, thiserror::Error)]
#[error("{path} could not be read")]
struct Unreadable {
    path: PathBuf,
    source: std::io::Error,
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_input(path).map_err(|source| {
        Failure::failed(
            Unreadable { path: path.to_owned(), source },
            "give a model file, such as nuclei.onnx",
        )
    })
}

fn verify(
    path: &Path,
    digest: ModelDigest,
    slots: &SlotReport,
    print: impl Fn(&'static str, &str) -> Result<(), Failure>,
) -> Result<Exit, Failure> {
    if running(slots) == Some(digest) {
        print("same", &format!("the station runs {}, digest {digest}", path.display()))?;
        return Ok(Exit::Done);
    }
    print("other", "")?;
    let runs = running(slots).map_or_else(|| "no known model".to_owned(), |other| other.to_string());
    Err(Failure::new(
        Exit::CheckFailed,
        format!("the station runs {runs}, and {} is {digest}", path.display()),
        format!("nuclei-host flash {}", path.display()),
    ))
}

/// A flash with its progress on standard error.
pub struct Watched<'a> {
    /// The file's name.
    pub file: &'a Path,
    /// Its bytes.
    pub length: usize,
    /// Whether it may be older than a confirmed model.
    pub downgrade: Downgrade,
    /// Whether only failures are printed.
    pub quiet: bool,
}

impl Watched<'_> {
    /// Flashes and reports the progress.
    ///
    /// # Errors
    /// [`Failure`] with what to do about it.
    pub fn flash(
        &self,
        station: &mut StationClient<SerialTransport>,
        onnx: &[u8],
        stop: &AtomicBool,
    ) -> Result<FlashOutcome, Failure> {
        let progress = Progress::of_bytes("sending", self.length as u64);
        let print = |line: &str| {
            if !self.quiet {
                progress.warn(line)
            }
        };
        let mut before = None;
        let flashed = flash(station, onnx, self.downgrade, stop, |update| {
            let OperationUpdate::Progress(step) = update else { return };
            match step {
                FlashProgress::Sending { held, .. } => progress.reach(u64::from(held)),
                // Once each, and not every frame of the trial.
                step if before.replace(discriminant(&step)) != Some(discriminant(&step)) => {
                    print(&step.to_string());
                }
                _ => {}
            }
        });
        flashed.map_err(|error| error.into_failure(&self.file.display().to_string()))
    }
}
