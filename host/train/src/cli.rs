//! The command line of `nuclei-train`, which behaves like `nuclei-host`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use host_console::{CHECK_CUDA, Exit, Failure, exit_code};

#[cfg(feature = "cuda")]
use crate::commands::probe_cuda;
use crate::commands::{bench, check_cuda, compare, export, quantize, split, train};

/// The commands of nuclei-host that train and quantize networks.
#[derive(Debug, Parser)]
#[command(
    name = "nuclei-train",
    bin_name = "nuclei-host",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// One variant per file in `commands/`.
#[derive(Debug, Subcommand)]
enum Command {
    Train(train::TrainArgs),
    Export(export::ExportArgs),
    Quantize(quantize::QuantizeArgs),
    Split(split::SplitArgs),
    Compare(compare::CompareArgs),
    Bench(bench::BenchArgs),
    #[command(name = CHECK_CUDA, hide = true)]
    CheckCuda,
    #[cfg(feature = "cuda")]
    #[command(name = host_training::PROBE_COMMAND, hide = true)]
    ProbeCuda,
}

impl Command {
    fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Train(args) => train::run(&args),
            Self::Export(args) => export::run(&args),
            Self::Quantize(args) => quantize::run(&args),
            Self::Split(args) => split::run(&args),
            Self::Compare(args) => compare::run(&args),
            Self::Bench(args) => bench::run(&args),
            Self::CheckCuda => check_cuda::run(),
            #[cfg(feature = "cuda")]
            Self::ProbeCuda => probe_cuda::run(),
        }
    }
}

/// Parses the command line, runs the command and reports how it ended.
pub fn run() -> ExitCode {
    exit_code(Cli::parse().command.run())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use host_console::example_command_lines;

    use super::*;

    /// Parses the examples of a command that are this program's, and returns how many there are.
    fn parse_examples(command: &clap::Command) -> usize {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let mut examples = example_command_lines(&help, "nuclei-host");
        examples.retain(|words| Cli::command().find_subcommand(&words[1]).is_some());
        for example in &examples {
            let parsed = Cli::try_parse_from(example);
            assert!(parsed.is_ok(), "{}: {}", example.join(" "), parsed.unwrap_err());
        }
        examples.len()
    }

    #[test]
    fn every_command_has_examples_and_they_parse() {
        let cli = Cli::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(parse_examples(command) > 0, "{} has no example", command.get_name());
        }
    }

    #[test]
    fn earlier_flags_stay_valid() {
        for words in [
            "train --data x --averaging 0.99 --front",
            "quantize --form weights",
            "quantize --form integer --ranges percentile --calibration 8",
        ] {
            let parsed = Cli::try_parse_from(["nuclei-train"].into_iter().chain(words.split(' ')));
            assert!(parsed.is_ok(), "{words}: {}", parsed.unwrap_err());
        }
    }
}
