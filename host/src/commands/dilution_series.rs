//! `nuclei-host dilution-series`: whether this station's counts follow the dilution, and how well they repeat.

use std::path::{Path, PathBuf};

use clap::Args;
use host_console::{Exit, Failure, output, read_input_text, warning, write_whole};
use serde::Deserialize;

use crate::analysis::dilution::{Assessment, DilutionSeries, SeriesError, page};
use crate::analysis::report::{ReportOptions, left_out_lines, report};
use crate::records::gates::Gates;
use crate::records::label_folder::LabelFolder;

const EXAMPLES: &str = "Examples:
  nuclei-host dilution-series --at 1 undiluted --at 2 half --at 4 quarter --at 8 eighth --html series.html
  nuclei-host dilution-series --at 1 a.jsonl --at 10 b.jsonl --json
  nuclei-host dilution-series --csv counts.csv      (columns dilution,count; one row per field)";

/// Assess proportionality and repeatability with a dilution series, following ISO 20391-2.
///
/// Each --at gives a dilution factor and a folder written by capture or segment, or a recording of live. Each image is
/// one field: mix and take a new drop, or move the slide, between fields, since frames of one view repeat the same
/// nuclei. Fields whose count is unreliable are excluded and listed. Exit code 3 means the counts do not follow the
/// dilution.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DilutionSeriesArgs {
    /// A dilution factor, and its folder or recording
    #[arg(long, num_args = 2, value_names = ["TIMES", "FIELDS"], required_unless_present = "csv")]
    at: Vec<String>,
    /// Counts of any counter, with columns dilution and count
    #[arg(long, value_name = "FILE", conflicts_with = "at")]
    csv: Option<PathBuf>,
    /// Write a page with plot and table
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &DilutionSeriesArgs) -> Result<Exit, Failure> {
    let counts = match &args.csv {
        Some(path) => from_csv(path)?,
        None => counted(&args.at)?,
    };
    let series = DilutionSeries::of(&counts).map_err(|error| match error {
        SeriesError::Few(_) => Failure::usage(error, "give several dilutions, each with --at"),
        SeriesError::Empty => Failure::failed(error, "is there a sample in view?"),
    })?;
    let judged = Assessment::new(series);
    if let Some(path) = &args.html {
        write_whole(path, page(&judged, &counts)?.as_bytes())?;
    }
    if args.json {
        output::json(&judged)?;
    } else {
        for line in judged.to_lines() {
            output::line(&line)?;
        }
        if let Some(path) = &args.html {
            output::line("")?;
            output::line(&format!("wrote {}", path.display()))?;
        }
    }
    Ok(if judged.is_proportional() { Exit::Done } else { Exit::CheckFailed })
}

fn dilution(text: &str) -> Result<f64, Failure> {
    match text.trim().parse() {
        Ok(value) if (1.0..=1e9).contains(&value) => Ok(value),
        _ => Err(Failure::usage(
            format!("{text:?} is not a dilution factor"),
            "expected a number of at least 1, such as 2 if the sample was diluted to half",
        )),
    }
}

fn counted(at: &[String]) -> Result<Vec<(f64, u32)>, Failure> {
    let mut counts = Vec::new();
    for pair in at.chunks_exact(2) {
        let (dilution, place) = (dilution(&pair[0])?, Path::new(&pair[1]));
        let fields = if place.is_dir() { of_folder(place)? } else { of_recording(place)? };
        counts.extend(fields.into_iter().map(|count| (dilution, count)));
    }
    Ok(counts)
}

/// Counts of the fields of a folder within the gates that they were captured under.
fn of_folder(place: &Path) -> Result<Vec<u32>, Failure> {
    let folder = LabelFolder::open(place, &[])?;
    let gates: Gates = folder.gates()?.unwrap_or_default();
    let options = ReportOptions { gates, pixel_size: None, chamber_depth_um: None, dilution: 1.0 };
    let nothing = || nothing_counted(place);
    let found = report(&folder, options).map_err(|none| {
        left_out_lines(&none.left_out).for_each(|line| warning!("{line}"));
        nothing()
    })?;
    left_out_lines(&found.left_out).for_each(|line| warning!("{line}"));
    Ok(found.fields.iter().map(|field| field.count).collect())
}

#[derive(Deserialize)]
struct Recorded {
    frame: u32,
    count: u32,
    trusted: bool,
    #[serde(default)]
    doubts: Vec<String>,
}

/// Counts of a recording's frames.
fn of_recording(path: &Path) -> Result<Vec<u32>, Failure> {
    let next = "give a folder written by capture or segment, or a recording of live";
    let text = read_input_text(path)
        .map_err(|error| Failure::failed(format!("{} cannot be read: {error}", path.display()), next))?;
    let mut counts = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let frame: Recorded = serde_json::from_str(line).map_err(|error| {
            Failure::failed(format!("line {number} of {} is damaged: {error}", path.display()), next)
        })?;
        if frame.trusted {
            counts.push(frame.count);
        } else {
            warning!("excluded: frame {} of {}: {}", frame.frame, path.display(), frame.doubts.join(", "));
        }
    }
    if counts.is_empty() { Err(nothing_counted(path)) } else { Ok(counts) }
}

fn nothing_counted(place: &Path) -> Failure {
    let problem = format!("none of the fields in {} has a reliable count", place.display());
    Failure::failed(problem, "the reasons are above; correct focus, light or density, and capture again")
}

fn from_csv(path: &Path) -> Result<Vec<(f64, u32)>, Failure> {
    let next = "expected a header with the columns dilution and count, then one row per field";
    let wrong = |problem: String| Failure::failed(format!("{}: {problem}", path.display()), next);
    let text = read_input_text(path).map_err(|error| wrong(error.to_string()))?;
    let mut lines = text.lines();
    let header: Vec<String> =
        lines.next().unwrap_or_default().split(',').map(|name| name.trim().to_lowercase()).collect();
    let column = |name: &str| header.iter().position(|found| found == name);
    let (Some(of_dilution), Some(of_count)) = (column("dilution"), column("count")) else {
        return Err(wrong("the columns dilution and count are missing".to_owned()));
    };
    let mut counts = Vec::new();
    for (number, line) in (2..).zip(lines).filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or_default();
        let count = field(of_count)
            .parse()
            .map_err(|_| wrong(format!("line {number}: {line:?} has no integer count")))?;
        counts.push((dilution(field(of_dilution))?, count));
    }
    Ok(counts)
}
