//! `nuclei-host bench`: measures training speed.

use clap::Args;
use host_console::{Exit, Failure, output};
use host_training::{BackendChoice, Precision, PrecisionChoice, Throughput, ThroughputConfig};
use serde::Serialize;

use super::network_args::NetworkArgs;

const EXAMPLES: &str = "Examples:
  nuclei-host bench
  nuclei-host bench --precision f32
  nuclei-host bench --backend cuda --batch 64 --json";

/// Measure training speed on this machine: forward, backward and Adam on crops of a fixed pattern.
///
/// For the speed of a station, run `nuclei-station bench` there.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    #[command(flatten)]
    network: NetworkArgs,
    /// Compute backend
    #[arg(long, value_enum, default_value = "auto")]
    backend: BackendChoice,
    /// Precision of the CPU's products
    #[arg(long, value_enum, default_value = "auto")]
    precision: PrecisionChoice,
    /// Steps to measure, after one warm-up step
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    steps: u16,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Measured {
    backend: &'static str,
    precision: Precision,
    architecture: String,
    batch: usize,
    crop: usize,
    steps: u16,
    #[serde(flatten)]
    throughput: Throughput,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &BenchArgs) -> Result<Exit, Failure> {
    let unet = args.network.unet()?;
    let backend = args.backend.resolve()?;
    let NetworkArgs { batch, crop, .. } = args.network;
    let precision = args.precision.resolve(backend, &unet)?;
    if let Some(caution) = backend.caution(precision) {
        eprintln!("caution: {caution}");
    }
    let config = ThroughputConfig { unet, batch, crop, precision, steps: args.steps.into() };
    let throughput = config.measure(backend);
    let (backend, architecture) = (backend.name(), unet.describe());
    if args.json {
        let measured =
            Measured { backend, precision, architecture, batch, crop, steps: args.steps, throughput };
        output::json(&measured)?;
    } else {
        let Throughput { step_ms, crops_per_s, gmac_per_s } = throughput;
        output::line(&format!(
            "{architecture} on {backend} in {}, {batch} crops of {crop} px: {step_ms:.0} ms per step, \
             {crops_per_s:.1} crops/s, {gmac_per_s:.1} GMAC/s (medians of {} steps)",
            precision.name(),
            args.steps
        ))?;
    }
    Ok(Exit::Done)
}
