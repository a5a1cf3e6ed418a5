//! `nuclei-host segment`: segments images with the station's own code.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use host_console::{
    Exit, Failure, Progress, WriteError, one_line, output, threads_or_all, warning, write_whole,
};
use serde::Serialize;
use shared::{
    DecodedImage, Evidence, FlatField, Image, MIN_CONFIDENCE, PixelSize, ScaleChoice, SegmentError,
    Segmentation, encode_label_png,
};

use super::pixel_size_arg::pixel_size;
use super::plane_args::PlaneArgs;
use super::station::load_flat_field;
use crate::analysis::model_file::OpenModel;
use crate::export::{Exporter, Field, Format, LabelExportError, WRITTEN_FOLDERS};
use crate::records::input_images::InputImages;
use crate::records::judgements::Judgement;
use crate::records::label_folder::UnfinishedFolder;

const EXAMPLES: &str = "Examples:
  nuclei-host segment --model nuclei.onnx --out found pictures/
  nuclei-host segment --model nuclei.onnx --out found --csv --pixel-size 0.65 a.tif b.tif
  nuclei-host segment --model nuclei.onnx --out found --format imagej,geojson,overlay stage1_train.zip";

/// Segment image files and write label images.
///
/// For every image x.png, .tif or .jpg, DIR/x.png is a 16-bit label image of the same size: 0 is background, 1 to n are
/// nuclei. DIR/judgements.jsonl has one line per image: whether its count can be trusted, and why not; report leaves out
/// those that cannot. Images that cannot be used are listed, the others are still segmented, and the exit code is 1.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SegmentArgs {
    /// Model file
    #[arg(long)]
    model: PathBuf,
    /// Output folder for label images
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Additional formats in DIR, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FORMAT")]
    format: Vec<Format>,
    /// Short for --format csv
    #[arg(long)]
    csv: bool,
    /// Pixel size in the specimen, µm; adds columns in µm to the CSV
    #[arg(long, value_name = "UM", value_parser = pixel_size)]
    pixel_size: Option<PixelSize>,
    /// Apply this flat field to the images first, as a station does
    #[arg(long, value_name = "FILE")]
    flat_field: Option<PathBuf>,
    #[command(flatten)]
    planes: PlaneArgs,
    /// Short for --format overlay
    #[arg(long)]
    overlay: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Threads for the model [default: one per core]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Images; folders or zips of images
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
}

/// The result as JSON.
#[derive(Debug, Serialize)]
struct SegmentSummary {
    /// SHA-256 of the model.
    model: String,
    pictures: Vec<SegmentedImage>,
    nuclei: u64,
    /// The confidence in the images in which something was found.
    confidence: Option<ConfidenceSummary>,
    /// Images and inputs that cannot be used, with the reason.
    failed: Vec<String>,
}

/// The result of an image.
#[derive(Debug, Serialize)]
struct SegmentedImage {
    name: String,
    file: String,
    labels: PathBuf,
    width: u32,
    height: u32,
    nuclei: u32,
    /// The scale of the network's input.
    scale: f32,
    median_diameter_px: Option<f32>,
    /// The network's confidence, 0 to 1, if it found anything.
    confidence: Option<f32>,
    /// Focus score, 0 to 1; 0 where there is no nucleus to judge it by.
    focus: f32,
    /// Whether the count can be trusted.
    trusted: bool,
    /// Why it cannot.
    doubts: Vec<&'static str>,
}

impl SegmentedImage {
    fn line(&self) -> String {
        let count = format!("{}: {} nuclei", self.name, self.nuclei);
        if self.trusted { count } else { format!("{count}, do not trust: {}", self.doubts.join(", ")) }
    }
}

/// The network's confidence over several images.
#[derive(Debug, Serialize)]
struct ConfidenceSummary {
    pictures: usize,
    least: f32,
    lower_quartile: f32,
    median: f32,
    /// The threshold below which a station flags the count.
    doubted_under: f32,
    doubted: usize,
}

