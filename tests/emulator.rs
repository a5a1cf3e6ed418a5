//! The station's own package on an emulated aarch64 machine with Debian's kernel: camera, serial line, GPIO and disk
//! with their real drivers. Run by tests/emulator/run, which builds the machine.
#![allow(missing_docs, clippy::unwrap_used, reason = "a target of tests: helpers fail as tests do")]

#[path = "emulator/counting.rs"]
mod counting;
#[path = "emulator/faults.rs"]
mod faults;
mod fixture;
#[path = "emulator/install.rs"]
mod install;
#[path = "emulator/labels.rs"]
mod labels;
#[path = "emulator/machine.rs"]
mod machine;
#[path = "emulator/power_cuts.rs"]
mod power_cuts;
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod process;
#[path = "emulator/qemu_channels.rs"]
mod qemu_channels;
#[path = "emulator/write_log.rs"]
mod write_log;
