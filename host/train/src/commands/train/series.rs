//! Series of runs that differ in one setting: `--ablate` and `--pareto`.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use host_console::{Exit, Failure, interrupt, output, write_whole};
use host_modelling::{Dataset, Encoding, Graph};
use host_training::{
    Backend, Limits, Outcome, RunFolder, Session, TrainConfig, TrainingData, package_model, variants,
};
use serde::Serialize;
use shared::SetScore;

use super::pareto_plot::{ParetoPoint, draw_pareto};

/// A series of runs, each in its own folder within the series' folder. Finished runs are skipped, and stopped ones
/// resumed.
pub(super) struct Series<'a> {
    pub config: &'a TrainConfig,
    pub folder: &'a RunFolder,
    pub dataset: &'a Dataset,
    /// The data set as the settings' own recipe reads it.
    pub training_data: &'a TrainingData,
    pub backend: Backend,
    pub threads: NonZeroUsize,
}

/// The result of an ablation run.
#[derive(Debug, Serialize)]
struct Ablated {
    variant: &'static str,
    score: Option<SetScore>,
}

impl Series<'_> {
    /// Trains once without each augmentation, and reports the validation scores.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn ablate(&self) -> Result<Exit, Failure> {
        self.needs_validation()?;
        let mut done: Vec<Ablated> = Vec::new();
        for (variant, augmentation) in variants(self.config.augmentation, self.config.nucleus_px) {
            let config = TrainConfig { augmentation, ..self.config.clone() };
            let (folder, _) = self.train(variant, &config, self.training_data)?;
            let score = folder.load_epochs()?.into_iter().rev().find_map(|epoch| epoch.validation);
            done.push(Ablated { variant, score });
        }
        let all = done.first().and_then(|all| all.score.as_ref()).map_or(0.0, |score| score.mean_ap);
        output::line("")?;
        output::line(&format!("{:16}{:>9}{:>11}{:>9}", "variant", "mean AP", "worth", "AP50"))?;
        for Ablated { variant, score } in &done {
            let Some(SetScore { mean_ap, ap, .. }) = score else { continue };
            output::line(&format!("{variant:16}{mean_ap:>9.3}{:>+11.3}{:>9.3}", all - mean_ap, ap[0]))?;
        }
        self.write_json("ablation.json", &done)?;
        Ok(Exit::Done)
    }

    /// Trains networks of several sizes and the tutorial, and writes the Pareto front of score against cost as a
    /// table, `front.json` and `front.svg`.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn pareto(&self) -> Result<Exit, Failure> {
        self.needs_validation()?;
        let mut rows: Vec<ParetoPoint> = Vec::new();
        for (name, config) in self.config.pareto() {
            let row = self.folder.path().join(&name).join("row.json");
            rows.push(match load_row(&row)? {
                Some(row) => row,
                None => self.pareto_point(&name, &config, &row)?,
            });
            // After every run, so that partial results are available.
            self.write_json("front.json", &rows)?;
            write_whole(&self.folder.path().join("front.svg"), draw_pareto(&rows)?.as_bytes())?;
        }
        output::line("")?;
        for line in pareto_lines(&rows) {
            output::line(&line)?;
        }
        Ok(Exit::Done)
    }

    fn pareto_point(&self, name: &str, config: &TrainConfig, path: &Path) -> Result<ParetoPoint, Failure> {
        let read;
        let training_data = if config.recipe == self.config.recipe {
            self.training_data
        } else {
            read = config.training_data(self.dataset, self.threads)?;
            &read
        };
        let (folder, graph) = self.train(name, config, training_data)?;
        let model =
            package_model(&graph, config, Encoding::Int8Weights, &training_data.validation, self.threads)?;
        folder.save_report(&model, &training_data.validation)?;
        let last = folder.load_epochs()?.pop();
        let row = ParetoPoint {
            name: name.to_owned(),
            architecture: config.unet.describe(),
            gmac: config.gmac()?,
            bytes: model.onnx.len(),
            crops: last.as_ref().map_or(0, |epoch| epoch.crops),
            seconds: last.as_ref().map_or(0.0, |epoch| epoch.seconds),
            float: model.report.float,
            int8: model.report.file,
            types: model.report.types.into_iter().map(|(name, score)| (name.to_owned(), score)).collect(),
        };
        write_whole(path, &serde_json::to_vec(&row).map_err(std::io::Error::from)?)?;
        Ok(row)
    }

    /// Executes one run of the series.
    fn train(
        &self,
        name: &str,
        config: &TrainConfig,
        training_data: &TrainingData,
    ) -> Result<(RunFolder, Graph), Failure> {
        let folder = RunFolder::new(&self.folder.path().join(name));
        if !folder.is_begun() {
            folder.save_config(config)?;
        }
        output::line(&format!("{name}:"))?;
        let session = Session {
            config,
            folder: &folder,
            sampler: &training_data.sampler,
            validation: &training_data.validation,
            threads: self.threads,
            stop: interrupt::flag()?,
            limits: Limits::default(),
        };
        match session.run_on(self.backend)? {
            Outcome::Interrupted { steps } => {
                let problem = format!("stopped after {steps} of {} steps of {name}", config.steps());
                Err(Failure::failed(problem, "run the same command with --resume to continue"))
            }
            Outcome::Finished(graph) => Ok((folder, graph)),
        }
    }

    fn needs_validation(&self) -> Result<(), Failure> {
        if !self.training_data.validation.is_empty() {
            return Ok(());
        }
        let problem = "a series compares validation scores, but no image is held back";
        Err(Failure::usage(problem, "start a run with --validation above 0"))
    }

    fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_vec_pretty(value).map_err(std::io::Error::from)?;
        Ok(write_whole(&self.folder.path().join(name), &json)?)
    }
}

/// A row from an earlier command.
fn load_row(path: &Path) -> Result<Option<ParetoPoint>, Failure> {
    if !path.exists() {
        return Ok(None);
    }
    serde_json::from_str(&fs::read_to_string(path)?).map(Some).map_err(|error| {
        let problem = format!("{} is damaged: {error}", path.display());
        Failure::failed(problem, "delete it; the run's scores are then computed again")
    })
}

fn pareto_lines(rows: &[ParetoPoint]) -> Vec<String> {
    let heading = format!(
        "{:10}{:>7}{:>11}{:>9}{:>9}{:>9}{:>9}{:>13}",
        "network", "GMAC", "bytes", "crops", "float", "int8", "AP50", "count error"
    );
    let line = |row: &ParetoPoint| {
        let int8 = row.int8.as_ref()?;
        Some(format!(
            "{:10}{:>7.2}{:>11}{:>9}{:>9.3}{:>9.3}{:>9.3}{:>12.1}%",
            row.name,
            row.gmac,
            row.bytes,
            row.crops,
            row.float.as_ref()?.mean_ap,
            int8.mean_ap,
            int8.ap[0],
            100.0 * int8.count_error
        ))
    };
    std::iter::once(heading).chain(rows.iter().filter_map(line)).collect()
}
