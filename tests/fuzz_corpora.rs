//! Replays the fuzz corpora, unchanged and damaged at random. tests/fuzz/README.md describes coverage-guided fuzzing;
//! this test needs no extra tools.
//!
//! ```sh
//! tests/run --test fuzz_corpora
//! NUCLEI_FUZZ_RUNS=1000000 tests/run --test fuzz_corpora damaged -- --nocapture     # damaged so often, each target
//! ```
#![allow(missing_docs, clippy::unwrap_used, reason = "a target of tests: helpers fail as tests do")]

#[path = "fuzz/damage.rs"]
mod damage;
mod fixture;
#[path = "fuzz/seeds.rs"]
mod seeds;
#[path = "fuzz/targets.rs"]
mod targets;

use std::any::Any;
use std::cell::Cell;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;

use targets::TARGETS;

/// No input may keep a station busy this long.
const PATIENCE: Duration = Duration::from_secs(30);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder().join("corpus").join(target)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no corpus");
    files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

/// Runs a target; returns its message if it fails.
fn attempt(run: fn(&[u8]), bytes: &[u8]) -> Result<(), String> {
    thread_local!(static IS_TARGET: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    // The engine's panics count as refusals, and are not printed.
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_TARGET.get() {
                hook(panic);
            }
        }));
    });
    let start = Instant::now();
    IS_TARGET.set(true);
    let ran = catch_unwind(|| run(bytes));
    IS_TARGET.set(false);
    match ran {
        Ok(()) if start.elapsed() < PATIENCE => Ok(()),
        Ok(()) => Err(format!("took {:?}", start.elapsed())),
        Err(panic) => Err(words(&*panic)),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[test]
fn every_corpus_is_taken_or_refused() {
    for (name, run) in TARGETS {
        for (file, bytes) in corpus(name) {
            let ran = attempt(run, &bytes);
            assert!(ran.is_ok(), "{}: {ran:?}", file.display());
        }
    }
}

#[test]
fn every_damaged_corpus_is_taken_or_refused() {
    let runs: u64 = std::env::var("NUCLEI_FUZZ_RUNS").map_or(1000, |runs| runs.parse().unwrap());
    std::thread::scope(|scope| {
        for (name, run) in TARGETS {
            scope.spawn(move || {
                let (corpus, start) = (corpus(name), Instant::now());
                for seed in 0..runs {
                    let mut random = SmallRng::seed_from_u64(seed);
                    let bytes = damage::damaged(&corpus.choose(&mut random).unwrap().1, &corpus, &mut random);
                    if let Err(words) = attempt(run, &bytes) {
                        let file = folder().join("artifacts").join(format!("{name}-{seed}"));
                        fs::create_dir_all(file.parent().unwrap()).unwrap();
                        fs::write(&file, bytes).unwrap();
                        panic!("{}: {words}", file.display());
                    }
                }
                println!("{name}: {runs} executions in {:.0} s", start.elapsed().as_secs_f64());
            });
        }
    });
}

/// Seeds of fuzzing: real data as programs write it.
#[test]
#[ignore = "writes the folders that the other tests read"]
fn seeds_of_every_corpus() {
    for (name, seeds) in seeds::seeds() {
        let corpus = folder().join("corpus").join(name);
        fs::create_dir_all(&corpus).unwrap();
        for (index, seed) in seeds.iter().enumerate() {
            fs::write(corpus.join(format!("seed-{index}")), seed).unwrap();
        }
    }
}