impl ConfidenceSummary {
    /// The summary of the images with nuclei; `None` without any.
    fn of(found: &[SegmentedImage]) -> Option<Self> {
        let mut known: Vec<f32> = found.iter().filter_map(|found| found.confidence).collect();
        known.sort_unstable_by(f32::total_cmp);
        let at = |quarter: usize| known.get(known.len() * quarter / 4).copied();
        Some(Self {
            pictures: known.len(),
            least: at(0)?,
            lower_quartile: at(1)?,
            median: at(2)?,
            doubted_under: MIN_CONFIDENCE,
            doubted: known.iter().filter(|&&confidence| confidence < MIN_CONFIDENCE).count(),
        })
    }

    fn line(&self) -> String {
        format!(
            "network confidence over {3} images: minimum {0:.2}, lower quartile {1:.2}, median {2:.2}; a \
                 station would flag {4} of them (below {5})",
            self.least, self.lower_quartile, self.median, self.pictures, self.doubted, self.doubted_under
        )
    }
}

/// Runs the command.
///
/// # Errors
/// [`Failure`]. What was written before is whole.
pub fn run(args: &SegmentArgs) -> Result<Exit, Failure> {
    let (pictures, unusable) = InputImages::open(&args.inputs)?;
    let pictures = pictures.with_planes(&args.planes.selection());
    refuse_own_folder(&pictures, &args.out)?;
    let model = OpenModel::load(&args.model, threads_or_all(args.threads))?;
    let flat_field = args.flat_field.as_deref().map(load_flat_field).transpose()?;
    let unfinished = (pictures.len() > 0).then(|| UnfinishedFolder::begin(&args.out)).transpose()?;
    let progress = Progress::new("segmenting", pictures.len() as u64);
    let mut work = SegmentRun {
        args,
        exporter: Exporter::new(&args.out, args.formats(), args.pixel_size),
        summary: SegmentSummary {
            model: format!("{:#}", model.digest),
            pictures: Vec::new(),
            nuclei: 0,
            confidence: None,
            failed: Vec::new(),
        },
        flat_field,
        model,
        unfinished,
    };
    for error in unusable {
        work.name_failed(&progress, format!("{}; {}", one_line(&error), error.next_step()));
    }
    for index in 0..pictures.len() {
        match work.segment(&pictures, index, &progress) {
            Ok(found) if args.json => work.summary.pictures.push(found),
            Ok(found) => {
                progress.print(&found.line())?;
                work.summary.pictures.push(found);
            }
            Err(SegmentFailure::Picture(line)) => work.name_failed(&progress, line),
            Err(SegmentFailure::All(failure)) => return Err(failure),
        }
        progress.advance(1);
    }
    drop(progress);
    work.finish()
}

impl SegmentArgs {
    fn formats(&self) -> BTreeSet<Format> {
        let short = [(self.csv, Format::Csv), (self.overlay, Format::Overlay)];
        let short = short.into_iter().filter(|(asked, _)| *asked).map(|(_, format)| format);
        self.format.iter().copied().chain(short).collect()
    }
}

/// Refuses to write to a folder with images or ground truth.
fn refuse_own_folder(pictures: &InputImages, out: &Path) -> Result<(), Failure> {
    let within = WRITTEN_FOLDERS.iter().map(|within| out.join(within));
    match std::iter::once(out.to_owned()).chain(within).find(|folder| pictures.has_files_in(folder)) {
        None => Ok(()),
        Some(folder) => {
            let problem = format!("{} contains input images or labels", folder.display());
            Err(Failure::usage(
                problem,
                "choose another folder with --out, so that none of them is overwritten",
            ))
        }
    }
}

/// Why an image cannot be segmented.
enum SegmentFailure {
    /// This image only; the others can still be segmented.
    Picture(String),
    /// A problem that the others would have, too.
    All(Failure),
}

impl From<WriteError> for SegmentFailure {
    fn from(error: WriteError) -> Self {
        Self::All(error.into())
    }
}

struct SegmentRun<'a> {
    args: &'a SegmentArgs,
    flat_field: Option<FlatField>,
    model: OpenModel,
    exporter: Exporter,
    summary: SegmentSummary,
    /// The mark of the folder; `None` where nothing is written.
    unfinished: Option<UnfinishedFolder>,
}

