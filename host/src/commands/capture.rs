//! `nuclei-host capture`: full frames with labels and evidence.

mod cost;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Args;
use host_console::{Exit, Failure, Progress, interrupt, output, warning};
use shared::wire::{Acquisition, Setting};

use self::cost::CaptureCost;
use super::port_args::PortArgs;
use crate::records::capture_folder::{CaptureFolder, EVIDENCE, first_token};
use crate::records::gates::Gates;
use crate::records::provenance::Provenance;
use crate::station::client::{CaptureOutcome, SerialTransport, StationClient};

const EXAMPLES: &str = "Examples:
  nuclei-host capture --port /dev/ttyUSB0 --out captures --count 10
  nuclei-host capture --out captures --all          (a station that plays a folder of images, from the first)
  nuclei-host score --truth truth --pred captures";

/// Fetch consecutive frames from the station: images, label images, evidence.
///
/// DIR/<name>.png is the 16-bit label image of a frame, and DIR/pictures/<name>.png the frame itself. For a simulated
/// scene, <name>_masks.png beside it is the ground truth. DIR/evidence.jsonl has one line per frame, hash-chained:
/// nuclei-host audit DIR verifies that nothing was changed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CaptureArgs {
    #[command(flatten)]
    port: PortArgs,
    /// Output folder, without an earlier capture
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of frames
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Capture every image of the station's folder or zip
    #[arg(long, conflicts_with = "count")]
    all: bool,
    /// Print one JSON object per frame
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &CaptureArgs) -> Result<Exit, Failure> {
    let stop = interrupt::flag()?;
    let evidence = args.out.join(EVIDENCE);
    if evidence.exists() {
        return Err(Failure::failed(
            format!("{} holds an earlier capture", args.out.display()),
            "choose another folder with --out, or move the earlier one away",
        ));
    }
    let (mut station, identity) = args.port.open()?;
    let start = Instant::now();
    let before = station.pause_streams()?;
    let provenance = Provenance::of(&mut station, &identity, &before, Gates::saved()?)?;
    let taken = capture(args, &mut station, &provenance, stop);
    // Also after a failure, if the line still works.
    let restored = station
        .set(Setting::Acquisition(Acquisition::Continuous))
        .and_then(|_| station.stream(before.masks, before.preview));
    let taken = taken?;
    restored?;
    let summary = format!("wrote {} frames to {}", taken.frames(), args.out.display());
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::failed(format!("stopped; {summary}"), "the frames written so far are complete"));
    }
    if !args.json {
        output::line(&summary)?;
        for line in taken.table(station.stats().received, start.elapsed()) {
            output::line(&line)?;
        }
    }
    Ok(Exit::Done)
}

/// Takes the frames.
fn capture(
    args: &CaptureArgs,
    station: &mut StationClient<SerialTransport>,
    provenance: &Provenance,
    stop: &AtomicBool,
) -> Result<CaptureCost, Failure> {
    // Switching from continuous to triggered restarts a station that plays images from its first.
    station.set(Setting::Acquisition(Acquisition::Continuous))?;
    station.set(Setting::Acquisition(Acquisition::Triggered))?;
    let progress = (!args.all).then(|| Progress::new("capturing", u64::from(args.count)));
    let mut folder = CaptureFolder::new(&args.out);
    let mut first: Option<String> = None;
    let mut taken = CaptureCost::default();
    let token = first_token();
    while (args.all || taken.frames() < args.count) && !stop.load(Ordering::Relaxed) {
        let outcome = station.capture(token.wrapping_add(taken.frames()), stop, |_| {})?;
        let captured = match outcome {
            CaptureOutcome::Stopped => break,
            CaptureOutcome::Finished => {
                if !args.all {
                    warning!("the station reached its last image before {} frames", args.count);
                }
                break;
            }
            outcome => outcome.into_frame()?,
        };
        let source = captured.report.source.to_string();
        if args.all && source.is_empty() {
            return Err(Failure::usage(
                "--all needs a station that plays a folder of images; a camera has no end",
                "give the number of frames with --count",
            ));
        }
        // A station that repeats its images has shown all when the first appears again.
        if args.all && first.as_ref() == Some(&source) {
            break;
        }
        first.get_or_insert(source);
        let record = folder.write(&captured, provenance)?;
        taken.add(&captured);
        if let Some(progress) = &progress {
            progress.advance(1);
        }
        if args.json {
            output::json(&record)?;
        } else {
            let warning = record.frame.warning().map_or_else(String::new, |warning| format!("  {warning}"));
            let line = format!("{}  {} nuclei{warning}", record.labels, record.frame.count);
            match &progress {
                Some(progress) => progress.print(&line)?,
                None => output::line(&line)?,
            }
        }
    }
    Ok(taken)
}
