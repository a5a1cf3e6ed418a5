//! `nuclei-host convert`: exports label images and recordings to other programs.

use std::path::{Path, PathBuf};

use clap::Args;
use host_console::{Exit, Failure, Progress, one_line, output, warning, write_whole};
use serde::Serialize;
use shared::PixelSize;

use super::pixel_size_arg::pixel_size;
use crate::export::{
    Exporter, Field, Format, LabelExportError, RecordingTableError, WRITTEN_FOLDERS, recording_csv,
    recording_parquet,
};
use crate::records::label_folder::LabelFolder;

const EXAMPLES: &str = "Examples:
  nuclei-host convert captures --out shared --format imagej,csv
  nuclei-host convert found --images images/ --out shared --format coco,geojson,overlay
  nuclei-host convert labels/ --out shared --format csv --pixel-size 0.65
  nuclei-host convert counts.jsonl --out shared --format parquet       (a recording: one row per frame)";

/// Export label images or recordings to other programs: ImageJ, QuPath, COCO, Kaggle, spreadsheets.
///
/// LABELS is a folder written by segment or capture, or any folder of 16-bit label images: x.png or x.tif, or
/// x_masks.png next to x.png. Source images are only needed for overlays and for the brightness of nuclei; those of a
/// capture are found automatically. Columns in µm are written if the pixel size is known from the capture or from
/// --pixel-size. A recording of live becomes frames.csv or frames.parquet, with the evidence of every frame.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ConvertArgs {
    /// Folder of label images, or a recording
    #[arg(value_name = "LABELS")]
    labels: PathBuf,
    /// Output folder
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Formats, separated by commas
    #[arg(long, required = true, value_enum, value_delimiter = ',', value_name = "FORMAT")]
    format: Vec<Format>,
    /// Source images: files, folders or zips
    #[arg(long, alias = "pictures", value_name = "INPUT", num_args = 1..)]
    images: Vec<PathBuf>,
    /// Pixel size in the specimen, µm
    #[arg(long, value_name = "UM", value_parser = pixel_size)]
    pixel_size: Option<PixelSize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The result as JSON.
#[derive(Debug, Default, Serialize)]
struct ConvertSummary {
    pictures: usize,
    nuclei: u64,
    pixel_size_um: Option<f32>,
    /// Label images that cannot be written, with the reason.
    failed: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`]. What was written before is whole.
pub fn run(args: &ConvertArgs) -> Result<Exit, Failure> {
    if args.labels.is_file() {
        return convert_recording(args);
    }
    let folder = LabelFolder::open(&args.labels, &args.images)?;
    refuse_own_folder(&folder, &args.labels, &args.out)?;
    let pixel_size = folder.pixel_size(args.pixel_size)?;
    let mut exporter = Exporter::new(&args.out, args.format.iter().copied().collect(), pixel_size);
    let mut summary =
        ConvertSummary { pixel_size_um: pixel_size.map(PixelSize::get), ..ConvertSummary::default() };
    let names = folder.names();
    let progress = Progress::new("writing", names.len() as u64);
    for name in &names {
        let written = folder.load(name).and_then(|field| {
            let nuclei = u64::from(field.labels.count());
            let written = exporter.add(Field {
                name,
                file_name: &field.file_name,
                labels: &field.labels,
                image: field.image.as_ref(),
            });
            match written {
                Err(LabelExportError::Write(error)) => Ok(Err(error)),
                Err(error) => Err(format!("{name}: {}; {}", one_line(&error), error.next_step())),
                Ok(()) => Ok(Ok(nuclei)),
            }
        });
        match written {
            Ok(nuclei) => {
                summary.nuclei += nuclei?;
                summary.pictures += 1;
            }
            Err(line) => {
                progress.warn(&format!("not written: {line}"));
                summary.failed.push(line);
            }
        }
        progress.advance(1);
    }
    drop(progress);
    exporter.finish()?;
    let ConvertSummary { pictures, nuclei, failed, .. } = &summary;
    if args.json {
        output::json(&summary)?;
    } else {
        output::line(&format!("{nuclei} nuclei of {pictures} images are in {}", args.out.display()))?;
    }
    if failed.is_empty() {
        return Ok(Exit::Done);
    }
    warning!("label images not written: {} (listed above)", failed.len());
    Ok(Exit::Failed)
}

/// The result for a recording as JSON.
#[derive(Debug, Serialize)]
struct RecordingSummary {
    frames: u64,
    files: Vec<PathBuf>,
}

fn convert_recording(args: &ConvertArgs) -> Result<Exit, Failure> {
    let failed = |error: RecordingTableError| {
        Failure::failed(one_line(&error), "give a recording of live, or a folder of label images")
    };
    let mut summary = RecordingSummary { frames: 0, files: Vec::new() };
    for format in &args.format {
        let (name, bytes, frames) = match format {
            Format::Parquet => {
                let (bytes, frames) = recording_parquet(&args.labels).map_err(failed)?;
                ("frames.parquet", bytes, frames)
            }
            Format::Csv => {
                let (text, frames) = recording_csv(&args.labels).map_err(failed)?;
                ("frames.csv", text.into_bytes(), frames)
            }
            _ => {
                let problem = format!("{} is a recording, which has no outlines", args.labels.display());
                return Err(Failure::usage(
                    problem,
                    "use --format csv or parquet, or give a folder of label images",
                ));
            }
        };
        let file = args.out.join(name);
        write_whole(&file, &bytes)?;
        summary.frames = frames;
        summary.files.push(file);
    }
    if args.json {
        output::json(&summary)?;
    } else {
        output::line(&format!("wrote {} frames to {}", summary.frames, args.out.display()))?;
    }
    Ok(Exit::Done)
}

/// Refuses to write to a folder with input images or labels.
fn refuse_own_folder(folder: &LabelFolder, labels: &Path, out: &Path) -> Result<(), Failure> {
    let same = |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    let written = WRITTEN_FOLDERS.map(|within| out.join(within));
    match written.iter().find(|written| same(written, labels) || folder.has_pictures_in(written)) {
        None => Ok(()),
        Some(written) => {
            let problem = format!("{} contains input images or labels", written.display());
            Err(Failure::usage(
                problem,
                "choose another folder with --out, so that none of them is overwritten",
            ))
        }
    }
}
