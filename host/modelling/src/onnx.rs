//! ONNX files: written from a [`Graph`] and read into one, and their metadata.
//!
//! Opset 17, IR version 8. Node `n` of the graph is node `n` of the file, with its
//! parameters under `n/weight`, `n/bias` and so on, and its value under `n/output`; the
//! graph's input is [`INPUT_NAME`] and its result [`OUTPUT_NAME`], both with full shapes.

mod integer;
mod proto;
mod reader;

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use shared::{INPUT_NAME, OUTPUT_NAME};
use thiserror::Error;
use tract_onnx::pb;

use crate::graph::{
    Convolution, Graph, GraphError, IntegerPlan, Node, Op, PoolWindow, QuantizedWeight, ValueId,
};
use integer::IntegerWriter;
use proto::{attribute_float, attribute_int, attribute_ints, tensor_f32, tensor_i8, value_info};
pub use reader::read_graph;

const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;
/// Largest message that every protobuf reader accepts.
const LARGEST_FILE: usize = i32::MAX as usize;

/// The number format of a file; biases are never quantized to int8.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Encoding<'a> {
    /// Everything is `f32`.
    #[default]
    F32,
    /// Weights are rounded by [`QuantizedWeight`] to a byte each, with a `DequantizeLinear` a
    /// layer that a runtime folds at load; activations stay `f32`.
    Int8Weights,
    /// Weights likewise, and the plan's convolutions compute in integers: `QLinearConv` on
    /// activations of a byte each.
    Integer(&'a IntegerPlan),
}

/// What goes into a file besides the graph.
#[derive(Debug, Clone, Copy, Default)]
pub struct OnnxOptions<'a> {
    /// The number format.
    pub encoding: Encoding<'a>,
    /// Pairs of key and value for `metadata_props`.
    pub metadata: &'a [(&'a str, &'a str)],
}

