//! Scores a data set image by image, and names every problem at once.

use std::collections::BTreeSet;

use host_console::{Failure, Progress, one_line, warning};
use host_modelling::{
    BadSamples, BadTruth, Dataset, ImageType, LabelledSample, SampleWarning, print_warnings,
};
use shared::{LabelImage, evaluate};

use super::{ScoreReport, ScoredPicture};
use crate::analysis::label_source::LabelSource;

/// What to do with images without a predicted label image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingPolicy {
    /// Reject the prediction, and list all such images.
    #[default]
    Refuse,
    /// They are not scored.
    LeaveOut,
    /// Treat them as images without nuclei.
    CountEmpty,
}

/// How to score.
#[derive(Debug, Clone, Default)]
pub struct ScoreOptions {
    /// Names of the images to score; all if empty.
    pub only: BTreeSet<String>,
    /// What to do with images without a prediction.
    pub missing: MissingPolicy,
    /// What to do with images without usable ground truth.
    pub bad: BadTruth,
}

/// Scores, and what they exclude.
#[derive(Debug)]
pub struct SetResult {
    /// The scores.
    pub report: ScoreReport,
    /// Files excluded for unusable ground truth.
    pub skipped: Vec<String>,
    /// Images without a prediction that were treated as empty, or excluded.
    pub missing: Vec<String>,
}

/// Observes every image as it is scored, with the labels that were found.
pub type ScoreObserver<'a> = dyn FnMut(&LabelledSample, &LabelImage, &ScoredPicture) + 'a;

/// Scores a data set.
///
/// # Errors
/// [`Failure`] that names every image in the way: unknown names, missing predictions, truth that
/// cannot be used, predictions that are damaged or of another size.
pub fn score_set(
    dataset: &Dataset,
    mut prediction: LabelSource,
    options: &ScoreOptions,
    observe: &mut ScoreObserver<'_>,
) -> Result<SetResult, Failure> {
    let mut chosen = choose(dataset, &options.only)?;
    let missing = match &prediction {
        LabelSource::Model(_) => Vec::new(),
        LabelSource::Files(files) => {
            refuse_equal_names(dataset, &chosen)?;
            let predicted: BTreeSet<&str> = files.names().collect();
            warn_unmatched(dataset, &predicted);
            let (with, without): (Vec<usize>, Vec<usize>) =
                chosen.iter().partition(|&&at| predicted.contains(dataset.name(at)));
            let missing: Vec<String> = without.iter().map(|&at| dataset.name(at).to_owned()).collect();
            apply_missing_policy(&missing, options.missing)?;
            if options.missing == MissingPolicy::LeaveOut {
                chosen = with;
            }
            missing
        }
    };
    let progress = Progress::new("scoring", chosen.len() as u64);
    let mut bad = BadSamples { errors: Vec::new(), of: chosen.len() };
    let (mut scored, mut warnings, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for index in chosen {
        match dataset.load_with_truth(index) {
            Err(error) => bad.errors.push(error),
            // Once the set is to be rejected, the rest is only checked for more bad files.
            Ok(_) if !bad.errors.is_empty() && options.bad == BadTruth::Refuse => {}
            Ok(sample) => match score(&sample, &mut prediction, observe) {
                Ok(picture) => {
                    warnings.extend::<Vec<SampleWarning>>(sample.warnings);
                    scored.push(picture);
                }
                Err(problem) => problems.push(problem),
            },
        }
        progress.advance(1);
    }
    let bad = bad.settle(options.bad, &mut |line| progress.warn(line))?;
    print_warnings(&warnings, &mut |line| progress.warn(line));
    if !problems.is_empty() {
        let problem =
            format!("{} predictions cannot be scored: {}", problems.len(), some_of(&problems, "; "));
        return Err(Failure::failed(problem, "segment the same images again, at their original size"));
    }
    let report = ScoreReport::new(scored).ok_or_else(|| {
        Failure::failed("no image is left to score", "give more images, or correct their ground truth")
    })?;
    let skipped = bad.errors.iter().map(|error| one_line(error)).collect();
    Ok(SetResult { report, skipped, missing })
}

fn score(
    sample: &LabelledSample,
    prediction: &mut LabelSource,
    observe: &mut ScoreObserver<'_>,
) -> Result<ScoredPicture, String> {
    let named = |error: &(dyn std::error::Error + 'static)| format!("{}: {}", sample.name, one_line(error));
    let found = prediction.labels(&sample.name, &sample.image).map_err(|error| named(&error))?;
    let score = evaluate(&sample.labels, &found).map_err(|error| named(&error))?;
    let scored = ScoredPicture { name: sample.name.clone(), image_type: ImageType::of(&sample.image), score };
    observe(sample, &found, &scored);
    Ok(scored)
}

fn choose(dataset: &Dataset, only: &BTreeSet<String>) -> Result<Vec<usize>, Failure> {
    let known: BTreeSet<&str> = (0..dataset.len()).map(|at| dataset.name(at)).collect();
    let unknown: Vec<&String> = only.iter().filter(|name| !known.contains(name.as_str())).collect();
    if !unknown.is_empty() {
        let problem = format!("the ground truth has no image called {}", some_of(&unknown, ", "));
        return Err(Failure::usage(problem, "give image names without folder and extension"));
    }
    Ok((0..dataset.len()).filter(|&at| only.is_empty() || only.contains(dataset.name(at))).collect())
}

fn refuse_equal_names(dataset: &Dataset, chosen: &[usize]) -> Result<(), Failure> {
    // The listing is sorted by name.
    match chosen.windows(2).find(|pair| dataset.name(pair[0]) == dataset.name(pair[1])) {
        None => Ok(()),
        Some(pair) => {
            let (first, second) = (dataset.file(pair[0]), dataset.file(pair[1]));
            let problem =
                format!("{first} and {second} have the same name, so one label image would match both");
            Err(Failure::failed(problem, "score their folders separately"))
        }
    }
}

fn warn_unmatched(dataset: &Dataset, predicted: &BTreeSet<&str>) {
    let known: BTreeSet<&str> = (0..dataset.len()).map(|at| dataset.name(at)).collect();
    let strangers: Vec<&&str> = predicted.difference(&known).collect();
    if !strangers.is_empty() {
        let names = some_of(&strangers, ", ");
        warning!("warning: {} predictions have no ground truth and are not scored: {names}", strangers.len());
    }
}

fn apply_missing_policy(missing: &[String], choice: MissingPolicy) -> Result<(), Failure> {
    if missing.is_empty() {
        return Ok(());
    }
    let problem = format!(
        "{} images of the ground truth have no prediction: {}",
        missing.len(),
        some_of(missing, ", ")
    );
    match choice {
        MissingPolicy::Refuse => Err(Failure::failed(
            problem,
            "segment them too, or score only the others with --subset, or treat these as empty with --missing-as-empty",
        )),
        MissingPolicy::LeaveOut => {
            warning!("warning: {problem}; they are excluded");
            Ok(())
        }
        MissingPolicy::CountEmpty => {
            warning!("warning: {problem}; they are scored as empty");
            Ok(())
        }
    }
}

/// Items of a list that are named; the rest is only counted.
const MAX_NAMED: usize = 10;

fn some_of<T: ToString>(items: &[T], between: &str) -> String {
    let names: Vec<String> = items.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let names = names.join(between);
    match items.len().saturating_sub(MAX_NAMED) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
