//! The small messages of the ONNX schema.

use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{tensor_shape_proto, type_proto};

use crate::graph::ValueShape;

/// `axis` lengths fit: a tensor in memory has fewer than `i64::MAX` elements.
fn dims(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&axis| axis as i64).collect()
}

pub(super) fn tensor_f32(name: String, shape: &[usize], values: &[f32]) -> pb::TensorProto {
    tensor(name, DataType::Float, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

pub(super) fn tensor_i8(name: String, shape: &[usize], values: &[i8]) -> pb::TensorProto {
    tensor(name, DataType::Int8, shape, values.iter().map(|v| v.cast_unsigned()).collect())
}

pub(super) fn tensor_i32(name: String, shape: &[usize], values: &[i32]) -> pb::TensorProto {
    tensor(name, DataType::Int32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

pub(super) fn tensor_i64(name: String, shape: &[usize], values: &[i64]) -> pb::TensorProto {
    tensor(name, DataType::Int64, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

pub(super) fn tensor_f32_scalar(name: String, value: f32) -> pb::TensorProto {
    tensor(name, DataType::Float, &[], value.to_le_bytes().to_vec())
}

pub(super) fn tensor_u8_scalar(name: String, value: u8) -> pb::TensorProto {
    tensor(name, DataType::Uint8, &[], vec![value])
}

fn tensor(name: String, kind: DataType, shape: &[usize], raw_data: Vec<u8>) -> pb::TensorProto {
    pb::TensorProto { name, dims: dims(shape), data_type: kind as i32, raw_data, ..Default::default() }
}

pub(super) fn attribute_int(name: &str, value: i64) -> pb::AttributeProto {
    pb::AttributeProto { i: value, ..attribute(name, AttributeType::Int) }
}

pub(super) fn attribute_ints(name: &str, values: &[usize]) -> pb::AttributeProto {
    pb::AttributeProto { ints: dims(values), ..attribute(name, AttributeType::Ints) }
}

pub(super) fn attribute_float(name: &str, value: f32) -> pb::AttributeProto {
    pb::AttributeProto { f: value, ..attribute(name, AttributeType::Float) }
}

fn attribute(name: &str, kind: AttributeType) -> pb::AttributeProto {
    pb::AttributeProto { name: name.into(), r#type: kind as i32, ..Default::default() }
}

/// The type `float32 [1, c, h, w]` under `name`.
pub(super) fn value_info(name: String, shape: ValueShape) -> pb::ValueInfoProto {
    let axes = dims(&[1, shape.channels, shape.height, shape.width]);
    let dim = axes.into_iter().map(|axis| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(axis)),
        ..Default::default()
    });
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(pb::TensorShapeProto { dim: dim.collect() }),
    };
    let kind = pb::TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    pb::ValueInfoProto { name, r#type: Some(kind), ..Default::default() }
}
