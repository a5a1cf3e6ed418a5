//! `nuclei-host capture`: full frames with what was found in them and the evidence for it.

mod cost;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;
use shared::wire::{Acquisition, FrameReport, Setting};
use shared::{PixelSize, encode_label_png, picture_stem};

use self::cost::Cost;
use super::port_args::PortArgs;
use crate::atomic_file::write_whole;
use crate::failure::{Exit, Failure};
use crate::frame_record::FrameRecord;
use crate::interrupt;
use crate::link::{CaptureError, Captured, SerialLine, Shot, Station};
use crate::output;
use crate::progress::Progress;
use crate::recording::Recording;

const EXAMPLES: &str = "Examples:
  nuclei-host capture --port /dev/ttyUSB0 --out captures --count 10
  nuclei-host capture --out captures --all          (a station that plays a folder of pictures, from its first)
  nuclei-host score --truth truth --pred captures";

/// Fetch frames from the station, none passed over: pictures, label images, evidence.
///
/// DIR/<name>.png is the 16-bit label image of a frame, DIR/pictures/<name>.png the frame itself, and
/// beside it <name>_masks.png the truth of a simulated scene. DIR/evidence.jsonl has a line a frame.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CaptureArgs {
    #[command(flatten)]
    port: PortArgs,
    /// Folder for what is captured; one without an earlier capture
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Frames to capture
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Capture every picture that the station has
    #[arg(long, conflicts_with = "count")]
    all: bool,
    /// Print one JSON object a frame
    #[arg(long)]
    json: bool,
}

/// A line of the evidence.
#[derive(Debug, Serialize)]
struct CaptureRecord {
    #[serde(flatten)]
    frame: FrameRecord,
    /// The label image, in the folder.
    labels: String,
    /// The frame itself, in the folder.
    picture: String,
    /// The truth, in the folder, where it is known.
    truth: Option<String>,
}

const EVIDENCE: &str = "evidence.jsonl";
const PICTURES: &str = "pictures";

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
            "name another folder with --out, or move the earlier one away",
        ));
    }
    let (mut station, _) = args.port.open()?;
    let start = Instant::now();
    let before = station.quieten()?;
    let taken = capture(args, &mut station, before.pixel_size, stop);
    // Also after a failure, as far as the line still allows it.
    let restored = station
        .set(Setting::Acquisition(Acquisition::Continuous))
        .and_then(|_| station.stream(before.masks, before.preview));
    let taken = taken?;
    restored?;
    let told = format!("{} frames are in {}", taken.frames(), args.out.display());
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::failed(format!("stopped; {told}"), "the frames that are there are whole"));
    }
    if !args.json {
        output::line(&told)?;
        for line in taken.table(station.traffic().received, start.elapsed()) {
            output::line(&line)?;
        }
    }
    Ok(Exit::Done)
}

/// Takes the frames.
fn capture(
    args: &CaptureArgs,
    station: &mut Station<SerialLine>,
    pixel_size: Option<PixelSize>,
    stop: &AtomicBool,
) -> Result<Cost, Failure> {
    // From one to the other, so that a station that plays pictures begins with the first.
    station.set(Setting::Acquisition(Acquisition::Continuous))?;
    station.set(Setting::Acquisition(Acquisition::Triggered))?;
    let progress = (!args.all).then(|| Progress::new("capturing", u64::from(args.count)));
    let mut folder = CaptureFolder::new(&args.out);
    let mut first: Option<String> = None;
    let mut taken = Cost::default();
    let token = first_token();
    while (args.all || taken.frames() < args.count) && !stop.load(Ordering::Relaxed) {
        let shot = station.capture(token.wrapping_add(taken.frames()), stop).map_err(failure)?;
        station.take_events();
        let captured = match shot {
            Shot::Taken(captured) => captured,
            Shot::Stopped => break,
            Shot::Finished => {
                if !args.all {
                    eprintln!("the pictures came to their end before {} frames", args.count);
                }
                break;
            }
            Shot::CameraAbsent => {
                return Err(Failure::failed(
                    "the station has no camera that delivers",
                    "connect one; nuclei-host station status tells what the station sees",
                ));
            }
        };
        let source = captured.report.source.to_string();
        if args.all && source.is_empty() {
            return Err(Failure::usage(
                "--all needs a station that plays pictures; a camera has no end",
                "say how many frames with --count",
            ));
        }
        // A station that plays its pictures over and over has shown all when the first comes again.
        if args.all && first.as_ref() == Some(&source) {
            break;
        }
        first.get_or_insert(source);
        let record = folder.write(&captured, pixel_size)?;
        taken.add(&captured);
        if let Some(progress) = &progress {
            progress.advance(1);
        }
        if args.json {
            output::json(&record)?;
        } else {
            let doubts = record.frame.doubts.join(", ");
            let doubts = if doubts.is_empty() { doubts } else { format!("  DO NOT TRUST: {doubts}") };
            let line = format!("{}  {} nuclei{doubts}", record.labels, record.frame.count);
            match &progress {
                Some(progress) => progress.tell(&line)?,
                None => output::line(&line)?,
            }
        }
    }
    Ok(taken)
}

