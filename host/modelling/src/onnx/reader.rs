//! Reads a graph from a file written by this crate with float activations, or from another file with the same few
//! operations.

use std::collections::HashMap;

use prost::Message;
use shared::{INPUT_NAME, OUTPUT_NAME};
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{tensor_shape_proto, type_proto};

use super::OnnxError;
use crate::graph::{
    BatchNorm, Convolution, Graph, GraphBuilder, Node, Op, PoolWindow, Tensor4, ValueId, ValueShape,
};

/// Reads a network whose activations are float: weights in bytes become the numbers that they stand for.
///
/// # Errors
/// [`OnnxError`] when `bytes` is no ONNX model, or holds an operation, an attribute or a tensor of another kind than
/// [`write_onnx`](super::write_onnx) writes with [`Encoding::F32`](super::Encoding::F32) or
/// [`Encoding::Int8Weights`](super::Encoding::Int8Weights).
pub fn read_graph(bytes: &[u8]) -> Result<Graph, OnnxError> {
    let model = pb::ModelProto::decode(bytes).map_err(OnnxError::Decode)?;
    let graph = model.graph.ok_or(OnnxError::NoGraph)?;
    let input = graph.input.iter().find(|input| input.name == INPUT_NAME);
    let shape = input.and_then(picture_shape).ok_or_else(|| unreadable(INPUT_NAME, "its shape"))?;
    let builder = GraphBuilder::new(shape)?;
    let constants = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let values = HashMap::from([(INPUT_NAME.to_owned(), ValueId::INPUT)]);
    let mut reader = Reader { constants, weights: HashMap::new(), values, builder };
    graph.node.iter().try_for_each(|node| reader.node(node))?;
    let output = reader.values.get(OUTPUT_NAME).ok_or_else(|| unreadable(OUTPUT_NAME, "what makes it"))?;
    Ok(reader.builder.finish(*output)?)
}

fn unreadable(node: &str, what: &'static str) -> OnnxError {
    OnnxError::Unreadable { node: node.into(), what }
}

/// Channels, height and width of a `float32 [1, c, h, w]`.
fn picture_shape(info: &pb::ValueInfoProto) -> Option<ValueShape> {
    let type_proto::Value::TensorType(tensor) = info.r#type.as_ref()?.value.as_ref()?;
    let axes: Option<Vec<usize>> = tensor.shape.as_ref()?.dim.iter().map(axis).collect();
    match axes?.as_slice() {
        &[1, channels, height, width] => ValueShape::new(channels, height, width).ok(),
        _ => None,
    }
}

fn axis(dimension: &tensor_shape_proto::Dimension) -> Option<usize> {
    match dimension.value.as_ref()? {
        tensor_shape_proto::dimension::Value::DimValue(axis) => usize::try_from(*axis).ok(),
        tensor_shape_proto::dimension::Value::DimParam(_) => None,
    }
}

struct Reader<'a> {
    constants: HashMap<&'a str, &'a pb::TensorProto>,
    /// Weights that a node scales.
    weights: HashMap<String, Tensor4>,
    values: HashMap<String, ValueId>,
    builder: GraphBuilder,
}

