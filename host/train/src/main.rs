//! `nuclei-train`: the training commands of `nuclei-host`, in a separate program next to it because Burn takes minutes
//! to compile.
#![forbid(unsafe_code)]

mod cli;
mod commands;

fn main() -> std::process::ExitCode {
    cli::run()
}
