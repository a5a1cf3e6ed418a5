//! The last steps of a run: tunes thresholds on validation, quantizes weights, and writes scores to the file.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use host_console::Failure;
use host_modelling::{Encoding, Graph, ModelDraft, export_model};
use serde::Serialize;
use shared::{ExtractionParams, ImageScore, LabelImage, SetScore};

use super::config::TrainConfig;
use super::golden_scene::golden_scene;
use super::recipe::Recipe;
use super::validation::{ValidationPicture, tune_extraction, validate};

/// A model file with what is known about it.
#[derive(Debug)]
pub struct FinishedModel {
    /// The file.
    pub onnx: Vec<u8>,
    /// Its labels of the validation images, in order.
    pub labels: Vec<LabelImage>,
    /// Its scores.
    pub report: Report,
}

/// The scores of a finished model on the validation split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The extraction as tuned.
    pub extraction: ExtractionParams,
    /// With the trained float weights, all images.
    pub float: Option<SetScore>,
    /// With the weights in the file, all images.
    pub file: Option<SetScore>,
    /// With the weights in the file, per image type.
    pub types: BTreeMap<&'static str, SetScore>,
    /// With the weights in the file, per image.
    pub pictures: BTreeMap<String, f64>,
}

/// A file with its labels and scores of the validation images, in order.
#[derive(Debug)]
pub struct ScoredFile {
    /// The file.
    pub onnx: Vec<u8>,
    /// For each image.
    pub pictures: Vec<(LabelImage, ImageScore)>,
}

impl ScoredFile {
    /// Writes `graph` in `encoding` and scores it.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn of(
        graph: &Graph,
        draft: &ModelDraft,
        encoding: Encoding<'_>,
        validation: &[ValidationPicture],
        threads: NonZeroUsize,
    ) -> Result<Self, Failure> {
        let onnx = export_model(graph.clone(), draft, encoding, &golden_scene()?)?;
        let pictures = validate(&onnx, validation, threads)?;
        Ok(Self { onnx, pictures })
    }

    /// The score over all images; `None` without any.
    pub fn mean(&self) -> Option<SetScore> {
        SetScore::from_scores(self.pictures.iter().map(|(_, score)| score))
    }
}

/// What the manifest of a run's model says, with the extraction tuned on `validation`.
///
/// # Errors
/// [`Failure`].
pub fn tuned_draft(
    graph: &Graph,
    config: &TrainConfig,
    validation: &[ValidationPicture],
    threads: NonZeroUsize,
) -> Result<ModelDraft, Failure> {
    let mut draft = config.draft()?;
    if !validation.is_empty() && config.recipe == Recipe::Nuclei {
        let float = export_model(graph.clone(), &draft, Encoding::F32, &golden_scene()?)?;
        draft.extraction = tune_extraction(&float, validation, threads)?;
    }
    Ok(draft)
}

/// Tunes the extraction on `validation`, encodes the weights, scores both forms and writes the file.
///
/// # Errors
/// [`Failure`].
pub fn package_model(
    graph: &Graph,
    config: &TrainConfig,
    encoding: Encoding<'_>,
    validation: &[ValidationPicture],
    threads: NonZeroUsize,
) -> Result<FinishedModel, Failure> {
    let mut draft = tuned_draft(graph, config, validation, threads)?;
    draft.scores.float = ScoredFile::of(graph, &draft, Encoding::F32, validation, threads)?.mean();
    let file = ScoredFile::of(graph, &draft, encoding, validation, threads)?;
    if encoding != Encoding::F32 {
        draft.scores.int8 = file.mean();
    }
    let mut by_type: BTreeMap<&'static str, Vec<&ImageScore>> = BTreeMap::new();
    for (picture, (_, score)) in validation.iter().zip(&file.pictures) {
        by_type.entry(picture.image_type.name()).or_default().push(score);
    }
    let types = by_type
        .into_iter()
        .filter_map(|(name, scores)| Some((name, SetScore::from_scores(scores)?)))
        .collect();
    let pictures = validation
        .iter()
        .zip(&file.pictures)
        .map(|(picture, (_, score))| (picture.name.clone(), score.mean_ap()))
        .collect();
    let report = Report {
        extraction: draft.extraction,
        float: draft.scores.float.clone(),
        file: file.mean(),
        types,
        pictures,
    };
    let onnx = export_model(graph.clone(), &draft, encoding, &golden_scene()?)?;
    Ok(FinishedModel { onnx, labels: file.pictures.into_iter().map(|(labels, _)| labels).collect(), report })
}