impl Reader<'_> {
    fn node(&mut self, node: &pb::NodeProto) -> Result<(), OnnxError> {
        let inputs = || {
            let value = |name: &String| self.values.get(name).copied();
            node.input
                .iter()
                .map(value)
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| unreadable(&node.name, "an input"))
        };
        let first = || {
            let name = node.input.first();
            name.and_then(|name| self.values.get(name))
                .copied()
                .ok_or_else(|| unreadable(&node.name, "its input"))
        };
        let (inputs, op) = match node.op_type.as_str() {
            "DequantizeLinear" => {
                let weight = self.dequantized(node)?;
                self.weights.extend(node.output.first().map(|name| (name.clone(), weight)));
                return Ok(());
            }
            "Conv" => (vec![first()?], Op::Conv(self.convolution(node, 0)?)),
            "ConvTranspose" => (vec![first()?], Op::ConvTranspose(self.convolution(node, 1)?)),
            "BatchNormalization" => (vec![first()?], Op::BatchNorm(self.batch_norm(node)?)),
            "Relu" => (inputs()?, Op::Relu),
            "Sigmoid" => (inputs()?, Op::Sigmoid),
            "Add" => (inputs()?, Op::Add),
            "Concat" if Attributes(node).int("axis") == Some(1) => (inputs()?, Op::Concat),
            "MaxPool" => (inputs()?, Op::MaxPool(pool_window(node)?)),
            _ => return Err(unreadable(&node.name, "its operation")),
        };
        let value = self.builder.push(Node { name: node.name.clone(), inputs, op })?;
        self.values.extend(node.output.first().map(|name| (name.clone(), value)));
        Ok(())
    }

    fn constant(&self, node: &pb::NodeProto, index: usize) -> Result<&pb::TensorProto, OnnxError> {
        let tensor = node.input.get(index).and_then(|name| self.constants.get(name.as_str()));
        tensor.copied().ok_or_else(|| unreadable(&node.name, "a constant"))
    }

    /// A weight in bytes times the scale of its output channel.
    fn dequantized(&self, node: &pb::NodeProto) -> Result<Tensor4, OnnxError> {
        let wrong = || unreadable(&node.name, "its int8 weight");
        let (values, scales) = (self.constant(node, 0)?, self.constant(node, 1)?);
        let shape = shape4(values).ok_or_else(wrong)?;
        let axis = Attributes(node).int("axis").and_then(|axis| usize::try_from(axis).ok());
        let axis = axis.filter(|&axis| axis < shape.len()).ok_or_else(wrong)?;
        let zeros = self.constant(node, 2)?;
        let zeros =
            zeros.raw_data.iter().map(|&zero| i32::from(zero)).chain(zeros.int32_data.iter().copied());
        let count = shape.iter().try_fold(1_usize, |count, &axis| count.checked_mul(axis));
        let whole = count == Some(values.raw_data.len()) && count != Some(0);
        if values.data_type != DataType::Int8 as i32 || !whole || zeros.into_iter().any(|zero| zero != 0) {
            return Err(wrong());
        }
        let scales = floats(scales).filter(|scales| scales.len() == shape[axis]).ok_or_else(wrong)?;
        let inner: usize = shape[axis + 1..].iter().product();
        let weight = values.raw_data.iter().enumerate().map(|(at, &value)| {
            let channel = at / inner % shape[axis];
            f32::from(value.cast_signed()) * scales[channel]
        });
        Ok(Tensor4::new(shape, weight.collect())?)
    }

    fn batch_norm(&self, node: &pb::NodeProto) -> Result<BatchNorm, OnnxError> {
        let vector = |index: usize| {
            let numbers = floats(self.constant(node, index)?);
            numbers.ok_or_else(|| unreadable(&node.name, "its parameters"))
        };
        let eps = node.attribute.iter().find(|it| it.name == "epsilon").map_or(1e-5, |it| it.f);
        Ok(BatchNorm { scale: vector(1)?, shift: vector(2)?, mean: vector(3)?, var: vector(4)?, eps })
    }

    /// The parameters of a convolution with output channels on `axis` of its weight.
    fn convolution(&self, node: &pb::NodeProto, axis: usize) -> Result<Convolution, OnnxError> {
        let weight = match node.input.get(1).and_then(|name| self.weights.get(name)) {
            Some(weight) => weight.clone(),
            None => {
                let tensor = self.constant(node, 1)?;
                let parts = shape4(tensor).zip(floats(tensor));
                let (shape, values) = parts.ok_or_else(|| unreadable(&node.name, "its weight"))?;
                Tensor4::new(shape, values)?
            }
        };
        let bias = match node.input.len() {
            2 => Some(vec![0.0; weight.shape()[axis]]),
            _ => floats(self.constant(node, 2)?),
        };
        let bias = bias.ok_or_else(|| unreadable(&node.name, "its bias"))?;
        let (stride, padding) = stride_and_padding(node)?;
        Ok(Convolution { weight, bias, stride, padding })
    }
}

fn pool_window(node: &pb::NodeProto) -> Result<PoolWindow, OnnxError> {
    let size = Attributes(node).alike("kernel_shape", 0);
    let (stride, padding) = stride_and_padding(node)?;
    match size {
        Some(size) if size > 0 => Ok(PoolWindow { size, stride, padding }),
        _ => Err(unreadable(&node.name, "its window")),
    }
}

/// Stride and padding, which are the same on all sides; nothing else may be asked for.
fn stride_and_padding(node: &pb::NodeProto) -> Result<(usize, usize), OnnxError> {
    let attributes = Attributes(node);
    let plain = attributes.alike("dilations", 1) == Some(1)
        && attributes.alike("output_padding", 0) == Some(0)
        && attributes.int("group").unwrap_or(1) == 1
        && attributes.int("ceil_mode").unwrap_or(0) == 0
        && node.attribute.iter().all(|it| it.name != "auto_pad" || it.s == b"NOTSET");
    match (attributes.alike("strides", 1), attributes.alike("pads", 0)) {
        (Some(stride), Some(padding)) if plain => Ok((stride, padding)),
        _ => Err(unreadable(&node.name, "its window")),
    }
}

struct Attributes<'a>(&'a pb::NodeProto);

impl Attributes<'_> {
    fn int(&self, name: &str) -> Option<i64> {
        self.0.attribute.iter().find(|it| it.name == name).map(|it| it.i)
    }

    /// The number that all of an attribute's are; `default` where there is no attribute.
    fn alike(&self, name: &str, default: usize) -> Option<usize> {
        let Some(attribute) = self.0.attribute.iter().find(|it| it.name == name) else {
            return Some(default);
        };
        let (first, rest) = attribute.ints.split_first()?;
        let alike = rest.iter().all(|it| it == first);
        usize::try_from(*first).ok().filter(|_| alike)
    }
}

fn shape4(tensor: &pb::TensorProto) -> Option<[usize; 4]> {
    let axes: Option<Vec<usize>> = tensor.dims.iter().map(|&axis| usize::try_from(axis).ok()).collect();
    axes?.try_into().ok()
}

fn floats(tensor: &pb::TensorProto) -> Option<Vec<f32>> {
    if tensor.data_type != DataType::Float as i32 {
        return None;
    }
    if tensor.raw_data.is_empty() {
        return Some(tensor.float_data.clone());
    }
    let (values, rest) = tensor.raw_data.as_chunks::<4>();
    rest.is_empty().then(|| values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}
