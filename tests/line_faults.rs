//! Host and station on a faulty line: whole conversations, after which nothing may be lost, duplicated or confused.
//!
//! Both ends are real, with all their threads; only the wire between them is simulated. The seed determines the faults
//! and their positions in the byte stream; the affected bytes depend on the machine's timing.
//!
//! ```sh
//! tests/run --test line_faults                                                     # a few seeds
//! NUCLEI_FAULT_SEEDS=0..1000 tests/run --test line_faults -- --nocapture           # a thousand
//! NUCLEI_FAULT_SEEDS=17 tests/run --test line_faults -- --nocapture                # one that failed
//! ```
#![allow(missing_docs, clippy::unwrap_used, reason = "a target of tests: helpers fail as tests do")]

#[path = "line_faults/conversation.rs"]
mod conversation;
mod fixture;
#[path = "line_faults/line.rs"]
mod line;
#[path = "line_faults/received_counts.rs"]
mod received_counts;
#[path = "line_faults/schedule.rs"]
mod schedule;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use conversation::{Outcome, converse};
use schedule::FAULTS;

const SEEDS: &str = "NUCLEI_FAULT_SEEDS";
/// Parallel conversations, which mostly wait.
const AT_ONCE: usize = 12;

/// Seeds as `17` or `0..1000`.
fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var(SEEDS) else { return 0..26 };
    let number =
        |text: &str| text.trim().parse().unwrap_or_else(|_| panic!("{SEEDS} is 17 or 0..1000, not {text}"));
    match text.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&text)..number(&text) + 1,
    }
}

#[test]
fn nothing_is_lost_or_doubled_whatever_the_line_does() {
    let (seeds, start) = (seeds(), Instant::now());
    let next = AtomicU64::new(seeds.start);
    let ended: Mutex<(Outcome, Vec<u64>)> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    // A separate thread, so that a panic only affects this seed.
                    let talk = std::thread::Builder::new().name(format!("seed {seed}"));
                    let talked = talk.spawn(move || converse(seed)).unwrap().join();
                    let (sum, failed) = &mut *ended.lock().unwrap();
                    match talked {
                        Ok(outcome) => sum.add(&outcome),
                        Err(_) => {
                            println!("seed {seed} failed: {SEEDS}={seed} tests/run --test line_faults -- --nocapture");
                            failed.push(seed);
                        }
                    }
                }
            });
        }
    });
    let (sum, failed) = ended.into_inner().unwrap();
    let all = seeds.end - seeds.start;
    println!("{} of {all} seeds, in {:.0} s", all - failed.len() as u64, start.elapsed().as_secs_f64());
    for (fault, count) in FAULTS.iter().zip(sum.faults) {
        println!("{count:>8} times {fault:?}");
    }
    println!("{sum}");
    assert!(failed.is_empty(), "failed seeds: {failed:?}");
    assert!(all < FAULTS.len() as u64 || sum.regained() > 0, "no line lost a count: nothing was tried");
}