/// Why an ONNX file cannot be written or read.
#[derive(Debug, Error)]
pub enum OnnxError {
    /// A metadata key given or found twice.
    #[error("metadata key {key:?} occurs twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// More bytes than a protobuf message may have.
    #[error("the model would have {actual} bytes, more than {LARGEST_FILE}")]
    TooLarge {
        /// Bytes it would take.
        actual: usize,
    },
    /// Not a protobuf message of the ONNX schema.
    #[error("not an ONNX file")]
    Decode(#[source] prost::DecodeError),
    /// A message without a graph, as an empty file decodes.
    #[error("the file contains no ONNX graph")]
    NoGraph,
    /// A part of the graph that is of no kind known here.
    #[error("{node}: {what} is of a kind that this program does not support")]
    Unreadable {
        /// The node, or the value.
        node: String,
        /// What of it.
        what: &'static str,
    },
    /// A graph with inconsistent parts.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Writes `graph` as an ONNX file.
///
/// # Errors
/// If a metadata key is given twice, or the file would exceed protobuf's 2 GiB.
pub fn write_onnx(graph: &Graph, options: &OnnxOptions) -> Result<Vec<u8>, OnnxError> {
    let mut keys = BTreeSet::new();
    if let Some((key, _)) = options.metadata.iter().find(|(key, _)| !keys.insert(*key)) {
        return Err(OnnxError::DuplicateKey { key: (*key).into() });
    }
    let round_weights = options.encoding != Encoding::F32;
    let mut writer = Writer { graph, round_weights, proto: pb::GraphProto::default() };
    writer.proto.name = "nuclei".into();
    writer.proto.input.push(writer.value_info(ValueId::INPUT));
    writer.proto.output.push(writer.value_info(graph.output()));
    if let Encoding::Integer(plan) = options.encoding {
        IntegerWriter::new(&mut writer, plan).write();
    } else {
        for (index, node) in graph.nodes().iter().enumerate() {
            writer.write_node(ValueId::of_node(index), node);
        }
    }
    let metadata = options
        .metadata
        .iter()
        .map(|&(key, value)| pb::StringStringEntryProto { key: key.into(), value: value.into() });
    let model = pb::ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: "nuclei-host".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(writer.proto),
        metadata_props: metadata.collect(),
        ..Default::default()
    };
    match model.encoded_len() {
        actual if actual > LARGEST_FILE => Err(OnnxError::TooLarge { actual }),
        _ => Ok(model.encode_to_vec()),
    }
}

/// Reads `metadata_props` of an ONNX file.
///
/// # Errors
/// If `bytes` is not an ONNX model, or a key occurs twice.
pub fn read_metadata(bytes: &[u8]) -> Result<BTreeMap<String, String>, OnnxError> {
    let model = pb::ModelProto::decode(bytes).map_err(OnnxError::Decode)?;
    if model.graph.is_none() {
        return Err(OnnxError::NoGraph);
    }
    let mut metadata = BTreeMap::new();
    for pb::StringStringEntryProto { key, value } in model.metadata_props {
        if metadata.contains_key(&key) {
            return Err(OnnxError::DuplicateKey { key });
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

struct Writer<'a> {
    graph: &'a Graph,
    round_weights: bool,
    proto: pb::GraphProto,
}

/// The name that `value` of `graph` has in its file.
pub fn value_name(graph: &Graph, value: ValueId) -> String {
    match value.node() {
        _ if value == graph.output() => OUTPUT_NAME.into(),
        Some(index) => format!("{}/output", graph.nodes()[index].name),
        None => INPUT_NAME.into(),
    }
}

/// The name that it has there where it is held in bytes.
pub fn bytes_name(graph: &Graph, value: ValueId) -> String {
    format!("{}_uint8", value_name(graph, value))
}

impl Writer<'_> {
    fn value_name(&self, value: ValueId) -> String {
        value_name(self.graph, value)
    }

    fn value_info(&self, value: ValueId) -> pb::ValueInfoProto {
        value_info(self.value_name(value), self.graph.shape(value))
    }

    /// Stores `tensor` and returns its name.
    fn store(&mut self, tensor: pb::TensorProto) -> String {
        let name = tensor.name.clone();
        self.proto.initializer.push(tensor);
        name
    }

    fn store_vector(&mut self, node: &str, what: &str, values: &[f32]) -> String {
        self.store(tensor_f32(format!("{node}/{what}"), &[values.len()], values))
    }

    fn write_node(&mut self, value: ValueId, node: &Node) {
        let mut input: Vec<_> = node.inputs.iter().map(|&id| self.value_name(id)).collect();
        let (op_type, attribute) = self.operation(node, &mut input);
        if value != self.graph.output() {
            self.proto.value_info.push(self.value_info(value));
        }
        self.push_node(&node.name, op_type, input, self.value_name(value), attribute);
    }

    fn push_node(
        &mut self,
        name: &str,
        op_type: &str,
        input: Vec<String>,
        output: String,
        attribute: Vec<pb::AttributeProto>,
    ) {
        self.proto.node.push(pb::NodeProto {
            name: name.into(),
            op_type: op_type.into(),
            output: vec![output],
            input,
            attribute,
            ..Default::default()
        });
    }

    /// Stores the parameters of `node`, adds their names to `input` and returns ONNX's operation and its attributes.
    fn operation(&mut self, node: &Node, input: &mut Vec<String>) -> (&'static str, Vec<pb::AttributeProto>) {
        let name = &node.name;
        match &node.op {
            Op::Conv(convolution) => ("Conv", self.convolution(name, convolution, 0, input)),
            Op::ConvTranspose(convolution) => {
                ("ConvTranspose", self.convolution(name, convolution, 1, input))
            }
            Op::BatchNorm(norm) => {
                let parameters = [
                    ("scale", &norm.scale),
                    ("shift", &norm.shift),
                    ("mean", &norm.mean),
                    ("var", &norm.var),
                ];
                for (what, values) in parameters {
                    input.push(self.store_vector(name, what, values));
                }
                ("BatchNormalization", vec![attribute_float("epsilon", norm.eps)])
            }
            Op::Relu => ("Relu", vec![]),
            Op::Sigmoid => ("Sigmoid", vec![]),
            Op::MaxPool(PoolWindow { size, stride, padding }) => {
                let attributes = vec![
                    attribute_ints("kernel_shape", &[*size; 2]),
                    attribute_ints("strides", &[*stride; 2]),
                    attribute_ints("pads", &[*padding; 4]),
                ];
                ("MaxPool", attributes)
            }
            Op::Add => ("Add", vec![]),
            Op::Concat => ("Concat", vec![attribute_int("axis", 1)]),
        }
    }

    /// Stores the parameters, adds their names to `input` and returns the attributes.
    fn convolution(
        &mut self,
        name: &str,
        convolution: &Convolution,
        axis: usize,
        input: &mut Vec<String>,
    ) -> Vec<pb::AttributeProto> {
        let Convolution { weight, bias, stride, padding } = convolution;
        input.push(if self.round_weights {
            self.dequantized(name, &QuantizedWeight::from_weight(weight, axis))
        } else {
            self.store(tensor_f32(format!("{name}/weight"), &weight.shape(), weight.data()))
        });
        input.push(self.store_vector(name, "bias", bias));
        let [.., kernel_height, kernel_width] = weight.shape();
        vec![
            attribute_ints("kernel_shape", &[kernel_height, kernel_width]),
            attribute_ints("strides", &[*stride; 2]),
            attribute_ints("pads", &[*padding; 4]),
        ]
    }

    /// Stores the rounded weight with a node that scales it, and returns that node's value.
    fn dequantized(&mut self, name: &str, weight: &QuantizedWeight) -> String {
        let QuantizedWeight { shape, axis, values, scales } = weight;
        let output = format!("{name}/weight");
        let input = vec![
            self.store(tensor_i8(format!("{name}/weight_int8"), shape, values)),
            self.store_vector(name, "weight_scale", scales),
            self.store(tensor_i8(format!("{name}/weight_zero"), &[scales.len()], &vec![0; scales.len()])),
        ];
        let axis = attribute_int("axis", *axis as i64);
        self.push_node(&format!("{name}/dequantize"), "DequantizeLinear", input, output.clone(), vec![axis]);
        output
    }
}

#[cfg(test)]
mod tests;
