//! `nuclei-host train --ablate`: what each augmentation is worth.

use std::num::NonZeroUsize;

use serde::Serialize;
use shared::SetScore;

use crate::atomic_file::write_whole;
use crate::failure::{Exit, Failure};
use crate::interrupt;
use crate::output;
use crate::train::{Backend, Material, Outcome, RunFolder, Session, TrainConfig, variants};

/// What one variant of an ablation came to.
#[derive(Debug, Serialize)]
struct Ablated {
    variant: &'static str,
    score: Option<SetScore>,
}

/// Trains once for each variant of the augmentation, each in a folder of its own within the run's, and tells
/// what validation says. A variant that is done, or was stopped, is not begun again.
///
/// # Errors
/// [`Failure`].
pub(super) fn ablate(
    config: &TrainConfig,
    folder: &RunFolder,
    material: &Material,
    backend: Backend,
    threads: NonZeroUsize,
) -> Result<Exit, Failure> {
    if material.validation.is_empty() {
        let problem = "an ablation compares validation scores, and no picture is held back";
        return Err(Failure::usage(problem, "begin a run with --validation above 0"));
    }
    let mut done: Vec<Ablated> = Vec::new();
    for (variant, augmentation) in variants(config.augmentation, config.nucleus_px) {
        let config = TrainConfig { augmentation, ..config.clone() };
        let folder = RunFolder::new(&folder.path().join(variant));
        if !folder.is_begun() {
            folder.save_config(&config)?;
        }
        output::line(&format!("{variant}:"))?;
        let session = Session {
            config: &config,
            folder: &folder,
            sampler: &material.sampler,
            validation: &material.validation,
            threads,
            stop: interrupt::flag()?,
        };
        if let Outcome::Interrupted { steps } = session.run_on(backend)? {
            let problem = format!("stopped after {steps} of {} steps of {variant}", config.steps());
            return Err(Failure::failed(problem, "the same command with --resume goes on"));
        }
        let score = folder.load_epochs()?.into_iter().rev().find_map(|epoch| epoch.validation);
        done.push(Ablated { variant, score });
    }
    let all = done.first().and_then(|all| all.score.as_ref()).map_or(0.0, |score| score.mean_ap);
    output::line(&format!("\n{:16}{:>9}{:>11}{:>9}", "variant", "mean AP", "worth", "AP50"))?;
    for Ablated { variant, score } in &done {
        let Some(SetScore { mean_ap, ap, .. }) = score else { continue };
        output::line(&format!("{variant:16}{mean_ap:>9.3}{:>+11.3}{:>9.3}", all - mean_ap, ap[0]))?;
    }
    let json = serde_json::to_vec(&done).map_err(std::io::Error::from)?;
    write_whole(&folder.path().join("ablation.json"), &json)?;
    Ok(Exit::Done)
}
