//! `nuclei-host report`: what the fields of a sample say together.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use host_console::{Exit, Failure, output, write_whole};
use shared::PixelSize;

use super::pixel_size_arg::pixel_size;
use crate::analysis::report::{ReportOptions, left_out_lines, page, report};
use crate::records::gates::{Border, Gates};
use crate::records::label_folder::LabelFolder;

const EXAMPLES: &str = "Examples:
  nuclei-host report captures
  nuclei-host report captures --border two-edges --min-area-px 40 --html report.html
  nuclei-host report captures --pixel-size 0.65 --chamber-depth-um 100 --dilution 2 --json";

/// Sum up the fields of a sample: mean count with its 95 % interval, density, concentration, sizes.
///
/// FOLDER is one that capture or segment wrote, or any folder of 16-bit label images; each is a field. Fields
/// whose count cannot be trusted are left out and named. The interval is Student's over fields: choose fields
/// without looking, 5 or more. The pixel size is that of the capture, where the station knew it, or as told;
/// without it there is no density.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReportArgs {
    /// Folder of label images
    folder: PathBuf,
    /// Pictures that were segmented; folders or zips of pictures
    #[arg(long, value_name = "INPUT", num_args = 1..)]
    pictures: Vec<PathBuf>,
    /// Gates to begin with: those in force when the frames were captured, those that the page keeps now, or none
    #[arg(long, value_enum, value_name = "WHICH", default_value = "recorded")]
    gates: GatesFrom,
    /// Nuclei that the picture's edge cuts: all count, none, or those at the upper and left edge
    #[arg(long, value_enum)]
    border: Option<Border>,
    /// Least area of a nucleus that counts, px
    #[arg(long, value_name = "PX")]
    min_area_px: Option<u32>,
    /// Greatest area of a nucleus that counts, px
    #[arg(long, value_name = "PX")]
    max_area_px: Option<u32>,
    /// Size of a pixel in the specimen, µm
    #[arg(long, value_name = "UM", value_parser = pixel_size)]
    pixel_size: Option<PixelSize>,
    /// Depth of the counting chamber, µm: gives nuclei a mL
    #[arg(long, value_name = "UM", value_parser = depth)]
    chamber_depth_um: Option<f64>,
    /// How many times the sample was diluted
    #[arg(long, value_name = "TIMES", default_value_t = 1.0, value_parser = dilution)]
    dilution: f64,
    /// Write the page with pictures and plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Which gates to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GatesFrom {
    /// Those of the capture's evidence; none where there is none
    Recorded,
    /// Those that the page keeps
    Kept,
    /// None
    None,
}

impl ReportArgs {
    /// The gates to begin with, and what is asked for beyond.
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
        match gates.max_area_px {
            Some(most) if most < gates.min_area_px => {
                let problem =
                    format!("the greatest area, {most} px, is below the least, {} px", gates.min_area_px);
                Err(Failure::usage(
                    problem,
                    "no nucleus would count: mend --min-area-px, --max-area-px or --gates",
                ))
            }
            _ => Ok(gates),
        }
    }
}

fn depth(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if value > 0.0 && value <= 1e5 => Ok(value),
        _ => Err("µm above 0 and up to 100000 are wanted".to_owned()),
    }
}

fn dilution(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (1.0..=1e9).contains(&value) => Ok(value),
        _ => Err("a number from 1 is wanted: 2 where the sample is half of the whole".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    let folder = LabelFolder::open(&args.folder, &args.pictures)?;
    let pixel_size = folder.pixel_size(args.pixel_size)?;
    if args.chamber_depth_um.is_some() && pixel_size.is_none() {
        return Err(Failure::usage(
            "a concentration needs the pixel size, which this folder does not tell",
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
            eprintln!("{line}");
        }
        let problem = format!("no field of {} can be counted", args.folder.display());
        Failure::failed(problem, "the reasons are above; mend focus, light or density and capture anew")
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
            output::line(&format!("\nwrote {}", path.display()))?;
        }
    }
    Ok(if found.unreadable.is_empty() { Exit::Done } else { Exit::Failed })
}
