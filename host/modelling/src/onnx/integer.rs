//! The integer form of a file: `QLinearConv` on activations of a byte each.
//!
//! A convolution reads and makes bytes and computes its rectifier as well, where the rounding's least level is
//! zero. What ONNX has no integer operation for (sums, the logistic function) runs in float between a
//! `DequantizeLinear` and a `QuantizeLinear`; pooling and stacking move bytes. A transposed convolution whose
//! windows do not overlap is a 1x1 convolution to each place of a window, and its result is shuffled into place.

use super::proto::{attribute_ints, tensor_f32_scalar, tensor_i8, tensor_i32, tensor_i64, tensor_u8_scalar};
use super::{Writer, bytes_name};
use crate::graph::{AffineQuantization, Convolution, IntegerPlan, Node, Op, QuantizedWeight, ValueId};

/// Writes a graph's nodes in the order that makes every value before it is read.
pub(super) struct IntegerWriter<'w, 'g> {
    writer: &'w mut Writer<'g>,
    plan: &'w IntegerPlan,
    /// By [`ValueId`].
    held: Vec<Held>,
}

/// The forms that a value has in the file so far.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    bytes: bool,
    float: bool,
}

/// A convolution's weight as `QLinearConv` takes it.
struct Rows {
    weight: QuantizedWeight,
    bias: Vec<f32>,
    /// Side of the square of pixels that stands in the channels of each pixel; 1 where none does.
    shuffled: usize,
}

impl Rows {
    /// `None` for anything but a convolution. A transposed one has windows that do not overlap, or its plan would
    /// keep it float.
    fn of(op: &Op) -> Option<(Self, &Convolution)> {
        match op {
            Op::Conv(convolution) => {
                let weight = QuantizedWeight::from_weight(&convolution.weight, 0);
                Some((Self { weight, bias: convolution.bias.clone(), shuffled: 1 }, convolution))
            }
            Op::ConvTranspose(convolution) => {
                let [input, output, side, _] = convolution.weight.shape();
                let QuantizedWeight { values, scales, .. } =
                    QuantizedWeight::from_weight(&convolution.weight, 1);
                // `[in, out * area]`, turned over.
                let (area, rows) = (side * side, output * side * side);
                let turned = |at: usize| values[at % input * rows + at / input];
                let each = |per_output: &[f32]| (0..rows).map(|row| per_output[row / area]).collect();
                let weight = QuantizedWeight {
                    shape: [rows, input, 1, 1],
                    axis: 0,
                    values: (0..rows * input).map(turned).collect(),
                    scales: each(&scales),
                };
                Some((Self { weight, bias: each(&convolution.bias), shuffled: side }, convolution))
            }
            _ => None,
        }
    }
}

impl<'w, 'g> IntegerWriter<'w, 'g> {
    pub(super) fn new(writer: &'w mut Writer<'g>, plan: &'w IntegerPlan) -> Self {
        let mut held = vec![Held::default(); writer.graph.nodes().len() + 1];
        held[ValueId::INPUT.index()].float = true;
        Self { writer, plan, held }
    }

    /// Writes every node.
    pub(super) fn write(mut self) {
        let graph = self.writer.graph;
        let rectifiers = graph.sole_rectifiers();
        for (index, node) in graph.nodes().iter().enumerate() {
            let value = ValueId::of_node(index);
            if self.held[value.index()].bytes {
                // A rectifier that the convolution before it computes.
                continue;
            }
            let moves_bytes = matches!(node.op, Op::MaxPool(_) | Op::Concat)
                && node.inputs.iter().any(|input| self.held[input.index()].bytes);
            let rows = if self.plan.stays_float(index) { None } else { Rows::of(&node.op) };
            match rows {
                Some((rows, convolution)) => {
                    let rectified = rectifiers[index]
                        .map(ValueId::of_node)
                        .filter(|&rectified| self.plan.affine(rectified).zero_point == 0);
                    self.convolution(node, rectified.unwrap_or(value), &rows, convolution);
                }
                None if moves_bytes => {
                    let input = node.inputs.iter().map(|&input| self.bytes(input)).collect();
                    let (op_type, attribute) = self.writer.operation(node, &mut Vec::new());
                    self.writer.push_node(&node.name, op_type, input, bytes_name(graph, value), attribute);
                    self.held[value.index()].bytes = true;
                }
                None => {
                    node.inputs.iter().for_each(|&input| self.float(input));
                    self.writer.write_node(value, node);
                    self.held[value.index()].float = true;
                }
            }
        }
        self.float(graph.output());
    }

