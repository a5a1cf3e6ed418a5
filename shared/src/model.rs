//! A model file made ready to run with tract: the only engine that segments, on the host and on the station.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroUsize;

use prost::Message as _;
use thiserror::Error;
use tract_onnx::pb;
use tract_onnx::prelude::*;

use crate::manifest::{INPUT_NAME, MANIFEST_KEY, Manifest, ManifestError, OUTPUT_NAME};
use crate::segmenter::{Network, Segmenter};
use crate::wire::{ModelDigest, ModelRefusal};

/// Why a file is not a model that runs here.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The bytes are no ONNX file, or a cut one.
    #[error("the file is not an ONNX model, or only a part of one")]
    NotOnnx,
    /// The file has no manifest.
    #[error("the model has no {MANIFEST_KEY:?} in its metadata, so it was not exported by nuclei-host")]
    NoManifest,
    /// The manifest is not understood.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest and the network do not fit.
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
    /// The same, as the station tells it on the wire.
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
    /// Tiles are spread over `threads` threads.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn load(onnx: &[u8], threads: NonZeroUsize) -> Result<Self, ModelError> {
        let proto = parse(onnx)?;
        let manifest = manifest_of(&proto)?;
        check_ends(&proto, &manifest)?;
        let network = TractNetwork::plan(&proto, &manifest, threads)
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

/// A network planned by tract for one tile; tiles run on several threads, a state each.
#[derive(Debug)]
pub struct TractNetwork {
    plan: Arc<TypedRunnableModel>,
    tile: usize,
    threads: NonZeroUsize,
}

impl TractNetwork {
    fn plan(proto: &pb::ModelProto, manifest: &Manifest, threads: NonZeroUsize) -> TractResult<Self> {
        let tile = manifest.input.tile as usize;
        let plan = tract_onnx::onnx()
            .model_for_proto_model(proto)?
            .with_input_fact(0, f32::fact([1, 3, tile, tile]).into())?
            .into_optimized()?
            .into_runnable()?;
        Ok(Self { plan, tile, threads })
    }

    fn run_each(&self, tiles_nchw: &[f32]) -> TractResult<Vec<f32>> {
        let mut state = self.plan.spawn()?;
        let mut maps_nchw = Vec::new();
        for tile_chw in tiles_nchw.chunks_exact(3 * self.tile * self.tile) {
            let input = Tensor::from_shape(&[1, 3, self.tile, self.tile], tile_chw)?;
            let outputs = state.run(core::iter::once(input.into()).collect())?;
            let maps = &outputs[0];
            maps_nchw.extend_from_slice(maps.try_as_plain_ram()?.as_slice::<f32>()?);
        }
        Ok(maps_nchw)
    }
}

impl Network for TractNetwork {
    type Error = NetworkError;

    fn run(&mut self, tiles_nchw: &[f32], n: usize) -> Result<Vec<f32>, NetworkError> {
        let share = n.div_ceil(self.threads.get()).max(1) * 3 * self.tile * self.tile;
        let this = &*self;
        let results: Vec<TractResult<Vec<f32>>> = if tiles_nchw.len() <= share {
            alloc::vec![this.run_each(tiles_nchw)]
        } else {
            std::thread::scope(|scope| {
                let workers: Vec<_> =
                    tiles_nchw.chunks(share).map(|part| scope.spawn(move || this.run_each(part))).collect();
                workers
                    .into_iter()
                    .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                    .collect()
            })
        };
        let mut maps_nchw = Vec::new();
        for result in results {
            let part = result.map_err(|error| NetworkError { message: alloc::format!("{error:#}") })?;
            maps_nchw.extend(part);
        }
        Ok(maps_nchw)
    }
}

/// Why tract did not run a planned network.
#[derive(Debug, Error)]
#[error("tract failed: {message}")]
pub struct NetworkError {
    message: String,
}
