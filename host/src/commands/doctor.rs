//! `nuclei-host doctor`: checks this machine and suggests next steps.

use std::path::Path;
use std::process::{Command, Stdio};

use clap::Args;
use host_console::{BUILD_COMMAND, CHECK_CUDA, Exit, Failure, STATION, TRAIN, output};
use nix::unistd::{AccessFlags, access};
use serde::Serialize;

use crate::station::bundled::BUNDLED_MODEL;
use crate::station::client::{DEFAULT_BAUD, StationClient, camera_word, list_ports};
use crate::station::model_check::check_model;

const EXAMPLES: &str = "Examples:
  nuclei-host doctor
  nuclei-host doctor --port /dev/ttyUSB0 --json";

/// Check this machine (GPU, serial ports, station, model) and suggest the next step for each problem.
///
/// Exit code 0 if nothing essential is missing, 4 if the station on --port does not answer.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// Also check the station on this port
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Baud rate of the serial port
    #[arg(long, value_name = "RATE", default_value_t = DEFAULT_BAUD)]
    baud: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The state of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    /// It works.
    Ok,
    /// It does not work, and the host works without it.
    Warning,
    /// It does not work, and the host needs it.
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Diagnosis {
    name: String,
    state: Health,
    found: String,
    /// What to do; empty where nothing is to be done.
    next: String,
}

impl Diagnosis {
    fn new(name: &str, state: Health, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state, found: found.into(), next: next.into() }
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let mark = match self.state {
            Health::Ok => "ok",
            Health::Warning => "--",
            Health::Error => "!!",
        };
        let found = format!("{mark}   {}: {}", self.name, self.found);
        let next = Some(format!("     next: {}", self.next)).filter(|_| !self.next.is_empty());
        std::iter::once(found).chain(next)
    }
}

#[derive(Debug, Serialize)]
struct DoctorReport {
    /// Whether nothing essential is missing.
    ok: bool,
    findings: Vec<Diagnosis>,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`] when standard output fails.
pub fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    let mut findings = vec![model(), training(), station_program()];
    findings.extend(ports());
    let mut exit = Exit::Done;
    if let Some(port) = &args.port {
        let finding = station(port, args.baud);
        if finding.state == Health::Error {
            exit = Exit::StationAbsent;
        }
        findings.push(finding);
    }
    if exit == Exit::Done && findings.iter().any(|finding| finding.state == Health::Error) {
        exit = Exit::Failed;
    }
    if args.json {
        output::json(&DoctorReport { ok: exit == Exit::Done, findings })?;
    } else {
        findings.iter().flat_map(Diagnosis::lines).try_for_each(|line| output::line(&line))?;
    }
    Ok(exit)
}

fn model() -> Diagnosis {
    match check_model(BUNDLED_MODEL) {
        Ok(manifest) => {
            let found = format!("bundled model ({}) loads, self-test passed", manifest.architecture);
            Diagnosis::new("model", Health::Ok, found, "")
        }
        Err(error) => {
            Diagnosis::new("model", Health::Error, host_console::one_line(&error), "reinstall nuclei-host")
        }
    }
}

/// Whether networks can be trained here, and where.
fn training() -> Diagnosis {
    let program = match TRAIN.find() {
        Ok(program) => program,
        Err(error) => {
            let found = format!("{error}; only train, export, quantize, split and bench need it");
            let next = format!("build it: {BUILD_COMMAND}");
            return Diagnosis::new("training", Health::Warning, found, next);
        }
    };
    let cpu = |reason: &str, next: String| {
        Diagnosis::new("GPU", Health::Warning, format!("{reason}; training will use the CPU"), next)
    };
    match Command::new(&program).arg(CHECK_CUDA).stdin(Stdio::null()).output() {
        Ok(answer) if answer.status.success() => {
            Diagnosis::new("GPU", Health::Ok, "CUDA works; training uses it", "")
        }
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer.stderr);
            let after = |mark: &str| text.lines().find_map(|line| line.trim_start().strip_prefix(mark));
            let next = after("next: ").unwrap_or("install its driver");
            cpu(
                after("error: ").unwrap_or("nuclei-train ended without a message"),
                format!("nothing to do without an NVIDIA card; with one: {next}"),
            )
        }
        Err(error) => cpu(&format!("{}: {error}", program.display()), format!("rebuild it: {BUILD_COMMAND}")),
    }
}

fn station_program() -> Diagnosis {
    match STATION.find() {
        Ok(path) => {
            Diagnosis::new("station program", Health::Ok, format!("{}: nuclei-host demo", path.display()), "")
        }
        Err(error) => Diagnosis::new(
            "station program",
            Health::Warning,
            format!("{error}; only the demo needs it"),
            format!("build it: {BUILD_COMMAND}"),
        ),
    }
}

fn ports() -> Vec<Diagnosis> {
    let ports = list_ports();
    if ports.is_empty() {
        let next = "plug in the station's USB cable (nuclei-host demo needs none)";
        return vec![Diagnosis::new("serial ports", Health::Warning, "none found", next)];
    }
    ports
        .into_iter()
        .map(|port| {
            let what = port
                .product
                .map_or_else(|| port.path.clone(), |product| format!("{} ({product})", port.path));
            if access(Path::new(&port.path), AccessFlags::R_OK | AccessFlags::W_OK).is_ok() {
                let next = format!("nuclei-host doctor --port {} checks the station there", port.path);
                Diagnosis::new("serial port", Health::Ok, format!("{what} can be opened"), next)
            } else {
                Diagnosis::new(
                    "serial port",
                    Health::Warning,
                    format!("{what} cannot be opened by this user"),
                    "sudo usermod -aG dialout $USER, then log in again",
                )
            }
        })
        .collect()
}

fn station(port: &str, baud: u32) -> Diagnosis {
    let asked =
        StationClient::open(port, baud).and_then(|(mut station, identity)| Ok((identity, station.status()?)));
    match asked {
        Ok((identity, status)) => Diagnosis::new(
            "station",
            Health::Ok,
            format!(
                "{} on {port} answers (nuclei-station {}), model {}, camera {}",
                identity.name,
                identity.version,
                status.model,
                camera_word(status.camera)
            ),
            "",
        ),
        Err(error) => {
            Diagnosis::new("station", Health::Error, host_console::one_line(&error), error.next_step())
        }
    }
}
