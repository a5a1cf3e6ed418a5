//! Times a tile by rten: nuclei-rten MODEL FRAMES THREADS. Prints one JSON object: the fastest tile and the median CPU
//! time of a tile, all threads together, in ms, as `nuclei-station bench` does; and the mean of the network's output
//! for the tile, to verify that it computed the same.

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use rten::{ModelOptions, RunOptions, ThreadPool};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

const USAGE: &str = "usage: nuclei-rten MODEL FRAMES THREADS";
/// What the station's own bench runs: a tile.
const SHAPE: [usize; 4] = [1, 3, 256, 256];

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("nuclei-rten: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, frames, threads] = arguments.as_slice() else { return Err(USAGE.into()) };
    let (frames, threads): (usize, usize) = (frames.parse()?, threads.parse()?);
    let mut options = ModelOptions::with_all_ops();
    options.prepack_weights(true);
    let model = options.load_file(model)?;
    let pool = Arc::new(ThreadPool::with_num_threads(threads));
    let values = (0..SHAPE.iter().product()).map(|index: usize| (index % 251) as f32 / 250.0);
    let tile_nchw = NdTensor::from_data(SHAPE, values.collect::<Vec<f32>>());
    let run = || -> Result<NdTensor<f32, 4>, Box<dyn Error>> {
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&pool)));
        Ok(model.run_one(tile_nchw.view().into(), Some(options))?.try_into()?)
    };
    let maps = run()?;
    let mean = maps.iter().map(|&value| f64::from(value)).sum::<f64>() / maps.len() as f64;
    let (mut fastest, mut cpu_times) = (Duration::MAX, Vec::new());
    for _ in 0..frames {
        let (start, cpu_start) = (Instant::now(), cpu_time()?);
        run()?;
        fastest = fastest.min(start.elapsed());
        cpu_times.push(cpu_time()? - cpu_start);
    }
    cpu_times.sort_unstable();
    let cpu = cpu_times.get(frames / 2).ok_or("at least one frame is to be timed")?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(format!(r#"{{"tile_ms":{},"tile_cpu_ms":{},"mean":{mean}}}"#, ms(fastest), ms(*cpu)))
}

/// CPU time of this process so far.
fn cpu_time() -> Result<Duration, nix::Error> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(microseconds.unsigned_abs()))
}
