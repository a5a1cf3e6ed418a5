//! `nuclei-host station calibrate`: pixel size and flat field, recorded with who measured them, when and how.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use host_console::{Exit, Failure, Progress, interrupt, one_line, output, read_input, warning, write_whole};
use serde::Serialize;
use shared::wire::{FlatFieldDigest, Setting};
use shared::{FlatField, FlatFieldError, FrameSum, PixelSize, decode_image};

use super::super::pixel_size_arg::pixel_size;
use super::super::port_args::PortArgs;
use crate::analysis::micrometer::{self, Ruling, RulingError};
use crate::records::capture_folder::first_token;
use crate::records::input_images::InputImages;
use crate::records::optics::{CalibrationStore, MeasuredFlatField, MeasuredPixelSize, Origin};
use crate::records::recording::digest;
use crate::station::client::{SerialTransport, StationClient};

const EXAMPLES: &str = "Examples:
  nuclei-host station calibrate --micrometer                          (of the station's current view)
  nuclei-host station calibrate --micrometer ruling.png --spacing-um 10
  nuclei-host station calibrate --um-per-px 0.325
  nuclei-host capture --out bright --count 20; nuclei-host capture --out dark --count 20
  nuclei-host station calibrate --bright bright/pictures --dark dark/pictures --out flat-field.nff";

/// Frames of each kind above which their noise is small compared with the correction.
const ENOUGH_FRAMES: u32 = 10;

/// Measure the pixel size from a stage micrometer, or the flat field from bright and dark frames.
///
/// The pixel size applies until the station restarts; add the printed line to its TOML file to keep it. Who measured
/// it, when and how is stored on this machine and written to every recording and capture. Take bright frames of an
/// evenly lit empty field and dark frames without light, both with the exposure used for counting, on a station without
/// flat_field in its settings. The flat field is a file for the station's settings and for segment.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("what").required(true).args(["micrometer", "um_per_px", "bright"]))]
pub struct CalibrateArgs {
    /// Image of a stage micrometer; without a file, the station takes one
    #[arg(long, value_name = "IMAGE", num_args = 0..=1)]
    micrometer: Option<Option<PathBuf>>,
    /// Distance between the micrometer's lines, µm
    #[arg(long, value_name = "UM", default_value_t = 10.0, value_parser = spacing)]
    spacing_um: f64,
    /// The pixel size if you know it, µm per pixel
    #[arg(long, value_name = "UM", value_parser = pixel_size)]
    um_per_px: Option<PixelSize>,
    /// Bright frames: folders, zips or images
    #[arg(long, value_name = "INPUT", num_args = 1.., requires = "dark")]
    bright: Vec<PathBuf>,
    /// Dark frames: folders, zips or images
    #[arg(long, value_name = "INPUT", num_args = 1.., requires = "bright")]
    dark: Vec<PathBuf>,
    /// Flat field file to write
    #[arg(long, value_name = "FILE", default_value = "flat-field.nff")]
    out: PathBuf,
    /// Who measured [default: your user name]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

fn spacing(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if value > 0.0 && value <= 1e5 => Ok(value),
        _ => Err("expected µm, above 0 and up to 100000".to_owned()),
    }
}

/// The result as JSON.
#[derive(Debug, Serialize)]
struct PixelSizeRecord {
    station: String,
    #[serde(flatten)]
    measured: MeasuredPixelSize,
    /// Period of a micrometer, px.
    period_px: Option<f64>,
    /// Its standard uncertainty, px; twice it is the 95 % interval.
    period_uncertainty_px: Option<f64>,
    /// Lines found.
    lines: Option<usize>,
}

#[derive(Debug, Serialize)]
struct FlatFieldRecord {
    file: PathBuf,
    #[serde(flatten)]
    measured: MeasuredFlatField,
    bright_frames: u32,
    dark_frames: u32,
    /// Light of the darkest part of the image, relative to the mean.
    least_light: f64,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &CalibrateArgs, port: &PortArgs, json: bool) -> Result<Exit, Failure> {
    let by = args.by.clone().or_else(|| std::env::var("USER").ok()).filter(|name| !name.is_empty());
    let by = by.ok_or_else(|| {
        Failure::usage("the name of the person who measures is unknown", "give your name with --by")
    })?;
    if args.bright.is_empty() { pixel_size_of(args, by, port, json) } else { flat_field_of(args, by, json) }
}

/// A pixel size before it is set: µm per pixel, its uncertainty, and its origin.
struct MeasuredScale {
    um_per_px: f64,
    ruling: Option<Ruling>,
    how: String,
}

fn pixel_size_of(args: &CalibrateArgs, by: String, port: &PortArgs, json: bool) -> Result<Exit, Failure> {
    // An image is checked before the station is contacted.
    let measured = match (&args.micrometer, args.um_per_px) {
        (Some(Some(path)), _) => {
            let next = "give an image of a stage micrometer";
            let bytes = read_input(path)
                .map_err(|error| Failure::failed(format!("{}: {error}", path.display()), next))?;
            Some(of_micrometer(&bytes, &path.display().to_string(), args.spacing_um)?)
        }
        (_, Some(size)) => {
            Some(MeasuredScale { um_per_px: size.get().into(), ruling: None, how: "typed".to_owned() })
        }
        _ => None,
    };
    let (mut station, identity) = port.open()?;
    let found = match measured {
        Some(found) => found,
        None => of_micrometer(&captured(&mut station)?, "the station's image", args.spacing_um)?,
    };
    let um_per_px = rounded(found.um_per_px)?;
    let relative = found.ruling.map(|ruling| ruling.uncertainty_px / ruling.period_px);
    let measured = MeasuredPixelSize {
        um_per_px: um_per_px.get(),
        uncertainty_um_per_px: relative.map(|relative| relative * found.um_per_px),
        origin: Origin::now(by, found.how),
    };
    station.set(Setting::PixelSize(Some(um_per_px)))?;
    CalibrationStore::of_user().store_pixel_size(&identity.name, &measured)?;
    if json {
        output::json(&PixelSizeRecord {
            station: identity.name.to_string(),
            measured,
            period_px: found.ruling.map(|ruling| ruling.period_px),
            period_uncertainty_px: found.ruling.map(|ruling| ruling.uncertainty_px),
            lines: found.ruling.map(|ruling| ruling.lines),
        })?;
        return Ok(Exit::Done);
    }
    let interval = measured.uncertainty_um_per_px.map(|standard| format!(" ± {:.1e} (95 %)", 2.0 * standard));
    let sure = interval.unwrap_or_default();
    output::line(&format!(
        "pixel size   {}{sure} µm per pixel, {}",
        measured.um_per_px, measured.origin.how
    ))?;
    output::line(&format!(
        "set on {} until it restarts; to keep it, add to its settings: pixel_size = {}",
        identity.name, measured.um_per_px
    ))?;
    Ok(Exit::Done)
}

fn of_micrometer(picture: &[u8], name: &str, spacing_um: f64) -> Result<MeasuredScale, Failure> {
    let next = "give an image of a stage micrometer: PNG, TIFF or JPEG";
    let image = decode_image(picture)
        .map_err(|error| Failure::failed(format!("{name}: {}", one_line(&error)), next))?;
    let ruling = micrometer::measure(&image)
        .map_err(|error| Failure::failed(format!("{name}: {error}"), advice(error)))?;
    let Ruling { period_px, uncertainty_px, lines, degrees } = ruling;
    let how = format!(
        "stage micrometer, {spacing_um} µm per division: {period_px:.3} ± {:.3} px (95 %) over {lines} \
             lines, {degrees:.1}° across; image {}",
        2.0 * uncertainty_px,
        &digest(picture)[..16]
    );
    Ok(MeasuredScale { um_per_px: spacing_um / period_px, ruling: Some(ruling), how })
}

const fn advice(refused: RulingError) -> &'static str {
    match refused {
        RulingError::Unclear | RulingError::Uneven => {
            "nothing was set; focus on the ruling, fill the image with it and nothing else, and try again"
        }
        RulingError::TooFew { .. } => "nothing was set; use a finer ruling, or a lower magnification",
        RulingError::TooFine => "nothing was set; use a coarser ruling, or a higher magnification",
    }
}

