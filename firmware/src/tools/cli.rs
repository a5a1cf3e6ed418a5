//! The command line of `nuclei-station`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use shared::Kernels;

use super::bench::{self, BenchError, StationBenchArgs};
use super::check;
use crate::camera::{CameraError, CameraSource};
use crate::runtime::{CancellationToken, ErrorChain, log, watchdog};
use crate::station::{Config, ConfigError, Station};

/// Count cell nuclei in camera images and send the results to a host over a serial line.
#[derive(Debug, Parser)]
#[command(name = "nuclei-station", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Count until SIGTERM or Ctrl-C.
    #[command(after_help = "Example: nuclei-station run --port /dev/ttyUSB0 --camera simulated")]
    Run(ConfigArgs),
    /// Check camera, serial port, storage and models, and suggest the next step for each problem.
    #[command(after_help = "Example: nuclei-station check --config /etc/nuclei/station.toml --json")]
    Check(CheckArgs),
    /// Measure how long frames take on this machine.
    Bench(StationBenchArgs),
    /// Write the manual pages to a folder.
    #[command(hide = true, after_help = "Example: nuclei-station manual target/manual")]
    Manual {
        /// Output folder; created if it does not exist
        folder: PathBuf,
    },
}

/// The configuration, and the flags that override it.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// Configuration file [default: /etc/nuclei/station.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serial port to the host
    #[arg(long)]
    port: Option<String>,
    /// Baud rate of the serial port
    #[arg(long)]
    baud: Option<u32>,
    /// Folder in which models are stored
    #[arg(long, value_name = "DIR")]
    storage: Option<PathBuf>,
    /// Camera: `simulated`, a device such as /dev/video0, or a folder or zip of images
    #[arg(long)]
    camera: Option<String>,
    /// Name of the station, as the host shows it
    #[arg(long)]
    name: Option<String>,
    /// Threads of the network; 0 for one per core
    #[arg(long)]
    threads: Option<usize>,
    /// Kernels of the network: this project's own, or the slower ones of tract
    #[arg(long, value_name = "own|tract")]
    kernels: Option<Kernels>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A failed command: its exit code and its message.
struct CommandFailure {
    exit: u8,
    line: String,
}

/// Exit code of a failure.
const FAILED: u8 = 1;
/// Exit code of an invalid command line or configuration.
const USAGE: u8 = 2;

impl CommandFailure {
    fn failed(error: &dyn std::error::Error) -> Self {
        Self { exit: FAILED, line: ErrorChain(error).to_string() }
    }
}

impl From<BenchError> for CommandFailure {
    fn from(error: BenchError) -> Self {
        let exit = match error {
            BenchError::Camera(CameraError::SimulatedSize { .. }) => USAGE,
            _ => FAILED,
        };
        Self { exit, ..Self::failed(&error) }
    }
}

impl From<ConfigError> for CommandFailure {
    fn from(error: ConfigError) -> Self {
        Self { exit: USAGE, line: error.to_string() }
    }
}

/// Parses the command line, runs the command and reports errors.
pub fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Check(args) => check(&args),
        Command::Bench(args) => bench::run(&args).map_err(CommandFailure::from),
        Command::Manual { folder } => manual(&folder),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandFailure { exit, line }) => {
            if !line.is_empty() {
                log!("error: {line}");
            }
            ExitCode::from(exit)
        }
    }
}

fn run(args: &ConfigArgs) -> Result<(), CommandFailure> {
    let station = Station::open(&args.load()?).map_err(|error| CommandFailure::failed(&error))?;
    let stop = CancellationToken::default();
    let on_signal = stop.clone();
    ctrlc::set_handler(move || on_signal.cancel()).map_err(|error| CommandFailure::failed(&error))?;
    let message = |line: &str| {
        log!("{line}");
        watchdog::notify_ready(line);
    };
    station.run(&stop, message).map_err(|error| CommandFailure::failed(&error))?;
    log!("station ended");
    Ok(())
}

/// Writes manual pages from the `--help` texts.
fn manual(folder: &Path) -> Result<(), CommandFailure> {
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), folder));
    written.map_err(|error| CommandFailure { exit: FAILED, line: format!("{}: {error}", folder.display()) })
}

fn check(args: &CheckArgs) -> Result<(), CommandFailure> {
    let findings = check::check(&args.config.load()?);
    let text = if args.json {
        findings.json().map_err(|error| CommandFailure::failed(&error))? + "\n"
    } else {
        findings.text()
    };
    // A reader that closed the pipe has seen enough.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    if findings.no_errors() { Ok(()) } else { Err(CommandFailure { exit: FAILED, line: String::new() }) }
}

