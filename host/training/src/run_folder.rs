//! The run folder: settings, one line per epoch, curves, overlays, checkpoints.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use host_console::{Failure, write_advice, write_whole};
use host_modelling::draw_outlines;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::prelude::{
    ChartBuilder, DrawingBackend, IntoDrawingArea as _, LineSeries, RGBColor, SVGBackend, WHITE,
};
use serde::{Deserialize, Serialize};
use shared::{SetScore, encode_picture_png};
use training_kernels::Precision;

use super::checkpoint;
use super::config::TrainConfig;
use super::package_model::FinishedModel;
use super::schedule::Schedule;
use super::validation::ValidationPicture;

/// Overlays of the lowest and of the highest scores.
const OVERLAYS: usize = 6;
const TRUE_COLOUR: [u8; 3] = [0, 200, 80];
const FOUND_COLOUR: [u8; 3] = [230, 40, 200];

/// One line of `epochs.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: u32,
    /// Crops seen so far.
    pub crops: u64,
    /// Seconds spent so far.
    pub seconds: f64,
    /// The learning rate at the end of the epoch.
    pub learning_rate: f64,
    /// Mean training loss.
    pub loss: f64,
    /// Scores on the held-back images, in epochs with validation.
    pub validation: Option<SetScore>,
}

const HEADER: &str =
    "epoch,crops,seconds,learning_rate,loss,val_mean_ap,val_ap_50,val_mean_iou,val_dice,val_count_error";

impl Epoch {
    fn to_csv(&self) -> String {
        let Self { epoch, crops, seconds, learning_rate, loss, validation } = self;
        let scores = validation.as_ref().map_or_else(
            || ",,,,".to_owned(),
            |s| {
                let numbers = [s.mean_ap, s.ap[0], s.mean_iou, s.dice, s.count_error];
                numbers.map(|number| format!("{number:.5}")).join(",")
            },
        );
        format!("{epoch},{crops},{seconds:.1},{learning_rate:.3e},{loss:.5},{scores}")
    }
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct RunFolder(PathBuf);

/// Held while a run trains: no other program may write to its folder.
#[derive(Debug)]
pub struct RunLock(#[expect(dead_code, reason = "locked for as long as it is open")] File);

impl RunFolder {
    /// The folder at `path`, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The settings.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.json")
    }

    /// The progress of the run.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("last.checkpoint")
    }

    /// The weights of the best epoch.
    pub fn best(&self) -> PathBuf {
        self.0.join("best.checkpoint")
    }

    /// Images of the validation split with true and found outlines.
    pub fn overlays(&self) -> PathBuf {
        self.0.join("overlays")
    }

    /// The scores of the finished model.
    pub fn report(&self) -> PathBuf {
        self.0.join("validation.json")
    }

    /// Locks the folder, and creates it if it does not exist.
    ///
    /// # Errors
    /// [`Failure`] when another program trains there, or the folder cannot be written.
    pub fn lock(&self) -> Result<RunLock, Failure> {
        let failed = |source: io::Error| {
            let next = write_advice(&source);
            Failure::failed(format!("{} cannot be written: {source}", self.0.display()), next)
        };
        fs::create_dir_all(&self.0).map_err(failed)?;
        let path = self.0.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(RunLock(file)),
            // Some network drives have no locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(RunLock(file))
            }
            Err(TryLockError::Error(source)) => Err(failed(source)),
            Err(TryLockError::WouldBlock) => {
                let problem = format!("another program trains in {}", self.0.display());
                Err(Failure::failed(problem, "wait for it or stop it, or choose another folder with --run"))
            }
        }
    }

    /// The run's settings.
    ///
    /// # Errors
    /// [`Failure`] when no run was begun here or its settings cannot be read.
    pub fn load_config(&self) -> Result<TrainConfig, Failure> {
        let path = self.config();
        let next = "give a run folder with --run, or start a run with --data";
        let text = fs::read_to_string(&path)
            .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display()), next))?;
        let config: TrainConfig = serde_json::from_str(&text)
            .map_err(|error| Failure::failed(format!("{} is damaged: {error}", path.display()), next))?;
        let precision = if config.unet.is_one_piece() { config.precision } else { Precision::F32 };
        Ok(TrainConfig { precision, ..config })
    }

    /// Writes the run's settings.
    ///
    /// # Errors
    /// [`Failure`] when the file cannot be written.
    pub fn save_config(&self, config: &TrainConfig) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(config).map_err(|error| Failure::failed(error, ""))?;
        Ok(write_whole(&self.config(), json.as_bytes())?)
    }

    /// Lets the rate of the run fall over its next `crops`, and end with them.
    ///
    /// # Errors
    /// [`Failure`] when the run's rate is no held one, or a file cannot be read or written.
    pub fn cool_down(&self, config: &mut TrainConfig, crops: u64) -> Result<(), Failure> {
        if config.schedule == Schedule::Cosine {
            let problem = "the run's learning rate falls from its beginning on";
            return Err(Failure::usage(problem, "leave out --cool-down, or begin a run with --held-rate"));
        }
        let done = if self.checkpoint().exists() { checkpoint::steps(&self.checkpoint())? } else { 0 };
        let wanted = done + crops.div_ceil(config.batch as u64);
        // A run ends with an epoch.
        config.epochs = wanted.div_ceil(config.epoch_steps()) as u32;
        config.schedule = Schedule::Held { cool_down: config.steps() - done };
        self.save_config(config)
    }

    /// Writes the scores of the finished model, and overlays of the validation pictures with the lowest
    /// and the highest scores: true outlines green, found ones magenta.
    ///
    /// # Errors
    /// [`Failure`] when a file cannot be written.
    pub fn save_report(&self, model: &FinishedModel, pictures: &[ValidationPicture]) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(&model.report).map_err(|error| Failure::failed(error, ""))?;
        write_whole(&self.report(), json.as_bytes())?;
        let mut ranked: Vec<_> = pictures
            .iter()
            .zip(&model.labels)
            .map(|(picture, found)| {
                (model.report.pictures.get(&picture.name).copied().unwrap_or(0.0), picture, found)
            })
            .collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let lowest = ranked.len().min(OVERLAYS);
        let highest = lowest.max(ranked.len().saturating_sub(OVERLAYS));
        for (score, picture, found) in ranked[..lowest].iter().chain(&ranked[highest..]) {
            let truth = draw_outlines(&picture.image, &picture.labels, TRUE_COLOUR)?;
            let overlay = draw_outlines(&truth, found, FOUND_COLOUR)?;
            let png = encode_picture_png(&overlay).map_err(|error| Failure::failed(error, ""))?;
            write_whole(&self.overlays().join(format!("{score:.3}-{}.png", picture.name)), &png)?;
        }
        Ok(())
    }

    /// Whether the folder has a run.
    pub fn is_begun(&self) -> bool {
        self.config().exists()
    }

    /// The epochs so far, which a resumed run continues.
    ///
    /// # Errors
    /// [`Failure`] when the file is there and cannot be read.
    pub fn load_epochs(&self) -> Result<Vec<Epoch>, Failure> {
        let path = self.0.join("epochs.json");
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(&path)?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::failed(error, format!("{} is damaged; start a new run", path.display()))
        })
    }

    /// Writes the epochs as CSV and JSON, and their curves.
    ///
    /// # Errors
    /// [`Failure`] when a file cannot be written.
    pub fn save_epochs(&self, epochs: &[Epoch]) -> Result<(), Failure> {
        let lines: Vec<String> = epochs.iter().map(Epoch::to_csv).collect();
        write_whole(&self.0.join("epochs.csv"), format!("{HEADER}\n{}\n", lines.join("\n")).as_bytes())?;
        let json = serde_json::to_string(epochs).map_err(|error| Failure::failed(error, ""))?;
        write_whole(&self.0.join("epochs.json"), json.as_bytes())?;
        let mut svg = String::new();
        draw_curves(&mut svg, epochs)
            .map_err(|error| Failure::failed(error.to_string(), "please report this with epochs.csv"))?;
        Ok(write_whole(&self.0.join("curves.svg"), svg.as_bytes())?)
    }
}

