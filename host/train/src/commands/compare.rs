//! `nuclei-host compare`: models against each other on the same images, with intervals.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use host_console::{Exit, Failure, output, read_input, threads_or_all};
use host_modelling::{BadTruth, Dataset};
use host_training::{Interval, Tuner, TypedSamples, ValidationPicture, bootstrap};
use serde::Serialize;
use shared::{ImageScore, SetScore};

use super::train::names_in;

const EXAMPLES: &str = "Examples:
  nuclei-host compare --data validation.zip --model old.onnx --model new.onnx
  nuclei-host compare --data stage1_train.zip --data more/ --names held-back.txt --model old.onnx --model new.onnx";

/// Compare models on the same images, with intervals.
///
/// Every model segments every image as a station does. Its score is measured twice: with the thresholds of its file, and
/// with thresholds tuned for it on the other folds of these images, so that no image is scored by thresholds that were
/// tuned on it. Intervals of 95 % are by bootstrap over photographs; differences are to the first model.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArgs {
    /// Folder or zip of images with masks; may be given several times
    #[arg(long, required = true)]
    data: Vec<PathBuf>,
    /// Use only the images named in this file, one per line
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    /// Model file; may be given several times
    #[arg(long, required = true)]
    model: Vec<PathBuf>,
    /// Folds of the tuning, 2 or more; 1 leaves every model its own thresholds
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..100))]
    folds: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Threads for reading and inference [default: one per core]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    model: String,
    thresholds: &'static str,
    mean_ap: Option<Interval>,
    /// To the first model with thresholds of the same kind.
    difference: Option<Interval>,
    score: Option<SetScore>,
    /// Of the sum of all counts, as a share of the true one.
    count_bias: f64,
    /// Mean AP by image type, and its difference.
    types: BTreeMap<&'static str, (f64, Option<Interval>)>,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &CompareArgs) -> Result<Exit, Failure> {
    let threads = threads_or_all(args.threads);
    let datasets = args.data.iter().map(|path| Dataset::open(path)).collect::<Result<Vec<_>, _>>()?;
    let typed = TypedSamples::load(&datasets.iter().collect::<Vec<_>>(), BadTruth::Refuse, threads)?;
    let (pictures, photographs) = match &args.names {
        Some(file) => typed.named(&names_in(file)?)?,
        None => typed.all(),
    };
    let folds: Vec<usize> = photographs.iter().map(|photograph| photograph % args.folds as usize).collect();
    let mut first: BTreeMap<&'static str, Vec<ImageScore>> = BTreeMap::new();
    let mut rows = Vec::new();
    for path in &args.model {
        let onnx = read_input(path).map_err(|error| {
            Failure::usage(format!("{} cannot be read: {error}", path.display()), "give a model file")
        })?;
        let mut tuner = Tuner::new(&onnx, &pictures, threads)?;
        let mut kinds = vec![("of the file", tuner.own_scores().to_vec())];
        if args.folds > 1 {
            kinds.push(("tuned on other folds", tuner.cross_fitted(&folds)?));
        }
        for (thresholds, scores) in kinds {
            let reference = first.entry(thresholds).or_insert_with(|| scores.clone());
            let model = path.display().to_string();
            rows.push(Row::of(model, thresholds, &scores, reference, &pictures, &photographs));
        }
    }
    if args.json {
        output::json(&rows)?;
    } else {
        output::line(&format!("{} images of {} photographs", pictures.len(), count_of(&photographs)))?;
        rows.iter().flat_map(Row::to_lines).try_for_each(|line| output::line(&line))?;
    }
    Ok(Exit::Done)
}

fn count_of(photographs: &[usize]) -> usize {
    photographs.iter().collect::<std::collections::BTreeSet<_>>().len()
}