impl ConfigArgs {
    fn load(&self) -> Result<Config, ConfigError> {
        let mut config = Config::load(self.config.as_deref())?;
        let Self { config: _, port, baud, storage, camera, name, threads, kernels } = self;
        if let Some(port) = port {
            config.link.port.clone_from(port);
        }
        if let Some(baud) = baud {
            config.link.baud = *baud;
        }
        if let Some(storage) = storage {
            config.storage.folder.clone_from(storage);
        }
        if let Some(camera) = camera {
            config.camera = named_camera(camera, &config.camera)?;
        }
        if let Some(name) = name {
            config.name.clone_from(name);
        }
        if let Some(threads) = threads {
            config.threads = *threads;
        }
        if let Some(kernels) = kernels {
            config.kernels = *kernels;
        }
        config.check()?;
        Ok(config)
    }
}

/// The camera that a flag selects; if it has the configured kind, the other settings of the configuration remain.
fn named_camera(named: &str, configured: &CameraSource) -> Result<CameraSource, ConfigError> {
    let mut source = if is_kind(named, configured) { configured.clone() } else { default_camera(named)? };
    match &mut source {
        CameraSource::V4l2 { device: path, .. } | CameraSource::Pictures { path, .. } => {
            *path = PathBuf::from(named);
        }
        CameraSource::Simulated { .. } => {}
    }
    Ok(source)
}

fn is_kind(named: &str, source: &CameraSource) -> bool {
    match source {
        CameraSource::Simulated { .. } => named == "simulated",
        CameraSource::V4l2 { .. } => is_device(named),
        CameraSource::Pictures { .. } => named != "simulated" && !is_device(named),
    }
}

fn is_device(named: &str) -> bool {
    Path::new(named).starts_with("/dev")
}

/// The camera of that name, with default settings.
fn default_camera(named: &str) -> Result<CameraSource, ConfigError> {
    let text = match named {
        "simulated" => "kind = \"simulated\"",
        device if is_device(device) => "kind = \"v4l2\"",
        _ => "kind = \"pictures\"\npath = \"\"",
    };
    Config::parse(&format!("[camera]\n{text}"), Path::new("--camera")).map(|config| config.camera)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packaged_manual_is_what_help_says() {
        let made = tempfile::tempdir().unwrap();
        manual(made.path()).unwrap_or_else(|failure| panic!("{}", failure.line));
        let pages = |folder: &Path| {
            let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            let page = |path: PathBuf| {
                (path.file_name().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
            };
            files.map(page).collect::<std::collections::BTreeMap<_, _>>()
        };
        let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/man");
        let remedy = "nuclei-station manual firmware/packaging/man";
        assert_eq!(pages(made.path()), pages(&packaged), "{remedy}");
    }

    fn config(args: &[&str]) -> Result<Config, ConfigError> {
        let line = ["nuclei-station", "run", "--config", "/dev/null"].iter().chain(args);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Run(args) => args.load(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_sound_and_every_command_shows_an_example() {
        let mut cli = Cli::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            let examples: Vec<&str> = help
                .lines()
                .filter_map(|line| {
                    line.trim_start().trim_start_matches("Example: ").strip_prefix("nuclei-station ")
                })
                .collect();
            assert!(!examples.is_empty(), "{} has no example", command.get_name());
            for example in examples {
                let line = ["nuclei-station"].into_iter().chain(example.split_whitespace());
                if let Err(error) = Cli::try_parse_from(line) {
                    panic!("{example}: {error}");
                }
            }
        }
    }

    #[test]
    fn flags_go_over_the_file() {
        let config =
            config(&["--port", "/dev/pts/9", "--baud", "115200", "--threads", "3", "--kernels", "tract"])
                .unwrap();
        assert_eq!((config.link.port.as_str(), config.link.baud, config.threads), ("/dev/pts/9", 115_200, 3));
        assert_eq!(config.kernels, Kernels::Tract);
    }

    #[test]
    fn cameras_are_distinguished_by_name() {
        let camera = |name| config(&["--camera", name]).unwrap().camera;
        assert!(matches!(camera("simulated"), CameraSource::Simulated { .. }));
        assert!(
            matches!(camera("/dev/video2"), CameraSource::V4l2 { device, .. } if device == Path::new("/dev/video2"))
        );
        assert!(
            matches!(camera("a/b.zip"), CameraSource::Pictures { path, .. } if path == Path::new("a/b.zip"))
        );
        let configured =
            CameraSource::Simulated { width: 64, height: 64, seed: 5, nuclei: 3, frames_per_second: 1.0 };
        assert_eq!(named_camera("simulated", &configured).unwrap(), configured);
    }

    #[test]
    fn flags_are_checked_as_the_file_is() {
        assert!(matches!(config(&["--baud", "1"]), Err(ConfigError::Range { key: "link.baud", .. })));
    }
}
