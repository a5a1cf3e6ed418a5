//! Exports a trained graph as the model file for a station.

use std::num::NonZeroUsize;

use host_console::Failure;
use shared::{
    ExtractionParams, Golden, GoldenError, Image, InputSpec, LabelImage, MANIFEST_FORMAT, MANIFEST_KEY,
    Manifest, ManifestError, Model, ModelError, NetworkError, OutputChannel, Scale, ScaleChoice, Scores,
    SegmentError, SizeError,
};
use thiserror::Error;

use crate::graph::Graph;
use crate::onnx::{Encoding, OnnxError, OnnxOptions, write_onnx};

/// The parts of a model's manifest that its graph does not determine.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelDraft {
    /// The architecture in words.
    pub architecture: String,
    /// The network's input.
    pub input: InputSpec,
    /// The network's output channels in order.
    pub outputs: Vec<OutputChannel>,
    /// How nuclei are extracted.
    pub extraction: ExtractionParams,
    /// Area-weighted median diameter of the training nuclei, in pixels at the network's scale.
    pub native_nucleus_px: f32,
    /// SHA-256 of the training data, hexadecimal.
    pub data_digest: String,
    /// Validation scores.
    pub scores: Scores,
}

impl From<Manifest> for ModelDraft {
    fn from(manifest: Manifest) -> Self {
        let Manifest {
            architecture, input, outputs, extraction, native_nucleus_px, data_digest, scores, ..
        } = manifest;
        Self { architecture, input, outputs, extraction, native_nucleus_px, data_digest, scores }
    }
}

/// Why a graph could not be exported.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The file cannot be written as ONNX.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The manifest contradicts itself.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The image cannot be the golden frame.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// The golden frame's size is out of range.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The station would reject the file.
    #[error("the station would reject the exported file")]
    Refused(#[from] ModelError),
    /// The exported file does not segment its golden frame.
    #[error("the exported file does not segment its golden frame")]
    Segment(#[from] SegmentError<NetworkError>),
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        Self::failed(error, "train longer, or start a new run")
    }
}

/// Writes `graph` with its manifest as one ONNX file, after folding batch normalization. The file's own labels of
/// `golden`, a grayscale image, become its golden frame; the finished file is then loaded and tested on it as a station
/// does.
///
/// # Errors
/// [`ExportError`].
pub fn export_model(
    graph: Graph,
    draft: &ModelDraft,
    encoding: Encoding<'_>,
    golden: &Image,
) -> Result<Vec<u8>, ExportError> {
    let graph = graph.fold_batch_norm();
    let background = LabelImage::background(golden.width(), golden.height())?;
    let mut manifest = Manifest {
        format: MANIFEST_FORMAT,
        architecture: draft.architecture.clone(),
        input: draft.input,
        outputs: draft.outputs.clone(),
        extraction: draft.extraction,
        native_nucleus_px: draft.native_nucleus_px,
        data_digest: draft.data_digest.clone(),
        scores: draft.scores.clone(),
        gmac: graph.macs() as f32 / 1e9,
        golden: Golden::new(golden.clone(), background)?,
    };
    let provisional = write(&graph, &manifest, encoding)?;
    let mut segmenter = Model::load(&provisional, NonZeroUsize::MIN)?.into_segmenter();
    let found = segmenter.segment(golden, ScaleChoice::Fixed(Scale::ONE))?;
    manifest.golden = Golden::new(golden.clone(), found.labels)?;
    let onnx = write(&graph, &manifest, encoding)?;
    Model::load(&onnx, NonZeroUsize::MIN)?.into_segmenter().check_golden()?;
    Ok(onnx)
}

fn write(graph: &Graph, manifest: &Manifest, encoding: Encoding<'_>) -> Result<Vec<u8>, ExportError> {
    let json = manifest.to_json()?;
    Ok(write_onnx(graph, &OnnxOptions { encoding, metadata: &[(MANIFEST_KEY, &json)] })?)
}
