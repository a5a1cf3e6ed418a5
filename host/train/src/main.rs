//! `nuclei-train`: the commands of `nuclei-host` that need a network in training. It lies beside `nuclei-host`, which
//! starts it, because Burn takes minutes to compile.
#![forbid(unsafe_code)]

mod cli;
mod commands;

fn main() -> std::process::ExitCode {
    cli::run()
}
