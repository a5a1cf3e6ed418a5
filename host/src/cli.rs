//! The command line of `nuclei-host`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use host_console::{Exit, Failure};
use host_training::PROBE_COMMAND;

use crate::commands::{
    audit, bench, capture, convert, demo, dilution_series, doctor, explore, export, flash, key, link_test,
    live, probe_cuda, publish, quantize, report, score, segment, sign, split, station, train,
};

/// Count cell nuclei with a microscope station: train, flash, watch, capture and score.
#[derive(Debug, Parser)]
#[command(name = "nuclei-host", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// One variant per file in `commands/`.
#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Doctor(doctor::DoctorArgs),
    Explore(explore::ExploreArgs),
    Train(train::TrainArgs),
    Export(export::ExportArgs),
    Quantize(quantize::QuantizeArgs),
    Split(split::SplitArgs),
    Segment(segment::SegmentArgs),
    Convert(convert::ConvertArgs),
    Report(report::ReportArgs),
    DilutionSeries(dilution_series::DilutionSeriesArgs),
    Score(score::ScoreArgs),
    Key(key::KeyArgs),
    Sign(sign::SignArgs),
    Flash(flash::FlashArgs),
    Station(station::StationArgs),
    Live(live::LiveArgs),
    Capture(capture::CaptureArgs),
    Publish(publish::PublishArgs),
    Audit(audit::AuditArgs),
    LinkTest(link_test::LinkTestArgs),
    Bench(bench::BenchArgs),
    #[command(name = PROBE_COMMAND, hide = true)]
    ProbeCuda,
}

impl Command {
    fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Demo(args) => demo::run(&args),
            Self::Doctor(args) => doctor::run(&args),
            Self::Explore(args) => explore::run(&args),
            Self::Train(args) => train::run(&args),
            Self::Export(args) => export::run(&args),
            Self::Quantize(args) => quantize::run(&args),
            Self::Split(args) => split::run(&args),
            Self::Segment(args) => segment::run(&args),
            Self::Convert(args) => convert::run(&args),
            Self::Report(args) => report::run(&args),
            Self::DilutionSeries(args) => dilution_series::run(&args),
            Self::Score(args) => score::run(&args),
            Self::Key(args) => key::run(&args),
            Self::Sign(args) => sign::run(&args),
            Self::Flash(args) => flash::run(&args),
            Self::Station(args) => station::run(&args),
            Self::Live(args) => live::run(&args),
            Self::Capture(args) => capture::run(&args),
            Self::Publish(args) => publish::run(&args),
            Self::Audit(args) => audit::run(&args),
            Self::LinkTest(args) => link_test::run(&args),
            Self::Bench(args) => bench::run(&args),
            Self::ProbeCuda => probe_cuda::run(),
        }
    }
}

/// Parses the command line, runs the command and reports errors.
pub fn run() -> ExitCode {
    let ended: Result<Exit, Failure> = Cli::parse().command.run();
    ExitCode::from(ended.unwrap_or_else(report) as u8)
}

fn report(failure: Failure) -> Exit {
    if !failure.is_closed_pipe() {
        eprintln!("{failure}");
    }
    failure.exit()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use host_console::example_command_lines;

    use super::*;

    /// Parses the examples of a command and of those below it, and returns how many there are.
    fn parse_examples(command: &clap::Command) -> usize {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples = example_command_lines(&help, "nuclei-host");
        for example in &examples {
            let parsed = Cli::try_parse_from(example);
            assert!(parsed.is_ok(), "{}: {}", example.join(" "), parsed.unwrap_err());
        }
        examples.len() + command.get_subcommands().map(parse_examples).sum::<usize>()
    }

    #[test]
    fn every_command_has_examples_and_they_parse() {
        let cli = Cli::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(parse_examples(command) > 0, "{} has no example", command.get_name());
        }
    }
}
