//! A model file loaded for tract, the only inference engine on host and station.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use prost::Message as _;
use thiserror::Error;
use tract_onnx::pb;

use crate::manifest::{INPUT_NAME, MANIFEST_KEY, Manifest, ManifestError, OUTPUT_NAME};
use crate::network::{Execution, TractNetwork};
use crate::segmenter::Segmenter;
use crate::wire::{ModelDigest, ModelRefusal};

/// Why a file is not a model that can run here.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The bytes are not an ONNX file, or are truncated.
    #[error("the file is not an ONNX model, or is truncated")]
    NotOnnx,
    /// The file has no manifest.
    #[error("the model has no {MANIFEST_KEY:?} in its metadata, so it was not exported by nuclei-host")]
    NoManifest,
    /// The manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest and the network do not match.
    #[error("the network's {end} is {actual}, the manifest says {expected}")]
    Shape {
        /// `input` or `output`.
        end: &'static str,
        /// Name and shape by the manifest.
        expected: String,
        /// Name and shape in the file.
        actual: String,
    },
    /// tract cannot run the network.
    #[error("tract cannot run the network: {message}")]
    Unsupported {
        /// What tract says.
        message: String,
    },
}

impl ModelError {
    /// The same as a wire message.
    pub const fn refusal(&self) -> ModelRefusal {
        match self {
            Self::NotOnnx => ModelRefusal::NotOnnx,
            Self::NoManifest => ModelRefusal::NoManifest,
            Self::Manifest(ManifestError::Format { found }) => {
                ModelRefusal::ManifestVersion { found: *found, supported: crate::manifest::MANIFEST_FORMAT }
            }
            Self::Manifest(_) | Self::Shape { .. } => ModelRefusal::BadManifest,
            Self::Unsupported { .. } => ModelRefusal::Unsupported,
        }
    }
}

/// A model file that was parsed, checked and planned.
#[derive(Debug)]
pub struct Model {
    manifest: Manifest,
    digest: ModelDigest,
    network: TractNetwork,
}

impl Model {
    /// Parses an ONNX file, reads its manifest and plans the network for its tile size.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn load(onnx: &[u8], execution: impl Into<Execution>) -> Result<Self, ModelError> {
        let proto = parse(onnx)?;
        let manifest = manifest_of(&proto)?;
        check_ends(&proto, &manifest)?;
        let network = TractNetwork::plan(&proto, manifest.input.tile as usize, execution.into())
            .map_err(|error| ModelError::Unsupported { message: alloc::format!("{error:#}") })?;
        Ok(Self { manifest, digest: ModelDigest::of(onnx), network })
    }

    /// What the model says about itself.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the file.
    pub const fn digest(&self) -> ModelDigest {
        self.digest
    }

    /// Only the network.
    pub const fn network_mut(&mut self) -> &mut TractNetwork {
        &mut self.network
    }

    /// The network with the settings of its manifest.
    pub fn into_segmenter(self) -> Segmenter<TractNetwork> {
        Segmenter::new(self.network, self.manifest)
    }
}

/// Reads the manifest of an ONNX file without planning its network.
///
/// # Errors
/// [`ModelError::NotOnnx`], [`ModelError::NoManifest`] or [`ModelError::Manifest`].
pub fn read_manifest(onnx: &[u8]) -> Result<Manifest, ModelError> {
    manifest_of(&parse(onnx)?)
}

fn parse(onnx: &[u8]) -> Result<pb::ModelProto, ModelError> {
    let proto = pb::ModelProto::decode(onnx).map_err(|_| ModelError::NotOnnx)?;
    // Almost any short run of bytes is some protobuf: a model has a graph with nodes.
    if proto.graph.as_ref().is_none_or(|graph| graph.node.is_empty()) {
        return Err(ModelError::NotOnnx);
    }
    Ok(proto)
}

fn manifest_of(proto: &pb::ModelProto) -> Result<Manifest, ModelError> {
    let entry = proto.metadata_props.iter().find(|entry| entry.key == MANIFEST_KEY);
    Ok(Manifest::parse(&entry.ok_or(ModelError::NoManifest)?.value)?)
}

/// Compares the graph's input and output with the manifest, before anything is planned for them.
fn check_ends(proto: &pb::ModelProto, manifest: &Manifest) -> Result<(), ModelError> {
    let Some(graph) = &proto.graph else { return Err(ModelError::NotOnnx) };
    let tile = i64::from(manifest.input.tile);
    let ends = [
        ("input", &graph.input, INPUT_NAME, 3),
        ("output", &graph.output, OUTPUT_NAME, manifest.outputs.len() as i64),
    ];
    for (end, values, name, channels) in ends {
        let expected = describe(name, &[1, channels, tile, tile]);
        let actual = match values.as_slice() {
            [value] => describe(&value.name, &shape_of(value)),
            others => alloc::format!("{} values", others.len()),
        };
        if actual != expected {
            return Err(ModelError::Shape { end, expected, actual });
        }
    }
    Ok(())
}

fn describe(name: &str, shape: &[i64]) -> String {
    let sides: Vec<String> = shape.iter().map(ToString::to_string).collect();
    alloc::format!("{name} {}", sides.join("x"))
}

/// The static shape of a graph input or output; a symbolic side is -1.
fn shape_of(value: &pb::ValueInfoProto) -> Vec<i64> {
    use pb::tensor_shape_proto::dimension::Value;
    use pb::type_proto::Value as Kind;
    let Some(Kind::TensorType(tensor)) = value.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
        return Vec::new();
    };
    let Some(shape) = &tensor.shape else { return Vec::new() };
    shape
        .dim
        .iter()
        .map(|side| match side.value {
            Some(Value::DimValue(length)) => length,
            _ => -1,
        })
        .collect()
}
