//! The last steps of a run: thresholds tuned on validation, weights rounded, scores written into the file.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::Serialize;
use shared::{Extraction, ImageScore, LabelImage, SetScore};

use super::config::TrainConfig;
use super::golden_scene::golden_scene;
use super::recipe::Recipe;
use super::validation::{ValidationPicture, tune_extraction, validate};
use crate::export::export_model;
use crate::failure::Failure;
use crate::graph::Graph;
use crate::onnx::WeightEncoding;

/// A model file with what is known about it.
#[derive(Debug)]
pub struct FinishedModel {
    /// The file.
    pub onnx: Vec<u8>,
    /// Labels that it gives for the validation pictures, in order.
    pub labels: Vec<LabelImage>,
    /// Its scores.
    pub report: Report,
}

/// The scores of a finished model on the validation split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The extraction as tuned.
    pub extraction: Extraction,
    /// With the weights as trained, all pictures.
    pub float: Option<SetScore>,
    /// With the weights as in the file, all pictures.
    pub file: Option<SetScore>,
    /// With the weights as in the file, by image type.
    pub types: BTreeMap<&'static str, SetScore>,
    /// With the weights as in the file, by picture.
    pub pictures: BTreeMap<String, f64>,
}

/// Tunes the extraction on `validation`, encodes the weights, scores both forms and writes the file.
///
/// # Errors
/// [`Failure`].
pub fn finish(
    graph: &Graph,
    config: &TrainConfig,
    weights: WeightEncoding,
    validation: &[ValidationPicture],
    threads: NonZeroUsize,
) -> Result<FinishedModel, Failure> {
    let golden = golden_scene()?;
    let mut draft = config.draft()?;
    let float = export_model(graph.clone(), &draft, WeightEncoding::F32, &golden)?;
    let mut scored = Vec::new();
    if !validation.is_empty() {
        if config.recipe == Recipe::Nuclei {
            draft.extraction = tune_extraction(&float, validation, threads)?;
        }
        let float = export_model(graph.clone(), &draft, WeightEncoding::F32, &golden)?;
        draft.scores.float = mean(&validate(&float, validation, threads)?);
        let file = export_model(graph.clone(), &draft, weights, &golden)?;
        scored = validate(&file, validation, threads)?;
        if weights == WeightEncoding::Int8 {
            draft.scores.int8 = mean(&scored);
        }
    }
    let mut by_type: BTreeMap<&'static str, Vec<&ImageScore>> = BTreeMap::new();
    for (picture, (_, score)) in validation.iter().zip(&scored) {
        by_type.entry(picture.image_type.name()).or_default().push(score);
    }
    let types = by_type
        .into_iter()
        .filter_map(|(name, scores)| Some((name, SetScore::from_scores(scores)?)))
        .collect();
    let pictures = validation
        .iter()
        .zip(&scored)
        .map(|(picture, (_, score))| (picture.name.clone(), score.mean_ap()))
        .collect();
    let report = Report {
        extraction: draft.extraction,
        float: draft.scores.float.clone(),
        file: mean(&scored),
        types,
        pictures,
    };
    let onnx = export_model(graph.clone(), &draft, weights, &golden)?;
    Ok(FinishedModel { onnx, labels: scored.into_iter().map(|(labels, _)| labels).collect(), report })
}

fn mean(scored: &[(LabelImage, ImageScore)]) -> Option<SetScore> {
    SetScore::from_scores(scored.iter().map(|(_, score)| score))
}
