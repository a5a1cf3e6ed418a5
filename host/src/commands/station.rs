//! `nuclei-host station`: status, slots and settings of a station.

mod calibrate;

use clap::{Args, Subcommand, ValueEnum};
use host_console::{Exit, Failure, output};
use serde::Serialize;
use shared::PixelSize;
use shared::wire::{
    Acquisition, CameraState, Identity, Setting, Settings, Slot, SlotReport, Status, Stream, Trust,
};

use self::calibrate::CalibrateArgs;
use super::port_args::PortArgs;
use crate::station::client::{camera_word, content, revert_running, running, slot_name, state_word};
use crate::support::brightness::{from_percent, percent};

pub use calibrate::load_flat_field;

const EXAMPLES: &str = "Examples:
  nuclei-host station --port /dev/ttyUSB0
  nuclei-host station slots --json
  nuclei-host station set illumination 40
  nuclei-host station set pixel-size 0.325
  nuclei-host station calibrate --micrometer --spacing-um 10
  nuclei-host station revert
  nuclei-host station revert --key ana              (if the station requires a key)";

/// Show a station's status, slots and settings; change a setting, revert the model, calibrate.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StationArgs {
    #[command(subcommand)]
    what: Option<StationCommand>,
    #[command(flatten)]
    port: PortArgs,
    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Clone, Subcommand)]
enum StationCommand {
    #[command(flatten)]
    Action(StationAction),
    Calibrate(Box<CalibrateArgs>),
}

/// A request to the station.
#[derive(Debug, Clone, Subcommand)]
enum StationAction {
    /// Show station status (the default)
    Status,
    /// Show the models in the factory slot and slots A and B
    Slots,
    /// Show the current settings
    Settings,
    /// Change a setting until the station restarts (its TOML file holds permanent settings)
    Set {
        /// Name of the setting
        #[arg(value_enum)]
        key: Key,
        /// illumination: percent. pixel-size: µm/px, or none. acquisition: continuous or triggered. masks, preview: on
        /// or off
        value: String,
    },
    /// Revert to the previous model
    Revert,
}

/// A setting by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Key {
    Illumination,
    PixelSize,
    Acquisition,
    Masks,
    Preview,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &StationArgs) -> Result<Exit, Failure> {
    let action = match &args.what {
        Some(StationCommand::Calibrate(wanted)) => return calibrate::run(wanted, &args.port, args.json),
        Some(StationCommand::Action(action)) => action.clone(),
        None => StationAction::Status,
    };
    let setting = match &action {
        StationAction::Set { key, value } => Some(parse(*key, value)?),
        _ => None,
    };
    let (mut station, identity) = args.port.open()?;
    match action {
        StationAction::Status => {
            let (status, trust) = (station.status()?, station.trust()?);
            print(args.json, &StatusRecord::new(&identity, &status, trust), || {
                status_text(&identity, &status, trust)
            })?;
        }
        StationAction::Slots => {
            let slots = station.slots()?;
            print(args.json, &SlotsRecord::new(&slots), || slots_text(&slots))?;
        }
        StationAction::Settings | StationAction::Set { .. } => {
            let settings = match setting {
                Some(setting) => station.set(setting)?,
                None => station.settings()?,
            };
            print(args.json, &SettingsRecord::new(&settings), || settings_text(&settings))?;
        }
        StationAction::Revert => {
            let (digest, after) = revert_running(&mut station)?;
            print(args.json, &SlotsRecord::new(&after), || {
                let runs = running(&after).map_or_else(|| "?".to_owned(), |digest| digest.to_string());
                vec![format!(
                    "reverted from {digest}: {} is active again, model {runs}",
                    slot_name(after.active)
                )]
            })?;
        }
    }
    Ok(Exit::Done)
}

fn print(json: bool, record: &impl Serialize, text: impl FnOnce() -> Vec<String>) -> Result<(), Failure> {
    if json { output::json(record) } else { text().iter().try_for_each(|line| output::line(line)) }
}

