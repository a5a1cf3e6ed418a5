//! Data sets and model files: images with ground truth, the trained network as a [`Graph`], its quantization, and the
//! ONNX file for a station.
#![forbid(unsafe_code)]

mod dataset;
mod export;
mod graph;
mod image_type;
mod onnx;
mod outlines;
mod photographs;
mod polygons;
mod quantization;

pub use dataset::{
    BadSamples, BadTruth, BinaryMasks, Dataset, DatasetError, LabelledSample, PackError, Sample, SampleError,
    SampleWarning, print_warnings,
};
pub use export::{ExportError, ModelDraft, export_model};
pub use graph::{
    AffineQuantization, BatchNorm, Convolution, Graph, GraphBuilder, GraphError, IntegerPlan, Node, NodeMacs,
    Op, PoolWindow, QuantizedLayer, QuantizedWeight, Range, Tensor4, ValueId, ValueShape, conv_output,
    conv_transpose_output,
};
pub use image_type::ImageType;
pub use onnx::{Encoding, OnnxError, OnnxOptions, read_graph, read_metadata, write_onnx};
pub use outlines::draw_outlines;
pub use photographs::photographs;
pub use polygons::{Corner, Polygon, trace_polygons};
pub use quantization::{
    AccuracyVerdict, ActivationRanges, LayerNoise, RangeMethod, TraceError, TypeLoss, layer_noise, map_error,
};
