//! The command line of `nuclei-host`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use host_console::{Exit, Failure, TRAIN, exit_code};

use crate::commands::passed_on::PassedOn;
use crate::commands::{
    audit, capture, convert, demo, dilution_series, doctor, explore, flash, key, link_test, live, publish,
    report, score, segment, sign, station,
};

/// Count cell nuclei with a microscope station: train, flash, watch, capture and score.
#[derive(Debug, Parser)]
#[command(name = "nuclei-host", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// One variant per file in `commands/`. Another program carries out those that are passed on.
#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Doctor(doctor::DoctorArgs),
    Explore(explore::ExploreArgs),
    /// Train a U-Net on images with masks and write the model file for a station
    #[command(disable_help_flag = true)]
    Train(PassedOn),
    /// Write the model file of a training run: of its best epoch so far, or of its last checkpoint
    #[command(disable_help_flag = true)]
    Export(PassedOn),
    /// Quantize a trained network to int8, report the loss in accuracy, and fail if it exceeds the limit
    #[command(disable_help_flag = true)]
    Quantize(PassedOn),
    /// Compare models on the same images, with intervals
    #[command(disable_help_flag = true)]
    Compare(PassedOn),
    /// Write the images that training holds back for validation, with their masks, to a zip
    #[command(disable_help_flag = true)]
    Split(PassedOn),
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
    /// Measure training speed on this machine: forward, backward and Adam on crops of a fixed pattern
    #[command(disable_help_flag = true)]
    Bench(PassedOn),
}

impl Command {
    fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Demo(args) => demo::run(&args),
            Self::Doctor(args) => doctor::run(&args),
            Self::Explore(args) => explore::run(&args),
            Self::Train(args) => Err(TRAIN.become_it("train", &args.arguments)),
            Self::Export(args) => Err(TRAIN.become_it("export", &args.arguments)),
            Self::Quantize(args) => Err(TRAIN.become_it("quantize", &args.arguments)),
            Self::Compare(args) => Err(TRAIN.become_it("compare", &args.arguments)),
            Self::Split(args) => Err(TRAIN.become_it("split", &args.arguments)),
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
            Self::Bench(args) => Err(TRAIN.become_it("bench", &args.arguments)),
        }
    }
}

/// Parses the command line, runs the command and reports errors.
pub fn run() -> ExitCode {
    exit_code(Cli::parse_from(asking_the_command(std::env::args_os().collect())).command.run())
}

/// `help COMMAND` as `COMMAND --help`, which the program that carries the command out answers.
fn asking_the_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.len() == 3 && arguments[1] == "help" {
        arguments.remove(1);
        arguments.push("--help".into());
    }
    arguments
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
        for command in cli.get_subcommands().filter(|command| !command.is_disable_help_flag_set()) {
            assert!(parse_examples(command) > 0, "{} has no example", command.get_name());
        }
    }

    #[test]
    fn every_word_after_a_command_that_is_passed_on_stays_as_it_is() {
        let words = ["nuclei-host", "train", "--data", "a.zip", "--help", "--", "-x"];
        let Command::Train(PassedOn { arguments }) = Cli::parse_from(words).command else { panic!() };
        assert_eq!(arguments, words[2..].iter().map(OsString::from).collect::<Vec<_>>());
        let asked = asking_the_command(["nuclei-host", "help", "train"].map(OsString::from).to_vec());
        assert_eq!(asked, ["nuclei-host", "train", "--help"].map(OsString::from));
    }
}
