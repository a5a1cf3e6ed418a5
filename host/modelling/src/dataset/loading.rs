//! Loads all images of a data set, and reports those that cannot be used.

use std::fmt::{self, Display, Formatter};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use host_console::{Failure, Progress, printable};
use serde::{Deserialize, Serialize};

use super::{Dataset, LabelledSample, SampleError, SampleWarning};

/// Lines reported of one kind; the rest is only counted.
const MAX_REPORTED: usize = 10;

/// What to do with a data set that contains unusable images or ground truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadTruth {
    /// Reject it, and list all bad files.
    #[default]
    Refuse,
    /// List and skip the bad files.
    Skip,
}

/// Images that cannot be used.
#[derive(Debug)]
pub struct BadSamples {
    /// One error per image.
    pub errors: Vec<SampleError>,
    /// Images looked at.
    pub of: usize,
}

impl Display for BadSamples {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} images cannot be used:", self.errors.len(), self.of)?;
        for error in self.errors.iter().take(MAX_REPORTED) {
            write!(f, "\n  {}", printable(&error.line()))?;
        }
        match self.errors.len().saturating_sub(MAX_REPORTED) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for BadSamples {}

impl From<BadSamples> for Failure {
    fn from(bad: BadSamples) -> Self {
        Self::failed(bad, "correct these files, or skip them with --skip-bad")
    }
}

impl BadSamples {
    /// Rejects the data set, or lists what is skipped.
    ///
    /// # Errors
    /// [`BadSamples`] when there are some and the choice is [`BadTruth::Refuse`].
    pub fn settle(self, choice: BadTruth, warn: &mut dyn FnMut(&str)) -> Result<Self, Self> {
        match (self.errors.is_empty(), choice) {
            (true, _) => Ok(self),
            (false, BadTruth::Refuse) => Err(self),
            (false, BadTruth::Skip) => {
                warn(&format!("warning: skipped, {self}"));
                Ok(self)
            }
        }
    }
}

/// Prints warnings about ground truth that is still used.
pub fn print_warnings(warnings: &[SampleWarning], warn: &mut dyn FnMut(&str)) {
    for warning in warnings.iter().take(MAX_REPORTED) {
        warn(&format!("warning: {warning}"));
    }
    if warnings.len() > MAX_REPORTED {
        warn(&format!("warning: and {} more like these", warnings.len() - MAX_REPORTED));
    }
}

impl Dataset {
    /// Loads every image with its ground truth, in order, on several threads. Skipped files and warnings are printed
    /// above the progress bar.
    ///
    /// # Errors
    /// [`BadSamples`] when one cannot be used and the choice is [`BadTruth::Refuse`].
    pub fn load_all(
        &self,
        choice: BadTruth,
        threads: NonZeroUsize,
    ) -> Result<Vec<LabelledSample>, BadSamples> {
        let progress = Progress::new("reading images", self.len() as u64);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut loaded = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= self.len() {
                    return loaded;
                }
                loaded.push((index, self.load_with_truth(index)));
                progress.advance(1);
            }
        };
        let mut loaded: Vec<(usize, Result<LabelledSample, SampleError>)> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.get()).map(|_| scope.spawn(work)).collect();
            let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().flat_map(join).collect()
        });
        loaded.sort_by_key(|(index, _)| *index);
        let mut samples = Vec::with_capacity(self.len());
        let mut bad = BadSamples { errors: Vec::new(), of: self.len() };
        for (_, sample) in loaded {
            match sample {
                Ok(sample) => samples.push(sample),
                Err(error) => bad.errors.push(error),
            }
        }
        bad.settle(choice, &mut |line| progress.warn(line))?;
        let warnings: Vec<SampleWarning> =
            samples.iter().flat_map(|sample| sample.warnings.iter().cloned()).collect();
        print_warnings(&warnings, &mut |line| progress.warn(line));
        Ok(samples)
    }
}
