//! Limits of a network, checked before it costs memory or time, since its file may come from anyone.

use alloc::collections::BTreeSet;
use alloc::string::String;

use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{Cost, bail};

/// The operators that `nuclei-host` writes. tract supports many more, some of which expand small inputs enormously.
pub(super) const OPERATORS: [&str; 13] = [
    "Add",
    "BatchNormalization",
    "Concat",
    "Conv",
    "ConvTranspose",
    "DequantizeLinear",
    "MaxPool",
    "QLinearConv",
    "QuantizeLinear",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Transpose",
];
/// Computes weights from weights of the same size.
const OF_CONSTANTS: &str = "DequantizeLinear";
const MAX_NODES: usize = 4096;
/// Sides of windows, steps, padding.
const MAX_ATTRIBUTE: i64 = 64;
/// Elements of one value: 64 channels of the largest tile.
const MAX_ELEMENTS: i64 = 1 << 26;
/// Multiply-accumulates for a pixel of the tile: the U-Net of 31 million weights takes 0.8 million.
const MAX_MACS_PER_PIXEL: i64 = 4 << 20;

/// Checks a graph before tract processes it. No node may depend only on constants, because tract would evaluate it at
/// once, however large the result.
pub(super) fn check_graph(graph: &pb::GraphProto) -> TractResult<()> {
    if graph.node.len() > MAX_NODES {
        bail!("it has {} operators, more than {MAX_NODES}", graph.node.len());
    }
    if let Some(weights) = graph.initializer.iter().find(|weights| !is_finite(weights)) {
        bail!("its weights {} contain a value that is infinite or not a number", weights.name);
    }
    let constants: BTreeSet<&str> = graph.initializer.iter().map(|constant| constant.name.as_str()).collect();
    let mut live: BTreeSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
    for node in &graph.node {
        let (name, operator) = (&node.name, node.op_type.as_str());
        if !OPERATORS.contains(&operator) || !node.domain.is_empty() {
            bail!("{name} uses the operator {operator}, which nuclei-host does not write");
        }
        let mut integers = node.attribute.iter().flat_map(|attribute| &attribute.ints);
        if let Some(integer) = integers.find(|integer| !(0..=MAX_ATTRIBUTE).contains(*integer)) {
            bail!("{name} has an attribute of {integer}, which is not 0 to {MAX_ATTRIBUTE}");
        }
        let is_live = |input: &String| live.contains(input.as_str()) && !constants.contains(input.as_str());
        if node.input.iter().any(is_live) {
            live.extend(node.output.iter().map(String::as_str));
        } else if operator != OF_CONSTANTS {
            bail!("{name} does not depend on the image");
        }
    }
    Ok(())
}

/// Whether all of a tensor's 32-bit floats are finite numbers: with others, every image would seem empty.
fn is_finite(weights: &pb::TensorProto) -> bool {
    let is_float = weights.data_type == pb::tensor_proto::DataType::Float as i32;
    let mut raw = weights.raw_data.chunks_exact(4);
    weights.float_data.iter().all(|value| value.is_finite())
        && (!is_float
            || raw.all(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).is_finite()))
}