fn parse(key: Key, value: &str) -> Result<Setting, Failure> {
    let wrong = |expected: &str| {
        Failure::usage(format!("{value:?} is not valid for this setting"), expected.to_owned())
    };
    let stream = || match value {
        "on" => Ok(Stream::On),
        "off" => Ok(Stream::Off),
        _ => Err(wrong("on or off")),
    };
    Ok(match key {
        Key::Illumination => {
            let percent: f64 = value.trim_end_matches('%').parse().map_err(|_| wrong("percent, 0 to 100"))?;
            Setting::Illumination(from_percent(percent).ok_or_else(|| wrong("percent, 0 to 100"))?)
        }
        Key::PixelSize if value == "none" => Setting::PixelSize(None),
        Key::PixelSize => {
            let expected = "µm/px, such as 0.325, or none";
            let size: f32 = value.parse().map_err(|_| wrong(expected))?;
            Setting::PixelSize(Some(PixelSize::try_from(size).map_err(|_| wrong(expected))?))
        }
        Key::Acquisition => Setting::Acquisition(match value {
            "continuous" => Acquisition::Continuous,
            "triggered" => Acquisition::Triggered,
            _ => return Err(wrong("continuous or triggered")),
        }),
        Key::Masks => Setting::Masks(stream()?),
        Key::Preview => Setting::Preview(stream()?),
    })
}

#[derive(Debug, Serialize)]
struct StatusRecord {
    name: String,
    version: String,
    protocol: u16,
    uptime_ms: u64,
    camera: &'static str,
    camera_name: String,
    model: String,
    frames: u32,
    frames_skipped: u32,
    frames_unsent: u32,
    damaged_packets: u32,
    threads: u16,
    /// Number of trusted keys; 0 for an open station.
    trusted_keys: u16,
}

impl StatusRecord {
    fn new(identity: &Identity, status: &Status, trust: Trust) -> Self {
        Self {
            name: identity.name.to_string(),
            version: identity.version.to_string(),
            protocol: identity.protocol,
            uptime_ms: status.uptime_ms,
            camera: camera_word(status.camera),
            camera_name: status.camera_name.to_string(),
            model: format!("{:#}", status.model),
            frames: status.frames,
            frames_skipped: status.frames_skipped,
            frames_unsent: status.frames_unsent,
            damaged_packets: status.damaged_packets,
            threads: status.threads,
            trusted_keys: match trust {
                Trust::Open => 0,
                Trust::Keys(count) => count,
            },
        }
    }
}

fn status_text(identity: &Identity, status: &Status, trust: Trust) -> Vec<String> {
    let camera = match (status.camera, status.camera_name.as_str()) {
        (CameraState::Absent, _) => "none; the station keeps trying".to_owned(),
        (state, name) => format!("{name}, {}", camera_word(state)),
    };
    let trust = match trust {
        Trust::Open => "open: anyone on the serial line can change models and settings".to_owned(),
        Trust::Keys(count) => {
            format!("restricted: only {count} trusted key{} can change models and settings", plural(count))
        }
    };
    let minutes = status.uptime_ms / 60_000;
    [
        format!(
            "station  {} (nuclei-station {}, protocol {})",
            identity.name, identity.version, identity.protocol
        ),
        format!("up       {} h {:02} min", minutes / 60, minutes % 60),
        format!("camera   {camera}"),
        format!("model    {}, on {} threads", status.model, status.threads),
        format!("frames   {} counted, {} skipped", status.frames, status.frames_skipped),
        format!(
            "line     {} damaged packets, {} images or masks not sent",
            status.damaged_packets, status.frames_unsent
        ),
        format!("trust    {trust}"),
    ]
    .to_vec()
}

const fn plural(count: u16) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[derive(Debug, Serialize)]
struct SlotsRecord {
    active: &'static str,
    factory: SlotView,
    a: SlotView,
    b: SlotView,
}

