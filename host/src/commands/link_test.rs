//! `nuclei-host link-test`: how good the line to the station is.

use std::time::Duration;

use clap::Args;
use host_console::{Exit, Failure, Progress, interrupt, output};

use super::port_args::PortArgs;
use crate::link::{LineQuality, measure};

const EXAMPLES: &str = "Examples:
  nuclei-host link-test --port /dev/ttyUSB0
  nuclei-host link-test --seconds 60 --json";

/// Measure the line to the station: packets lost, time there and back, bytes a second.
///
/// Packets go to the station and come back. Ends with exit code 1 where any was lost or altered.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LinkTestArgs {
    #[command(flatten)]
    port: PortArgs,
    /// How long to measure
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &LinkTestArgs) -> Result<Exit, Failure> {
    let stop = interrupt::flag()?;
    let (mut station, _) = args.port.open()?;
    let before = station.quieten()?;
    let progress = Progress::new("testing the line, % of the time", 100);
    let time = Duration::from_secs(args.seconds);
    let quality = measure(&mut station, time, stop, |share| progress.reach((100.0 * share) as u64));
    station.stream(before.masks, before.preview)?;
    drop(progress);
    let quality = quality?;
    if args.json {
        output::json(&quality)?;
    } else {
        output::line(&text(&quality))?;
    }
    if quality.lost + quality.altered > 0 {
        return Err(Failure::failed(
            format!("{} of {} packets were lost or altered", quality.lost + quality.altered, quality.packets),
            "use a shorter or better cable, or a lower baud rate on both sides",
        ));
    }
    Ok(Exit::Done)
}

fn text(quality: &LineQuality) -> String {
    let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
    [
        format!(
            "errors      {} of {} packets lost, {} altered ({:.3} %), {} arrived damaged",
            quality.lost,
            quality.packets,
            quality.altered,
            100.0 * quality.error_rate,
            quality.damaged
        ),
        format!(
            "round trip  {} (median; {} to {})",
            ms(quality.round_trip_median_ms),
            ms(quality.round_trip_min_ms),
            ms(quality.round_trip_max_ms)
        ),
        format!(
            "rate        {:.1} kB/s each way, {:.0} % of the line",
            quality.bytes_per_second / 1000.0,
            100.0 * quality.line_share
        ),
    ]
    .join("\n")
}