/// The next frame of the station, PNG.
fn captured(station: &mut StationClient<SerialTransport>) -> Result<Vec<u8>, Failure> {
    let before = station.pause_streams()?;
    let outcome = station.capture(first_token(), interrupt::flag()?, |_| {});
    station.stream(before.masks, before.preview)?;
    Ok(outcome?.into_frame()?.picture_png)
}

/// Rounded to the digits a person types, so that station, settings file and record have the same number.
fn rounded(um_per_px: f64) -> Result<PixelSize, Failure> {
    let text = format!("{um_per_px:.4e}");
    Ok(PixelSize::try_from(text.parse::<f32>().unwrap_or(um_per_px as f32))?)
}

fn flat_field_of(args: &CalibrateArgs, by: String, json: bool) -> Result<Exit, Failure> {
    let (bright, dark) = (sum(&args.bright, "bright")?, sum(&args.dark, "dark")?);
    let origin =
        Origin::now(by.clone(), format!("{} bright and {} dark frames", bright.frames(), dark.frames()));
    let field = FlatField::new(&bright, &dark, &by, origin.time_unix_ms).map_err(|error| {
        let next = match error {
            FlatFieldError::Saturated { .. } => "turn the light down, and take the bright frames again",
            FlatFieldError::TooDark { .. } => "turn the light up, and take the bright frames again",
            FlatFieldError::Unlit { .. } => "center the light, or remove what shades the image",
            FlatFieldError::Size { .. } | FlatFieldError::Damaged => {
                "take all frames with the same camera settings"
            }
        };
        Failure::failed(error, next)
    })?;
    let file = field.encode();
    write_whole(&args.out, &file)?;
    let measured = MeasuredFlatField { sha256: FlatFieldDigest::of(&file).to_string(), origin: Some(origin) };
    CalibrationStore::of_user().store_flat_field(&measured)?;
    for (frames, what) in [(bright.frames(), "bright"), (dark.frames(), "dark")] {
        if frames < ENOUGH_FRAMES {
            warning!(
                "caution: only {frames} {what} frames: their noise is added to every frame; take \
                     {ENOUGH_FRAMES} or more"
            );
        }
    }
    let record = FlatFieldRecord {
        file: args.out.clone(),
        measured,
        bright_frames: bright.frames(),
        dark_frames: dark.frames(),
        least_light: field.least_light(),
    };
    if json {
        output::json(&record)?;
    } else {
        output::line(&format!(
            "the darkest part of the image gets {:.0} % of the mean light; wrote {}",
            100.0 * record.least_light,
            args.out.display()
        ))?;
        output::line(
            "copy it to the station, and add its path to the settings: flat_field = \"/var/lib/nuclei/flat-field.nff\"",
        )?;
    }
    Ok(Exit::Done)
}

