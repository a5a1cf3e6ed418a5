//! The appliance from the user's side: both programs as separate processes, connected by a virtual serial line at
//! 921,600 baud. Run by tests/run, which builds the programs first.
#![allow(missing_docs, clippy::unwrap_used, reason = "a target of tests: helpers fail as tests do")]

#[path = "end_to_end/bad_input.rs"]
mod bad_input;
#[path = "end_to_end/broker.rs"]
mod broker;
#[path = "end_to_end/browser.rs"]
mod browser;
#[path = "end_to_end/calibration.rs"]
mod calibration;
#[path = "end_to_end/captures.rs"]
mod captures;
#[path = "end_to_end/companions.rs"]
mod companions;
#[path = "end_to_end/demo.rs"]
mod demo;
#[path = "end_to_end/dilutions.rs"]
mod dilutions;
#[path = "end_to_end/exports.rs"]
mod exports;
mod fixture;
#[path = "end_to_end/flashing.rs"]
mod flashing;
#[path = "end_to_end/fleet.rs"]
mod fleet;
#[path = "end_to_end/flood.rs"]
mod flood;
#[path = "end_to_end/full_disk.rs"]
mod full_disk;
#[path = "end_to_end/harness.rs"]
mod harness;
#[path = "end_to_end/live.rs"]
mod live;
#[path = "end_to_end/missing_station.rs"]
mod missing_station;
#[path = "end_to_end/offline.rs"]
mod offline;
#[path = "end_to_end/page.rs"]
mod page;
#[allow(dead_code, reason = "shared with the emulator")]
mod process;
#[path = "end_to_end/publish.rs"]
mod publish;
#[path = "end_to_end/real_pictures.rs"]
mod real_pictures;
#[path = "end_to_end/reports.rs"]
mod reports;
#[path = "end_to_end/soak.rs"]
mod soak;
#[path = "end_to_end/speeds.rs"]
mod speeds;
#[path = "end_to_end/station_bench.rs"]
mod station_bench;
#[path = "end_to_end/terminal.rs"]
mod terminal;
#[path = "end_to_end/training.rs"]
mod training;
#[path = "end_to_end/trusted_keys.rs"]
mod trusted_keys;
#[path = "end_to_end/viewers.rs"]
mod viewers;
#[path = "end_to_end/workdir.rs"]
mod workdir;
