//! `nuclei-host explore`: summarizes a data set.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use host_console::{Exit, Failure, output, threads_or_all, write_whole};
use host_modelling::Dataset;

use super::plane_args::{PlaneArgs, binary_masks};
use crate::analysis::exploration::{Exploration, TypeFacts, explore, page};

const EXAMPLES: &str = "Examples:
  nuclei-host explore stage1_train.zip
  nuclei-host explore stage1_train.zip --html data.html
  nuclei-host explore my-pictures/ --strict && nuclei-host train --data my-pictures/";

/// Summarize a data set: sizes, kinds of image, and every problem, file by file.
///
/// DATA is a folder or zip in the layout of the Data Science Bowl 2018, or images with label images. The page shows the
/// same with plots and sample images; it is a single file and works offline.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExploreArgs {
    /// Folder or zip of images, with masks if there are any
    data: PathBuf,
    /// Write a page with plots and images
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Number of k-means clusters
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=20))]
    types: u8,
    #[command(flatten)]
    planes: PlaneArgs,
    /// Treat each part of a 0/255 mask as a nucleus, so that touching nuclei become one
    #[arg(long)]
    split_components: bool,
    /// Exit with code 3 if there is any problem
    #[arg(long)]
    strict: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Threads for reading [default: one per core]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

/// Findings printed as text; the rest is only counted.
const MAX_PRINTED: usize = 20;

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &ExploreArgs) -> Result<Exit, Failure> {
    let dataset = Dataset::open(&args.data)?
        .with_planes(args.planes.selection())
        .with_binary_masks(binary_masks(args.split_components));
    let found = explore(&dataset, args.types.into(), threads_or_all(args.threads));
    if let Some(path) = &args.html {
        let title = args.data.file_name().unwrap_or(args.data.as_os_str()).to_string_lossy();
        write_whole(path, page(&title, &found, &dataset)?.as_bytes())?;
    }
    if args.json {
        output::json(&found)?;
    } else {
        print(&found)?;
        if let Some(path) = &args.html {
            output::line("")?;
            output::line(&format!("wrote {}", path.display()))?;
        }
    }
    Ok(if args.strict && !found.findings.is_empty() { Exit::CheckFailed } else { Exit::Done })
}

fn print(found: &Exploration) -> Result<(), Failure> {
    let sizes: Vec<String> =
        found.sizes.iter().take(8).map(|(size, count)| format!("{size} ({count})")).collect();
    let more = match found.sizes.len().saturating_sub(8) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    output::line(&format!("{} images: {}{more}", found.listed, sizes.join(", ")))?;
    output::line("")?;
    output::line(&format!(
        "{:18}{:>9}{:>9}{:>10}{:>20}{:>24}",
        "type", "pictures", "nuclei", "touching", "nuclei per image", "area px, 5 50 95 %"
    ))?;
    let all: Vec<_> = found.pictures.iter().collect();
    let total = TypeFacts::of(&all);
    let rows = found.types.iter().map(|(name, facts)| (name.name(), facts));
    for (name, facts) in rows.chain([("all", &total)]) {
        let TypeFacts { pictures, nuclei, touching, counts: [least, median, most], areas_px: [a, b, c] } =
            facts;
        output::line(&format!(
            "{name:18}{pictures:>9}{nuclei:>9}{:>8.0} %{:>20}{:>24}",
            100.0 * touching,
            format!("{least} to {most} ({median})"),
            format!("{a} {b} {c}")
        ))?;
    }
    output::line("")?;
    output::line("k-means clusters by color, with the image types in each:")?;
    for (number, cluster) in (1..).zip(&found.clusters) {
        let types: Vec<String> =
            cluster.types.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let Some(&first) = cluster.members.first() else { continue };
        output::line(&format!(
            "{number:3}. {:4} images, median value {:.2}, saturation {:.2}: {}; such as {}",
            cluster.members.len(),
            cluster.centre[0],
            cluster.centre[1],
            types.join(", "),
            found.pictures[first].name
        ))?;
    }
    output::line("")?;
    output::line(&format!("{} findings", found.findings.len()))?;
    for finding in found.findings.iter().take(MAX_PRINTED) {
        output::line(&format!(
            "  {}: {}; {}; {}",
            finding.file, finding.problem, finding.effect, finding.next
        ))?;
    }
    if let more @ 1.. = found.findings.len().saturating_sub(MAX_PRINTED) {
        output::line(&format!("  and {more} more: see --json"))?;
    }
    Ok(())
}
