//! The nuclei host: train, export, flash, watch, capture and score.
#![forbid(unsafe_code)]

mod atomic_file;
mod bundled;
mod cli;
mod commands;
mod csv;
mod dataset;
mod exploration;
mod export;
mod failure;
mod frame_record;
mod graph;
mod image_type;
mod interrupt;
mod key_store;
mod label_files;
mod link;
mod live;
mod model_check;
mod model_file;
mod objects_csv;
mod onnx;
mod outlines;
mod output;
mod pictures;
mod prediction;
mod progress;
mod quantization;
mod recording;
mod scoring;
mod station_process;
mod train;
mod virtual_line;

pub use cli::run;
pub use dataset::{
    BadSamples, BadTruth, Dataset, DatasetError, LabelledSample, PackError, Sample, SampleError,
    SampleWarning,
};
pub use export::{ExportError, ModelDraft, export_model};
pub use failure::{Exit, Failure};
pub use graph::{
    BatchNorm, Convolution, Graph, GraphBuilder, GraphError, Node, NodeMacs, Op, QuantizedLayer,
    QuantizedWeight, Tensor4, ValueId, ValueShape, conv_output, conv_transpose_output,
};
pub use image_type::ImageType;
pub use link::{Line, LinkError, SerialLine, Station, Told, Traffic};
pub use onnx::{Encoding, OnnxError, OnnxOptions, read_metadata, write_onnx};
pub use virtual_line::VirtualLine;