fn failure(error: CaptureError) -> Failure {
    match error {
        CaptureError::Link(error) => error.into(),
        error => {
            Failure::failed(error, "capture again; nuclei-host link-test tells whether the line is good")
        }
    }
}

/// A token that an earlier host is unlikely to have used last.
fn first_token() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as u32)
}

/// Where captures go.
struct CaptureFolder {
    path: PathBuf,
    names: HashSet<String>,
}

impl CaptureFolder {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), names: HashSet::new() }
    }

    /// Writes a frame's files, and its evidence last: what the evidence names is there whole.
    fn write(
        &mut self,
        captured: &Captured,
        pixel_size: Option<PixelSize>,
    ) -> Result<CaptureRecord, Failure> {
        let name = self.name(&captured.report);
        let truth = captured.truth.as_ref().map(|labels| (format!("{PICTURES}/{name}_masks.png"), labels));
        let record = CaptureRecord {
            frame: FrameRecord::new(&captured.report, pixel_size),
            labels: format!("{name}.png"),
            picture: format!("{PICTURES}/{name}.png"),
            truth: truth.as_ref().map(|(path, _)| path.clone()),
        };
        write_whole(&self.path.join(&record.picture), &captured.picture_png)?;
        let labels = [(record.labels.clone(), &captured.labels)].into_iter().chain(truth);
        for (path, labels) in labels {
            let png = encode_label_png(labels).map_err(|error| {
                Failure::failed(error, "such a frame cannot be captured; nuclei-host live still counts it")
            })?;
            write_whole(&self.path.join(path), &png)?;
        }
        Recording::open(&self.path.join(EVIDENCE))?.add(&record)?;
        Ok(record)
    }

    /// The picture's own name, or the frame's number; another one for every frame.
    fn name(&mut self, report: &FrameReport) -> String {
        let stem = picture_stem(&report.source);
        let plain = stem.replace(|c: char| c.is_control() || c == '/' || c == '\\', "_");
        let name = match plain.trim_start_matches('.') {
            "" => format!("frame-{:06}", report.frame),
            name => name.to_owned(),
        };
        let numbered = (2..).map(|n| format!("{name}-{n}"));
        let name = std::iter::once(name.clone()).chain(numbered).find(|name| !self.names.contains(name));
        let name = name.unwrap_or_default();
        self.names.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use shared::wire::{Doubts, ModelDigest, Name, StageTimes};
    use shared::{DutyCycle, LabelImage};

    use super::*;

    fn captured(source: &str) -> Captured {
        let report = FrameReport {
            frame: 12,
            time_unix_ms: 0,
            source: Name::try_from(source).unwrap(),
            model: ModelDigest([0; 32]),
            width: 3,
            height: 1,
            count: 2,
            true_count: Some(1),
            median_diameter_px: 1.0,
            confluence: 0.7,
            scale: 1.0,
            exposure: None,
            illumination: DutyCycle::OFF,
            focus: 0.5,
            saturated: 0.0,
            doubts: Doubts::NONE,
            times: StageTimes::default(),
            skipped: 0,
        };
        Captured {
            report,
            picture_png: b"a picture".to_vec(),
            labels_bytes: 5,
            labels: LabelImage::new(3, 1, vec![0, 1, 2]).unwrap(),
            truth: Some(LabelImage::new(3, 1, vec![0, 1, 1]).unwrap()),
        }
    }

    #[test]
    fn files_are_named_for_the_picture_and_never_for_another_place() {
        let mut folder = CaptureFolder::new(Path::new("unused"));
        for (source, name) in [
            ("cells 3", "cells 3"),
            ("cells 3", "cells 3-2"),
            ("cells 3", "cells 3-3"),
            ("a/b/c.ome.tif", "c.ome"),
            ("", "frame-000012"),
            ("..", "frame-000012-2"),
            ("../../etc/passwd", "passwd"),
            ("x\\..\\y\n", "y_"),
        ] {
            assert_eq!(folder.name(&captured(source).report), name, "{source:?}");
        }
    }

    #[test]
    fn a_frame_is_written_with_its_truth_and_evidence() {
        let folder = tempfile::tempdir().unwrap();
        let mut captures = CaptureFolder::new(folder.path());
        for name in ["one", "two"] {
            captures.write(&captured(name), None).unwrap();
        }
        let read = |path: &str| std::fs::read(folder.path().join(path)).unwrap();
        assert_eq!(read("pictures/one.png"), b"a picture");
        assert_eq!(shared::decode_labels(&read("two.png")).unwrap(), captured("").labels);
        assert_eq!(
            shared::decode_labels(&read("pictures/two_masks.png")).unwrap(),
            captured("").truth.unwrap()
        );
        let evidence = String::from_utf8(read(EVIDENCE)).unwrap();
        let lines: Vec<serde_json::Value> =
            evidence.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[1]["labels"], &lines[1]["count"]), (&"two.png".into(), &2.into()));
    }
}