/// Checks the network's cost, once all shapes are known.
pub(super) fn check_cost(model: &TypedModel, tile: usize) -> TractResult<()> {
    let mut macs = 0_i64;
    for node in model.nodes() {
        for output in &node.outputs {
            let sides = output.fact.shape.as_concrete().unwrap_or(&[]);
            let elements =
                sides.iter().try_fold(1_i64, |all, &side| all.checked_mul(i64::try_from(side).ok()?));
            if elements.is_none_or(|elements| elements > MAX_ELEMENTS) {
                bail!("{} produces {sides:?} values, more than {MAX_ELEMENTS}", node.name);
            }
        }
        for (cost, count) in node.op.cost(&model.node_input_facts(node.id)?)? {
            if matches!(cost, Cost::FMA(_)) {
                macs = macs.saturating_add(count.to_i64()?);
            }
        }
    }
    let most = MAX_MACS_PER_PIXEL.saturating_mul((tile * tile) as i64);
    if macs > most {
        bail!("it needs {macs} multiply-accumulates per tile, more than {most}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    fn node(operator: &str, input: &[&str], output: &str, ints: &[i64]) -> pb::NodeProto {
        pb::NodeProto {
            name: output.to_string(),
            op_type: operator.to_string(),
            input: input.iter().map(ToString::to_string).collect(),
            output: vec![output.to_string()],
            attribute: vec![pb::AttributeProto { ints: ints.to_vec(), ..Default::default() }],
            ..Default::default()
        }
    }

    fn refusal(node: Vec<pb::NodeProto>) -> Option<String> {
        let input = vec![pb::ValueInfoProto { name: "image".into(), ..Default::default() }];
        check_graph(&pb::GraphProto { node, input, ..Default::default() })
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn what_makes_much_of_little_is_refused_before_it_is_planned() {
        let weights = node("DequantizeLinear", &["w8", "scale"], "w", &[]);
        let conv = node("Conv", &["image", "w", "bias"], "conv", &[3, 3, 1, 1]);
        assert_eq!(refusal(vec![weights.clone(), conv.clone()]), None);
        let cases = [
            (node("ConstantOfShape", &["shape"], "much", &[]), "operator ConstantOfShape"),
            (node("Conv", &["image", "w"], "wide", &[1 << 30]), "attribute of 1073741824"),
            (node("Conv", &["image", "w"], "wide", &[-1]), "attribute of -1"),
            (node("Add", &["w", "bias"], "outer", &[]), "outer does not depend on the image"),
        ];
        for (node, words) in cases {
            let message = refusal(vec![weights.clone(), conv.clone(), node]).unwrap();
            assert!(message.contains(words), "{message}");
        }
        let mut disguised = pb::GraphProto { node: vec![conv.clone()], ..Default::default() };
        disguised.input = vec![pb::ValueInfoProto { name: "image".into(), ..Default::default() }];
        disguised.initializer = vec![pb::TensorProto { name: "image".into(), ..Default::default() }];
        assert!(check_graph(&disguised).is_err());
        assert!(refusal(vec![conv; MAX_NODES + 1]).unwrap().contains("4097 operators"));
    }

    #[test]
    fn weights_that_are_no_numbers_are_refused() {
        let message = |raw: &[f32], float_data: &[f32], data_type: pb::tensor_proto::DataType| {
            let weights = pb::TensorProto {
                name: "stem.weight".into(),
                data_type: data_type as i32,
                raw_data: raw.iter().flat_map(|value| value.to_le_bytes()).collect(),
                float_data: float_data.to_vec(),
                ..Default::default()
            };
            check_graph(&pb::GraphProto { initializer: vec![weights], ..Default::default() })
                .err()
                .map(|error| error.to_string())
        };
        let float = pb::tensor_proto::DataType::Float;
        assert_eq!(message(&[1.0, -2.5, 0.0], &[], float), None);
        // The same bytes are numbers of another type.
        assert_eq!(message(&[f32::NAN], &[], pb::tensor_proto::DataType::Int8), None);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (raw, floats) in [(vec![1.0, value], vec![]), (vec![], vec![1.0, value])] {
                let message = message(&raw, &floats, float).unwrap();
                assert!(message.contains("stem.weight") && message.contains("not a number"), "{message}");
            }
        }
    }

    #[test]
    fn values_and_work_are_bounded() {
        let message = |shape: &[usize], tile| {
            let mut model = TypedModel::default();
            let input = model.add_source("image", f32::fact(shape)).unwrap();
            model.select_output_outlets(&[input]).unwrap();
            check_cost(&model, tile).err().map(|error| error.to_string())
        };
        assert_eq!(message(&[1, 64, 1024, 1024], 1024), None);
        assert!(message(&[1, 65, 1024, 1024], 1024).unwrap().contains("more than 67108864"));
        assert!(message(&[1 << 40, 1 << 40], 32).unwrap().contains("more than"));
    }
}
