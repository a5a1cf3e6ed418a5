//! The cost of a frame on this machine: time per stage, memory, bytes on the wire.

use std::fs;
use std::io::{self, Write as _};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use clap::Args;
use shared::wire::{Acquisition, EncodeError, FrameReport};
use shared::{
    DutyCycle, Execution, InputSpec, Kernels, Manifest, Model, ModelError, NetworkError, Scale, ScaleRule,
    TilePlan, scaled_side,
};
use thiserror::Error;

use self::flow::Flow;
use self::layers::Layers;
use self::summary::{FrameMeasures, Summary};
use crate::camera::{Camera, CameraError, CameraSource, Frame, Grab, GrabStrategy, Repeat, microseconds};
use crate::inference::{Pipeline, PipelineError, preview_jpeg};
use crate::station::threads_or_all;
use crate::update::FACTORY_MODEL;

mod flow;
mod layers;
mod summary;

/// Frames held in memory and streamed, repeated if more are needed.
const KEPT: usize = 8;

/// Options of the measurement.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example: nuclei-station bench --size 640x480 --frames 50 --threads 2\n\
                  Example: nuclei-station bench --model nuclei.onnx --pictures slides/ --json")]
pub struct StationBenchArgs {
    /// Model file [default: the factory model]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Size of the simulated images, px
    #[arg(long, value_name = "WxH", default_value = "640x480")]
    size: PictureSize,
    /// Measure with these images instead: a folder or zip, repeated if necessary
    #[arg(long, value_name = "DIR|ZIP")]
    pictures: Option<PathBuf>,
    /// Frames to measure, after one warm-up frame
    #[arg(long, value_name = "N", default_value = "50")]
    frames: NonZeroU32,
    /// Threads of the network; 0 for one per core
    #[arg(long, value_name = "T", default_value_t = 0)]
    threads: usize,
    /// Kernels of the network: this project's own, or the slower ones of tract
    #[arg(long, value_name = "own|tract", default_value = "own")]
    kernels: Kernels,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Width and height as `640x480`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PictureSize {
    width: u32,
    height: u32,
}

impl FromStr for PictureSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sides = text
            .split_once('x')
            .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
        sides
            .map(|(width, height)| Self { width, height })
            .ok_or("expected width and height in pixels, such as 640x480")
    }
}

