//! A long run: memory stays constant, and every count arrives.
//!
//! ```sh
//! tests/run --test end_to_end soak -- --ignored --nocapture
//! NUCLEI_SOAK_FRAMES=1000000 tests/run --test end_to_end soak -- --ignored --nocapture
//! ```

use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

use crate::fixture::brightness_model;
use crate::harness::{Harness, Process, next_line};

/// Small images at nearly the simulated camera's maximum rate.
const CAMERA: &str = "kind = \"simulated\"\nwidth = 96\nheight = 64\nnuclei = 5\nframes_per_second = 200.0";
const SAMPLES: u64 = 200;
/// More growth than this in the second half is a leak; the allocator's own variation is smaller.
const MOST_GROWTH_KIB: f64 = 512.0;

#[test]
#[ignore = "takes minutes: cargo's --ignored runs it"]
fn memory_stays_flat_and_no_count_is_missed() {
    let frames: u64 = std::env::var("NUCLEI_SOAK_FRAMES").map_or(20_000, |frames| frames.parse().unwrap());
    let bench = Harness::new(CAMERA);
    bench.flash("model.onnx", &brightness_model(0.4));
    let count = frames.to_string();
    let mut live = Process::start(bench.host(&["live", "--json", "--frames", &count]).stdout(Stdio::piped()));
    let mut lines = live.stdout();
    let (start, mut numbers, mut skipped) = (Instant::now(), Vec::new(), 0);
    let mut memory: [Vec<(f64, f64)>; 2] = Default::default();
    for at in 0..frames {
        let line = next_line(&mut lines).unwrap_or_else(|| panic!("live ended after {at} frames"));
        let frame: Value = serde_json::from_str(&line).unwrap();
        numbers.push(frame["frame"].as_u64().unwrap());
        skipped += frame["skipped"].as_u64().unwrap();
        if at % (frames / SAMPLES).max(1) == 0 {
            for (samples, process) in memory.iter_mut().zip([&bench.station, &live]) {
                samples.push((at as f64, process.resident_kib()));
            }
        }
    }
    assert_eq!(live.wait().code(), Some(0));
    let unsent = bench.json(&["station", "status", "--json"])[0]["frames_unsent"].as_u64().unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let missing = numbers[numbers.len() - 1] - numbers[0] + 1 - frames;
    println!(
        "{frames} frames in {seconds:.0} s, {missing} counts missing; {skipped} camera frames skipped, {unsent} masks and previews not sent"
    );
    for (name, samples) in ["nuclei-station", "nuclei-host live"].iter().zip(&memory) {
        let growth = growth_kib(&samples[samples.len() / 2..]);
        let (first, last) = (samples[0].1, samples[samples.len() - 1].1);
        println!(
            "{name}: {first:.0} KiB at first, {last:.0} KiB at last, {growth:+.0} KiB in the second half"
        );
        assert!(growth < MOST_GROWTH_KIB, "{name} grew by {growth:.0} KiB in the second half");
    }
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "counts are missing or doubled");
}

/// How much the second number grows from the first sample to the last, by least squares.
fn growth_kib(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let covariance: f64 = samples.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = samples.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    covariance / variance * (samples[samples.len() - 1].0 - samples[0].0)
}
