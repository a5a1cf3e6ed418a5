//! `nuclei-host report`: summarizes the fields of a sample.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use host_console::{Exit, Failure, output, warning, write_whole};
use shared::PixelSize;

use super::pixel_size_arg::pixel_size;
use crate::analysis::report::{ReportOptions, left_out_lines, page, report};
use crate::records::gates::{Border, Gates};
use crate::records::label_folder::LabelFolder;

const EXAMPLES: &str = "Examples:
  nuclei-host report captures
  nuclei-host report captures --border two-edges --min-area-px 40 --html report.html
  nuclei-host report captures --pixel-size 0.65 --chamber-depth-um 100 --dilution 2 --json";

/// Summarize the fields of a sample: mean count with its 95 % interval, density, concentration, sizes.
///
/// FOLDER is written by capture or segment, or any folder of 16-bit label images; each image is one field. Fields whose
/// count is unreliable are excluded and listed. The interval is Student's t over fields: choose at least 5 fields at
/// random. The pixel size comes from the capture, if the station knew it, or from --pixel-size; without it there is no
/// density.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReportArgs {
    /// Folder of label images
    folder: PathBuf,
    /// Source images: files, folders or zips
    #[arg(long, alias = "pictures", value_name = "INPUT", num_args = 1..)]
    images: Vec<PathBuf>,
    /// Initial gates: those active when the frames were captured, those the page currently uses, or none
    #[arg(long, value_enum, value_name = "WHICH", default_value = "recorded")]
    gates: GatesFrom,
    /// Nuclei cut by the image border: count all, none, or those at the upper and left border
    #[arg(long, value_enum)]
    border: Option<Border>,
    /// Minimum area of a counted nucleus, px
    #[arg(long, value_name = "PX")]
    min_area_px: Option<u32>,
    /// Maximum area of a counted nucleus, px
    #[arg(long, value_name = "PX")]
    max_area_px: Option<u32>,
    /// Pixel size in the specimen, µm
    #[arg(long, value_name = "UM", value_parser = pixel_size)]
    pixel_size: Option<PixelSize>,
    /// Chamber depth in µm; enables nuclei per mL
    #[arg(long, value_name = "UM", value_parser = depth)]
    chamber_depth_um: Option<f64>,
    /// Dilution factor of the sample
    #[arg(long, value_name = "TIMES", default_value_t = 1.0, value_parser = dilution)]
    dilution: f64,
    /// Write a page with images and plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The initial gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GatesFrom {
    /// Those in the capture's evidence, if any
    Recorded,
    /// Those of the page
    Kept,
    /// None
    None,
}

impl ReportArgs {
    /// The initial gates, and the requested changes.
    fn gates(&self, folder: &LabelFolder) -> Result<Gates, Failure> {
        let begin = match self.gates {
            GatesFrom::Recorded => folder.gates()?.unwrap_or_default(),
            GatesFrom::Kept => Gates::saved()?,
            GatesFrom::None => Gates::default(),
        };
        let gates = Gates {
            min_area_px: self.min_area_px.unwrap_or(begin.min_area_px),
            max_area_px: self.max_area_px.or(begin.max_area_px),
            border: self.border.unwrap_or(begin.border),
        };
        gates.checked()
    }
}

fn depth(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if value > 0.0 && value <= 1e5 => Ok(value),
        _ => Err("expected µm, above 0 and up to 100000".to_owned()),
    }
}

fn dilution(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (1.0..=1e9).contains(&value) => Ok(value),
        _ => Err("expected a number of at least 1, such as 2 if the sample was diluted to half".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    let folder = LabelFolder::open(&args.folder, &args.images)?;
    let pixel_size = folder.pixel_size(args.pixel_size)?;
    if args.chamber_depth_um.is_some() && pixel_size.is_none() {
        return Err(Failure::usage(
            "a concentration needs the pixel size, which is not recorded in this folder",
            "give --pixel-size, from a stage micrometer",
        ));
    }
    let options = ReportOptions {
        gates: args.gates(&folder)?,
        pixel_size,
        chamber_depth_um: args.chamber_depth_um,
        dilution: args.dilution,
    };
    let found = report(&folder, options).map_err(|nothing| {
        for line in left_out_lines(&nothing.left_out) {
            warning!("{line}");
        }
        let problem = format!("none of the fields in {} has a reliable count", args.folder.display());
        Failure::failed(problem, "the reasons are above; correct focus, light or density, and capture again")
    })?;
    if let Some(path) = &args.html {
        let title = args.folder.file_name().unwrap_or(args.folder.as_os_str()).to_string_lossy();
        write_whole(path, page(&title, &found, &folder)?.as_bytes())?;
    }
    if args.json {
        output::json(&found)?;
    } else {
        for line in found.to_lines() {
            output::line(&line)?;
        }
        if let Some(path) = &args.html {
            output::line("")?;
            output::line(&format!("wrote {}", path.display()))?;
        }
    }
    Ok(if found.unreadable.is_empty() { Exit::Done } else { Exit::Failed })
}