/// Why a measurement failed.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The model file cannot be read.
    #[error("cannot read the model {path}; check the path")]
    ReadModel {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The model cannot be run.
    #[error("cannot run the model; export it again with nuclei-host export")]
    Model(#[from] ModelError),
    /// There is no image to measure with.
    #[error(transparent)]
    Camera(#[from] CameraError),
    /// A frame failed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The network failed on a tile.
    #[error("cannot run the model on a tile; export it again with nuclei-host export")]
    Network(#[from] NetworkError),
    /// A result does not fit its packets.
    #[error("a frame's result does not fit its packets")]
    Packet(#[from] EncodeError),
    /// Frames were lost on their way through the station's loop.
    #[error("a frame failed in the stream; run the command again, and report the error printed above")]
    Stream,
    /// The system cannot start a thread.
    #[error("cannot start a thread; free some memory")]
    Thread(#[source] io::Error),
    /// Linux does not report memory usage.
    #[error("cannot read peak memory from /proc/self/status; check that /proc is mounted")]
    Memory(#[source] io::Error),
    /// The result cannot be printed.
    #[error("cannot print the result")]
    Print(#[source] io::Error),
}

/// Measures and prints.
///
/// # Errors
/// [`BenchError`].
pub fn run(args: &StationBenchArgs) -> Result<(), BenchError> {
    let onnx = match &args.model {
        Some(path) => {
            fs::read(path).map_err(|source| BenchError::ReadModel { path: path.clone(), source })?
        }
        None => FACTORY_MODEL.to_vec(),
    };
    let execution = Execution { threads: threads_or_all(args.threads), kernels: args.kernels };
    let summary = measure(&onnx, execution, args)?;
    let text = if args.json { summary.json() } else { summary.table() };
    match writeln!(io::stdout().lock(), "{text}") {
        // A reader that closed the pipe has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(BenchError::Print),
    }
}

fn measure(onnx: &[u8], execution: Execution, args: &StationBenchArgs) -> Result<Summary, BenchError> {
    let mut model = Model::load(onnx, execution)?;
    let manifest = model.manifest().clone();
    let layers = Layers::measure(model.network_mut(), execution.threads, args.frames)?;
    let mut pipeline = Pipeline::new(model);
    // Frames of one scene share a scale; separate images do not.
    let (source, acquisition) = match &args.pictures {
        Some(path) => {
            let (path, repeat) = (path.clone(), Repeat::Forever);
            (CameraSource::Pictures { path, frames_per_second: 1.0, repeat }, Acquisition::Triggered)
        }
        None => (simulated(args.size), Acquisition::Continuous),
    };
    let mut camera = source.open()?;
    let (mut samples, mut kept) = (Vec::new(), Vec::new());
    for number in 0..=args.frames.get() {
        // A real camera has no ground truth.
        let frame = Frame { truth: None, ..next_frame(&mut *camera)? };
        if number > 0 && kept.len() < KEPT {
            kept.push(frame.clone());
        }
        let sample = take_sample(&mut pipeline, number, frame, acquisition, &manifest)?;
        if number > 0 {
            samples.push(sample);
        }
    }
    let peak_rss_mb = peak_rss_mb().map_err(BenchError::Memory)?;
    let digest = pipeline.digest();
    let flow = Flow::measure(pipeline, execution.threads, &kept.into(), samples.len())?;
    Ok(Summary::of(digest, execution.threads, &samples, layers, flow, peak_rss_mb))
}

/// A scene as dense as the default one.
fn simulated(PictureSize { width, height }: PictureSize) -> CameraSource {
    let nuclei = u32::try_from(u64::from(width) * u64::from(height) * 60 / (640 * 480)).unwrap_or(u32::MAX);
    CameraSource::Simulated { width, height, seed: 1, nuclei, frames_per_second: 1.0 }
}

fn next_frame(camera: &mut dyn Camera) -> Result<Frame, BenchError> {
    loop {
        // Repeated images never end.
        if let Grab::Frame(frame) = camera.grab(GrabStrategy::OneByOne)? {
            return Ok(*frame);
        }
    }
}

fn take_sample(
    pipeline: &mut Pipeline,
    number: u32,
    frame: Frame,
    acquisition: Acquisition,
    manifest: &Manifest,
) -> Result<FrameMeasures, BenchError> {
    let start = Instant::now();
    let mut result = pipeline.process(number, frame, DutyCycle::OFF, acquisition)?;
    let preview_start = Instant::now();
    let preview = preview_jpeg(&result.frame.image);
    let preview_time = microseconds(preview_start.elapsed());
    let convert = result.report.times.convert;
    let frame_us = microseconds(start.elapsed()).0.saturating_add(convert.0);
    result.report.times.encode.0 = result.report.times.encode.0.saturating_add(preview_time.0);
    let tiles = tiles_run(&manifest.input, &result.report, acquisition);
    let gmac = tiles as f64 * f64::from(manifest.gmac);
    Ok(FrameMeasures::new(result.report, &result.masks, &preview, frame_us, tiles, gmac)?)
}

/// Tiles per frame: a triggered frame is processed first at its original scale, then at its own.
fn tiles_run(input: &InputSpec, report: &FrameReport, acquisition: Acquisition) -> usize {
    let tiles = |scale: f32| {
        let Ok(scale) = Scale::try_from(scale) else { return 0 };
        let tile = input.tile as usize;
        let (width, height) = match input.scale {
            ScaleRule::Fit => (tile, tile),
            ScaleRule::Native | ScaleRule::Nucleus { .. } => {
                (scaled_side(report.width, scale), scaled_side(report.height, scale))
            }
        };
        TilePlan::new(width, height, tile, input.overlap as usize).len()
    };
    let one = Scale::ONE.get();
    match acquisition {
        Acquisition::Triggered if report.scale != one => tiles(one) + tiles(report.scale),
        Acquisition::Triggered | Acquisition::Continuous => tiles(report.scale),
    }
}

/// Peak memory of this process so far, MiB.
fn peak_rss_mb() -> io::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kilobytes.map(|kilobytes| kilobytes / 1024.0).ok_or_else(|| io::Error::other("no line VmHWM"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: StationBenchArgs,
    }

    fn parse(flags: &[&str]) -> Result<StationBenchArgs, clap::Error> {
        Line::try_parse_from(["bench"].iter().chain(flags)).map(|line| line.args)
    }

    #[test]
    fn flags_are_read() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.size, PictureSize { width: 640, height: 480 });
        let args = parse(&["--size", "256x128", "--frames", "3", "--threads", "2", "--json"]).unwrap();
        assert_eq!((args.size, args.frames.get()), (PictureSize { width: 256, height: 128 }, 3));
        for bad in [["--size", "640"], ["--size", "640x-1"], ["--frames", "0"], ["--threads", "many"]] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn measures_simulated_frames() {
        let args = parse(&["--size", "256x256", "--frames", "2", "--threads", "1"]).unwrap();
        let summary = measure(FACTORY_MODEL, Execution::default(), &args).unwrap();
        let json: serde_json::Value = serde_json::from_str(&summary.json()).unwrap();
        let number = |name: &str| json[name].as_f64().unwrap_or_else(|| panic!("no {name} in {json}"));
        assert_eq!(number("frames"), 2.0);
        assert_eq!(number("threads"), 1.0);
        assert!(number("network_ms") > 0.0 && number("network_ms") <= number("frame_ms"));
        assert!(number("gmac") > 0.0 && number("tiles") >= 1.0 && number("peak_rss_mb") > 1.0);
        let stages = json["stages_ms"].as_object().unwrap();
        let names: Vec<&str> = stages.keys().map(String::as_str).collect();
        assert_eq!(names, ["convert", "encode", "evidence", "extraction", "network", "preprocess"]);
        assert_eq!(json["stages_ms"]["network"], json["network_ms"]);
        let rate = |way: &str, name: &str| json["stream"][way][name].as_f64();
        assert!(
            rate("in_turn", "frames_per_s").unwrap() > 0.0 && rate("in_turn", "latency_ms").unwrap() > 0.0
        );
        assert!(json["stream"]["overlapped"].is_null(), "one thread does not overlap: {json}");
        assert!(json["wire_bytes"]["report"].as_u64().unwrap() > 50);
        assert!(json["wire_bytes"]["masks"].as_u64().unwrap() > 50);
        assert!(summary.table().lines().any(|line| line.trim_start().starts_with("network")));
        let layers = json["layers"].as_array().unwrap();
        let sum = |name: &str| layers.iter().map(|layer| layer[name].as_f64().unwrap()).sum::<f64>();
        assert!((sum("gmac") * number("tiles") - number("gmac")).abs() < 0.01 * number("gmac"), "{json}");
        assert!(sum("ms") > 0.0 && number("peak_gmac_per_s") > 0.0);
        assert!(layers.iter().any(|layer| layer["operator"] == "NucleiQuantizedConv"), "{json}");
        assert!(summary.table().contains("encoder3.1.conv"), "{}", summary.table());
    }

    #[test]
    fn a_stream_is_measured_both_ways() {
        let args = parse(&["--size", "256x256", "--frames", "2", "--threads", "2"]).unwrap();
        let execution = Execution::from(threads_or_all(2));
        let summary = measure(FACTORY_MODEL, execution, &args).unwrap();
        let json: serde_json::Value = serde_json::from_str(&summary.json()).unwrap();
        for way in ["in_turn", "overlapped"] {
            let rate = |name: &str| json["stream"][way][name].as_f64().unwrap_or_else(|| panic!("{json}"));
            assert!(rate("frames_per_s") > 0.0 && rate("latency_ms") > 0.0, "{json}");
        }
        assert!(summary.table().contains("pipelined"), "{}", summary.table());
    }

    #[test]
    fn what_cannot_be_measured_is_named() {
        let args = |flags: &[&str]| parse(flags).unwrap();
        let missing = run(&args(&["--model", "/no/such.onnx"])).unwrap_err();
        assert!(missing.to_string().contains("/no/such.onnx"), "{missing}");
        let none = measure(b"not a model", Execution::default(), &args(&[])).unwrap_err();
        assert!(matches!(none, BenchError::Model(ModelError::NotOnnx)), "{none}");
        let small = measure(FACTORY_MODEL, Execution::default(), &args(&["--size", "8x8", "--frames", "1"]))
            .unwrap_err();
        assert!(matches!(small, BenchError::Camera(CameraError::SimulatedSize { .. })), "{small}");
    }
}