impl Row {
    fn of(
        model: String,
        thresholds: &'static str,
        scores: &[ImageScore],
        reference: &[ImageScore],
        pictures: &[ValidationPicture],
        photographs: &[usize],
    ) -> Self {
        let mean_aps: Vec<f64> = scores.iter().map(ImageScore::mean_ap).collect();
        let differences: Vec<f64> =
            mean_aps.iter().zip(reference).map(|(own, other)| own - other.mean_ap()).collect();
        let mut members: BTreeMap<&'static str, Vec<usize>> = BTreeMap::new();
        for (at, picture) in pictures.iter().enumerate() {
            members.entry(picture.image_type.name()).or_default().push(at);
        }
        let pick = |values: &[f64], at: &[usize]| at.iter().map(|&at| values[at]).collect::<Vec<f64>>();
        let types = members.into_iter().map(|(name, at)| {
            let own = pick(&mean_aps, &at);
            let of: Vec<usize> = at.iter().map(|&at| photographs[at]).collect();
            let mean = own.iter().sum::<f64>() / own.len() as f64;
            (name, (mean, bootstrap(&pick(&differences, &at), &of)))
        });
        let sum =
            |count: fn(&ImageScore) -> u32| scores.iter().map(|score| f64::from(count(score))).sum::<f64>();
        let (found, wanted) = (sum(|score| score.predicted_count), sum(|score| score.true_count));
        Self {
            model,
            thresholds,
            mean_ap: bootstrap(&mean_aps, photographs),
            difference: bootstrap(&differences, photographs),
            score: SetScore::from_scores(scores),
            count_bias: (found - wanted) / wanted.max(1.0),
            types: types.collect(),
        }
    }

    fn to_lines(&self) -> Vec<String> {
        let signed = |interval: &Interval| {
            format!("{:+.3} ({:+.3} to {:+.3})", interval.mean, interval.low, interval.high)
        };
        let (Some(mean), Some(difference), Some(score)) = (&self.mean_ap, &self.difference, &self.score)
        else {
            return Vec::new();
        };
        let mut lines = vec![
            format!("{}, thresholds {}", self.model, self.thresholds),
            format!(
                "  mean AP {:.3} ({:.3} to {:.3}), {}; AP50 {:.3}; count error {:.1} %, bias {:+.1} %",
                mean.mean,
                mean.low,
                mean.high,
                signed(difference),
                score.ap[0],
                100.0 * score.count_error,
                100.0 * self.count_bias
            ),
        ];
        lines.extend(self.types.iter().map(|(name, (mean, difference))| {
            format!("  {name:20}{mean:>7.3}  {}", difference.as_ref().map_or(String::new(), signed))
        }));
        lines
    }
}

#[cfg(test)]
mod tests {
    use shared::{LabelImage, evaluate};

    use super::*;

    #[test]
    fn a_better_model_has_a_positive_difference() {
        let image = |label: fn(u32) -> u32| LabelImage::new(20, 20, (0..400).map(label).collect()).unwrap();
        let truth = image(|at| u32::from(at % 20 < 8) + 2 * u32::from(at % 20 > 11));
        let merged = image(|_| 1);
        let picture = |name: &str| ValidationPicture {
            name: name.to_owned(),
            image_type: host_modelling::ImageType::Fluorescence,
            image: shared::Image::black(20, 20, shared::Channels::Grey).unwrap(),
            labels: truth.clone(),
        };
        let pictures = [picture("a"), picture("b")];
        let (good, bad) = (evaluate(&truth, &truth).unwrap(), evaluate(&truth, &merged).unwrap());
        let row = Row::of(
            "new".to_owned(),
            "of the file",
            &[good.clone(), good],
            &[bad.clone(), bad.clone()],
            &pictures,
            &[0, 1],
        );
        assert_eq!(row.difference.map(|interval| [interval.low, interval.high]), Some([1.0, 1.0]));
        assert_eq!(row.count_bias, 0.0);
        assert!(row.to_lines()[1].contains("mean AP 1.000 (1.000 to 1.000), +1.000"), "{:?}", row.to_lines());
        let bad = [bad.clone(), bad];
        let row = Row::of("old".to_owned(), "of the file", &bad, &bad, &pictures, &[0, 1]);
        assert_eq!(row.difference.map(|interval| [interval.low, interval.high]), Some([0.0, 0.0]));
        assert_eq!(row.count_bias, -0.5);
    }
}