impl SegmentRun<'_> {
    fn segment(
        &mut self,
        pictures: &InputImages,
        index: usize,
        progress: &Progress,
    ) -> Result<SegmentedImage, SegmentFailure> {
        let DecodedImage { mut image, planes, pixel_size } =
            pictures.load(index).map_err(|error| SegmentFailure::Picture(error.line()))?;
        let (name, file) = (pictures.name(index), pictures.file(index));
        if let Some(planes) = planes {
            progress.warn(&format!("{file}: {planes}"));
        }
        if let (Some(size), None) = (pixel_size, self.args.pixel_size) {
            let size = size.get();
            progress.warn(&format!(
                "{file}: {size} µm per pixel by its metadata; --pixel-size {size} gives sizes in µm"
            ));
        }
        let named = |error: &(dyn std::error::Error + 'static)| format!("{file}: {}", one_line(error));
        if let Some(flat_field) = &self.flat_field {
            flat_field.correct(&mut image).map_err(|error| SegmentFailure::Picture(named(&error)))?;
        }
        let found = self.model.segmenter.segment(&image, ScaleChoice::PerPicture);
        let found = found.map_err(|error| match error {
            SegmentError::Size(_) => {
                SegmentFailure::Picture(format!("{}; split it into parts", named(&error)))
            }
            _ => SegmentFailure::All(Failure::failed(named(&error), "try another model")),
        })?;
        let picture_only = |line| SegmentFailure::Picture(format!("{line}; split the image into parts"));
        let labels_png = encode_label_png(&found.labels).map_err(|error| picture_only(named(&error)))?;
        let target = self.args.out.join(format!("{name}.png"));
        write_whole(&target, &labels_png)?;
        let file_name = file.rsplit('/').next().unwrap_or(&file);
        let field = Field { name, file_name, labels: &found.labels, image: Some(&image) };
        self.exporter.add(field).map_err(|error| match error {
            LabelExportError::Write(error) => SegmentFailure::from(error),
            error => picture_only(named(&error)),
        })?;
        let evidence = Evidence::of(&image, &found.labels, found.scale_fit, found.confidence);
        let judgement =
            Judgement::new(format!("{name}.png"), found.labels.count(), &evidence, found.confidence);
        judgement.add_to(&self.args.out).map_err(SegmentFailure::All)?;
        Ok(self.note(name, file, target, &image, &found, judgement))
    }

    fn note(
        &mut self,
        name: &str,
        file: String,
        labels: PathBuf,
        image: &Image,
        found: &Segmentation,
        judgement: Judgement,
    ) -> SegmentedImage {
        let nuclei = found.labels.count();
        self.summary.nuclei += u64::from(nuclei);
        SegmentedImage {
            name: name.to_owned(),
            file,
            labels,
            width: image.width(),
            height: image.height(),
            nuclei,
            scale: found.scale.get(),
            median_diameter_px: found.median_diameter_px,
            confidence: found.confidence,
            focus: judgement.focus,
            trusted: judgement.trusted,
            doubts: judgement.doubts,
        }
    }

    fn name_failed(&mut self, progress: &Progress, line: String) {
        progress.warn(&format!("not segmented: {line}"));
        self.summary.failed.push(line);
    }

    fn finish(self) -> Result<Exit, Failure> {
        let Self { args, exporter, mut summary, unfinished, .. } = self;
        exporter.finish()?;
        unfinished.map_or(Ok(()), UnfinishedFolder::finish)?;
        summary.confidence = ConfidenceSummary::of(&summary.pictures);
        if args.json {
            output::json(&summary)?;
        } else if !summary.pictures.is_empty() {
            output::line(&format!(
                "{} nuclei in {} images; label images are in {}",
                summary.nuclei,
                summary.pictures.len(),
                args.out.display()
            ))?;
            let doubted = summary.pictures.iter().filter(|picture| !picture.trusted);
            let names: Vec<&str> = doubted.map(|picture| picture.name.as_str()).collect();
            if !names.is_empty() {
                output::line(&format!(
                    "do not trust {} of the counts: {}; report leaves them out",
                    names.len(),
                    names.join(", ")
                ))?;
            }
            if let Some(confidence) = &summary.confidence {
                output::line(&confidence.line())?;
            }
        }
        if summary.failed.is_empty() {
            return Ok(Exit::Done);
        }
        warning!("inputs not segmented: {} (listed above)", summary.failed.len());
        Ok(Exit::Failed)
    }
}
