//! `nuclei-host link-test`: measures the line to the station.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use host_console::{Exit, Failure, Progress, interrupt, output};
use serde::Serialize;

use super::port_args::PortArgs;
use crate::station::client::{LineQuality, LinkError, SerialTransport, StationClient, measure};

const EXAMPLES: &str = "Examples:
  nuclei-host link-test --port /dev/ttyUSB0
  nuclei-host link-test --seconds 60 --json";

/// Measure the serial line: packet loss, round-trip time, throughput, best baud rate.
///
/// The station echoes packets. If any is lost or altered, slower baud rates are measured too, down to the first that
/// loses none, and the exit code is 1.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LinkTestArgs {
    #[command(flatten)]
    port: PortArgs,
    /// Duration of the measurement
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
    let before = station.pause_streams()?;
    let progress = Progress::new("testing the line, % of the time", 100);
    let time = Duration::from_secs(args.seconds);
    let baud = station.baud();
    let quality = measure(&mut station, time, stop, |share| progress.reach((100.0 * share) as u64));
    drop(progress);
    let best_baud = match &quality {
        Ok(quality) if quality.is_clean() => Ok(Some(baud)),
        Ok(_) => fastest_clean(&mut station, time, stop),
        Err(_) => Ok(None),
    };
    let restored = station.stream(before.masks, before.preview);
    let (quality, best_baud) = (quality?, best_baud?);
    if args.json {
        output::json(&Tested { baud, best_baud, quality })?;
    } else {
        text(&quality).iter().try_for_each(|line| output::line(line))?;
        let best = best_baud.map_or("none without losses".to_owned(), |baud| format!("{baud} baud"));
        output::line(&format!("best speed  {best} (measured at {baud})"))?;
    }
    restored?;
    if !quality.is_clean() {
        let next = match best_baud {
            Some(best) => format!("use a shorter or better cable, or --baud {best}: the station follows"),
            None => "use a shorter or better cable".to_owned(),
        };
        return Err(Failure::failed(
            format!("{} of {} packets were lost or altered", quality.lost + quality.altered, quality.packets),
            next,
        ));
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Tested {
    /// The measured baud rate.
    baud: u32,
    /// The fastest rate from there down without losses.
    best_baud: Option<u32>,
    #[serde(flatten)]
    quality: LineQuality,
}

/// The fastest of the lower rates without losses, each measured for the same time.
fn fastest_clean(
    station: &mut StationClient<SerialTransport>,
    time: Duration,
    stop: &AtomicBool,
) -> Result<Option<u32>, Failure> {
    for speed in station.baud_rate().slower() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match station.try_baud(speed) {
            Ok(true) if measure(station, time, stop, |_| ())?.is_clean() && !stop.load(Ordering::Relaxed) => {
                return Ok(Some(speed));
            }
            Ok(_) | Err(LinkError::Timeout { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn text(quality: &LineQuality) -> [String; 3] {
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
}