type DrawResult<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw_curves<'a>(svg: &'a mut String, epochs: &[Epoch]) -> DrawResult<'a> {
    let root = SVGBackend::with_string(svg, (900, 640)).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(320);
    let at = |epoch: &Epoch| f64::from(epoch.epoch);
    let loss: Vec<_> = epochs.iter().map(|epoch| (at(epoch), epoch.loss)).collect();
    let score = |number: fn(&SetScore) -> f64| {
        epochs
            .iter()
            .filter_map(|epoch| Some((at(epoch), number(epoch.validation.as_ref()?))))
            .collect::<Vec<_>>()
    };
    let top = loss.iter().map(|&(_, loss)| loss).fold(0.0, f64::max);
    draw_chart(&upper, "training loss", top, &[(loss, RGBColor(180, 60, 40))])?;
    let curves = [
        (score(|s| s.mean_ap), RGBColor(20, 90, 170)),
        (score(|s| s.ap[0]), RGBColor(110, 170, 220)),
        (score(|s| s.mean_iou), RGBColor(60, 140, 60)),
    ];
    draw_chart(
        &lower,
        "validation: mean AP (dark blue), AP at 0.50 (light blue), IoU (green)",
        1.0,
        &curves,
    )?;
    root.present()
}

type Curve = (Vec<(f64, f64)>, RGBColor);

fn draw_chart<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    caption: &str,
    top: f64,
    curves: &[Curve],
) -> DrawResult<'a> {
    let last = curves.iter().flat_map(|(points, _)| points.last()).map(|&(x, _)| x).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..last, 0.0..top.max(1e-3) * 1.05)?;
    chart.configure_mesh().x_desc("epoch").draw()?;
    for (points, colour) in curves {
        chart.draw_series(LineSeries::new(points.iter().copied(), *colour))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u32, validated: bool) -> Epoch {
        let score = SetScore {
            images: 3,
            mean_ap: 0.1 * f64::from(number),
            ap: [0.5; 10],
            mean_iou: 0.7,
            dice: 0.8,
            count_error: 0.2,
        };
        Epoch {
            epoch: number,
            crops: u64::from(number) * 100,
            seconds: 1.5,
            learning_rate: 1e-3,
            loss: 1.0 / f64::from(number),
            validation: validated.then_some(score),
        }
    }

    #[test]
    fn one_program_at_a_time_trains_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(&folder.path().join("run"));
        let lock = run.lock().unwrap();
        let refused = run.lock().unwrap_err().to_string();
        assert!(refused.contains("another program trains in"), "{refused}");
        assert!(!run.is_begun(), "a lock is no run");
        drop(lock);
        run.lock().unwrap();
    }

    #[test]
    fn epochs_survive_and_every_line_has_every_column() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path());
        assert_eq!(run.load_epochs().unwrap(), []);
        let epochs = [epoch(1, false), epoch(2, true)];
        run.save_epochs(&epochs).unwrap();
        assert_eq!(run.load_epochs().unwrap(), epochs);
        let csv = fs::read_to_string(folder.path().join("epochs.csv")).unwrap();
        assert!(csv.lines().all(|line| line.matches(',').count() == 9), "{csv}");
        let svg = fs::read_to_string(folder.path().join("curves.svg")).unwrap();
        assert!(svg.contains("polyline") && svg.contains("training loss"));
    }
}