/// The sum of the frames of some places.
fn sum(inputs: &[PathBuf], what: &str) -> Result<FrameSum, Failure> {
    let (pictures, unusable) = InputImages::open(inputs)?;
    if let Some(error) = unusable.into_iter().next() {
        return Err(error.into());
    }
    let progress = Progress::new(&format!("adding {what} frames"), pictures.len() as u64);
    let mut sum: Option<FrameSum> = None;
    for at in 0..pictures.len() {
        let loaded = pictures.load(at);
        let image =
            loaded.map_err(|error| Failure::failed(error.line(), "remove it, or take it again"))?.image;
        match &mut sum {
            None => sum = Some(FrameSum::new(&image)),
            Some(sum) => sum.add(&image).map_err(|error| {
                Failure::failed(
                    format!("{}: {error}", pictures.file(at)),
                    "take all frames with the same camera settings",
                )
            })?,
        }
        progress.advance(1);
    }
    drop(progress);
    sum.ok_or_else(|| Failure::usage(format!("there are no {what} frames"), "give folders of images"))
}

/// Reads a flat field's file.
///
/// # Errors
/// [`Failure`] that names it.
pub fn load_flat_field(path: &Path) -> Result<FlatField, Failure> {
    let next = "give a file written by nuclei-host station calibrate --bright --dark";
    let named = |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", path.display()), next);
    let file = read_input(path).map_err(|error| named(&error))?;
    FlatField::decode(&file).map_err(|error| named(&error))
}