    /// Writes a convolution in integers whose result, rectified or not, is `result`.
    fn convolution(&mut self, node: &Node, result: ValueId, rows: &Rows, convolution: &Convolution) {
        let Rows { weight, bias, shuffled } = rows;
        let name = &node.name;
        let source = node.inputs[0];
        let read = self.plan.affine(source);
        let mut input = vec![self.bytes(source)];
        input.extend(self.affine(source));
        let scales = &weight.scales;
        input.push(self.writer.store(tensor_i8(
            format!("{name}/weight_int8"),
            &weight.shape,
            &weight.values,
        )));
        input.push(self.writer.store_vector(name, "weight_scale", scales));
        let zeros = vec![0; scales.len()];
        input.push(self.writer.store(tensor_i8(format!("{name}/weight_zero"), &[zeros.len()], &zeros)));
        input.extend(self.affine(result));
        // A sum's unit is that of the input times that of the weight.
        let unit = |channel: usize| f64::from(read.scale) * f64::from(scales[channel]);
        let bias: Vec<i32> = bias
            .iter()
            .enumerate()
            .map(|(channel, &bias)| (f64::from(bias) / unit(channel)).round_ties_even() as i32)
            .collect();
        input.push(self.writer.store(tensor_i32(format!("{name}/bias_int32"), &[bias.len()], &bias)));
        let [.., kernel_height, kernel_width] = weight.shape;
        let stride = if *shuffled == 1 { convolution.stride } else { 1 };
        let attribute = vec![
            attribute_ints("kernel_shape", &[kernel_height, kernel_width]),
            attribute_ints("strides", &[stride; 2]),
            attribute_ints("pads", &[convolution.padding; 4]),
        ];
        let output = bytes_name(self.writer.graph, result);
        if *shuffled == 1 {
            self.writer.push_node(name, "QLinearConv", input, output, attribute);
        } else {
            let places = format!("{name}/places");
            self.writer.push_node(name, "QLinearConv", input, places.clone(), attribute);
            self.shuffle(name, result, *shuffled, places, output);
        }
        self.held[result.index()].bytes = true;
    }

    /// Moves the `side * side` channels of each channel's window to their pixels.
    fn shuffle(&mut self, name: &str, result: ValueId, side: usize, places: String, output: String) {
        let made = self.writer.graph.shape(result);
        let (channels, height, width) = (made.channels, made.height / side, made.width / side);
        let split = [1, channels, side, side, height, width];
        let joined = [1, channels, made.height, made.width];
        let mut shape = |what: &str, axes: &[usize]| {
            let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
            self.writer.store(tensor_i64(format!("{name}/{what}"), &[axes.len()], &axes))
        };
        let (split, joined) = (shape("split_shape", &split), shape("joined_shape", &joined));
        let (parted, turned) = (format!("{name}/parted"), format!("{name}/turned"));
        self.writer.push_node(
            &format!("{name}/part"),
            "Reshape",
            vec![places, split],
            parted.clone(),
            vec![],
        );
        let order = attribute_ints("perm", &[0, 1, 4, 2, 5, 3]);
        self.writer.push_node(
            &format!("{name}/turn"),
            "Transpose",
            vec![parted],
            turned.clone(),
            vec![order],
        );
        self.writer.push_node(&format!("{name}/join"), "Reshape", vec![turned, joined], output, vec![]);
    }

    /// The name of `value` in bytes, which it has after this.
    fn bytes(&mut self, value: ValueId) -> String {
        let name = bytes_name(self.writer.graph, value);
        if !self.held[value.index()].bytes {
            self.held[value.index()].bytes = true;
            let mut input = vec![self.writer.value_name(value)];
            input.extend(self.affine(value));
            self.writer.push_node(&format!("{name}/quantize"), "QuantizeLinear", input, name.clone(), vec![]);
        }
        name
    }

    /// Makes sure that `value` is available in float.
    fn float(&mut self, value: ValueId) {
        if !self.held[value.index()].float {
            self.held[value.index()].float = true;
            let bytes = bytes_name(self.writer.graph, value);
            let mut input = vec![bytes.clone()];
            input.extend(self.affine(value));
            let output = self.writer.value_name(value);
            self.writer.push_node(&format!("{bytes}/dequantize"), "DequantizeLinear", input, output, vec![]);
        }
    }

    /// Stores the rounding of `value`, once, and names its scale and its zero point.
    fn affine(&mut self, value: ValueId) -> [String; 2] {
        let AffineQuantization { scale, zero_point } = self.plan.affine(value);
        let bytes = bytes_name(self.writer.graph, value);
        let [scale_name, zero_name] = ["scale", "zero"].map(|what| format!("{bytes}/{what}"));
        if !self.writer.proto.initializer.iter().any(|stored| stored.name == scale_name) {
            self.writer.store(tensor_f32_scalar(scale_name.clone(), scale));
            self.writer.store(tensor_u8_scalar(zero_name.clone(), zero_point));
        }
        [scale_name, zero_name]
    }
}