#[derive(Debug, Serialize)]
struct SlotView {
    state: &'static str,
    model: Option<String>,
    length: Option<u32>,
}

impl SlotsRecord {
    fn new(slots: &SlotReport) -> Self {
        let record = |slot| {
            let held = content(slots, slot);
            SlotView {
                state: state_word(held.state),
                model: held.digest.map(|digest| format!("{digest:#}")),
                length: Some(held.length).filter(|&length| length > 0),
            }
        };
        let active = match slots.active {
            Slot::Factory => "factory",
            Slot::A => "a",
            Slot::B => "b",
        };
        Self { active, factory: record(Slot::Factory), a: record(Slot::A), b: record(Slot::B) }
    }
}

fn slots_text(slots: &SlotReport) -> Vec<String> {
    [(Slot::Factory, "factory"), (Slot::A, "A"), (Slot::B, "B")]
        .into_iter()
        .map(|(slot, name)| {
            let held = content(slots, slot);
            let model = held.digest.map_or_else(|| "-".to_owned(), |digest| digest.to_string());
            let length = if held.length == 0 { String::new() } else { format!(", {} bytes", held.length) };
            let runs = if slot == slots.active { ", runs" } else { "" };
            format!("{name:<8} {:<10} {model}{length}{runs}", state_word(held.state))
        })
        .collect()
}

#[derive(Debug, Serialize)]
struct SettingsRecord {
    illumination_percent: f32,
    pixel_size_um: Option<f32>,
    acquisition: &'static str,
    masks: bool,
    preview: bool,
}

impl SettingsRecord {
    fn new(settings: &Settings) -> Self {
        Self {
            illumination_percent: percent(settings.illumination),
            pixel_size_um: settings.pixel_size.map(PixelSize::get),
            acquisition: match settings.acquisition {
                Acquisition::Continuous => "continuous",
                Acquisition::Triggered => "triggered",
            },
            masks: settings.masks == Stream::On,
            preview: settings.preview == Stream::On,
        }
    }
}

fn settings_text(settings: &Settings) -> Vec<String> {
    let record = SettingsRecord::new(settings);
    let on_off = |on| if on { "on" } else { "off" };
    let pixel_size = record.pixel_size_um.map_or_else(|| "none".to_owned(), |size| format!("{size} µm/px"));
    [
        format!("illumination  {} %", record.illumination_percent),
        format!("pixel-size    {pixel_size}"),
        format!("acquisition   {}", record.acquisition),
        format!("masks         {}", on_off(record.masks)),
        format!("preview       {}", on_off(record.preview)),
    ]
    .to_vec()
}

#[cfg(test)]
mod tests {
    use shared::DutyCycle;

    use super::*;

    #[test]
    fn settings_are_read_as_a_person_writes_them() {
        let duty = |thousandths| Setting::Illumination(DutyCycle::try_from(thousandths).unwrap());
        let good = [
            (Key::Illumination, "40", duty(400)),
            (Key::Illumination, "12.5%", duty(125)),
            (Key::PixelSize, "0.325", Setting::PixelSize(Some(PixelSize::try_from(0.325).unwrap()))),
            (Key::PixelSize, "none", Setting::PixelSize(None)),
            (Key::Acquisition, "triggered", Setting::Acquisition(Acquisition::Triggered)),
            (Key::Masks, "off", Setting::Masks(Stream::Off)),
            (Key::Preview, "on", Setting::Preview(Stream::On)),
        ];
        for (key, value, setting) in good {
            assert_eq!(parse(key, value).unwrap(), setting, "{value}");
        }
        for (key, value) in [
            (Key::Illumination, "101"),
            (Key::Illumination, "-1"),
            (Key::Illumination, "NaN"),
            (Key::PixelSize, "0"),
            (Key::Acquisition, "never"),
            (Key::Masks, "yes"),
        ] {
            assert_eq!(parse(key, value).unwrap_err().exit(), Exit::Usage, "{value}");
        }
    }
}
