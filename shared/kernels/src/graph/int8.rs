//! Which nodes compute in int8.

use std::collections::{HashMap, HashSet};

use tract_core::internal::*;
use tract_core::ops::change_axes::AxisOp;
use tract_core::ops::cnn::{Conv, KernelFormat};
use tract_core::ops::einsum::EinSum;
use tract_core::ops::element_wise::ElementWiseOp;
use tract_core::ops::quant::{DequantizeLinearF32, QuantizeLinearU8};

use super::patterns::{Window, added_to, is_max_pool_2x2, only_reader, place, shape_of};
use crate::convolution::ConvKind;
use crate::int8::{Epilogue, QuantParams, QuantizedConvSpec, QuantizedWeights, Quantizer};

/// A convolution as the graph has it, with what follows it.
pub(super) struct QuantizedConvPattern {
    pub(super) spec: QuantizedConvSpec,
    pub(super) values_oihw: Vec<i8>,
    pub(super) scales: Vec<f32>,
    pub(super) bias: Vec<i32>,
    pub(super) input: OutletId,
    pub(super) skip: Option<OutletId>,
    /// Side of the space-to-depth blocks of the input's pixels that become channels.
    pub(super) block: usize,
}

impl QuantizedConvPattern {
    pub(super) fn weights(&self) -> QuantizedWeights<'_> {
        QuantizedWeights { values_oihw: &self.values_oihw, scales: &self.scales, bias: &self.bias }
    }
}

/// Nodes that become one quantized convolution.
pub(super) struct QuantizedChain {
    pub(super) source: QuantizedConvPattern,
    pub(super) last: usize,
    pub(super) absorbed: Vec<usize>,
}

/// The zero points of values, by the convolutions that read them; all that read a value must agree.
pub(super) type ZeroPoints = HashMap<OutletId, u8>;

/// What the layers that were found before a node have fused.
pub(super) struct FusedSoFar<'a> {
    /// Nodes that are part of a layer whose value another node makes.
    pub(super) absorbed: &'a HashSet<usize>,
    /// The zero points that those layers read their inputs by.
    pub(super) zero_points: &'a ZeroPoints,
    /// Whether a node makes a layer's value.
    pub(super) makes_value: &'a dyn Fn(usize) -> bool,
}

impl QuantizedChain {
    /// The chain that begins at a node, if that is a quantized convolution that our arithmetic fits.
    pub(super) fn of(
        model: &TypedModel,
        order: &[usize],
        node: &TypedNode,
        fused: &FusedSoFar<'_>,
    ) -> TractResult<Option<Self>> {
        let Some(source) = convolution(model, node)? else { return Ok(None) };
        let mut chain = Self { source, last: node.id, absorbed: Vec::new() };
        chain.double(model)?;
        let place_of = |node: usize| place(order, node);
        if let Some((sum, skip)) = chain.sum(model)?
            // A sum of two convolutions goes to the later one, which the other's value is there for.
            && place_of(skip.node) < place_of(node.id)
            // Quantized values of which another layer makes floats are not there.
            && !fused.absorbed.contains(&skip.node)
        {
            chain.absorbed.extend([chain.last, sum.dequantized, sum.added]);
            chain.absorbed.extend(sum.skip_dequantized);
            chain.last = sum.quantized;
            chain.source.skip = Some(skip);
            chain.source.spec.epilogue = sum.epilogue;
        } else if let Some(numbers) = only_reader(model, chain.last)?
            && dequantization(numbers) == Some(chain.source.spec.made)
        {
            chain.absorbed.push(std::mem::replace(&mut chain.last, numbers.id));
            chain.source.spec.epilogue = Epilogue::Dequantize;
        }
        let QuantizedConvPattern { spec, input, block, .. } = &chain.source;
        let agree = fused.zero_points.get(input).is_none_or(|&zero| zero == spec.read.zero_point);
        // Squares are made while numbers are rounded, which must not be a part of another layer.
        let is_rounding = quantization(model.node(input.node)).is_some();
        let squares = *block == 1 || is_rounding && !(fused.makes_value)(input.node);
        Ok((agree && squares && chain.source.weights().fit(spec)).then_some(chain))
    }

    /// Takes in a shuffle of each four channels to 2x2 pixels: a transposed convolution.
    fn double(&mut self, model: &TypedModel) -> TractResult<()> {
        let QuantizedConvSpec { kind, channels, input: [_, height, width], .. } = self.source.spec;
        let alike = |four: &[u32]| four.iter().all(|value| *value == four[0]);
        let scales: Vec<u32> = self.source.scales.iter().map(|scale| scale.to_bits()).collect();
        let bias: Vec<u32> = self.source.bias.iter().map(|bias| bias.cast_unsigned()).collect();
        let fits = kind == ConvKind::Conv1x1
            && self.source.block == 1
            && channels.is_multiple_of(4)
            && scales.chunks(4).chain(bias.chunks(4)).all(alike);
        let Some(moves) = moves(model, self.last)?.filter(|_| fits) else { return Ok(()) };
        if !is_shuffle(model, self.last, &moves, [channels / 4, height, width])? {
            return Ok(());
        }
        let every_fourth = |count: usize| (0..count).step_by(4);
        let source = &mut self.source;
        let read = source.spec.input[0];
        // `[out, 2, 2, in]` to `[out, in, 2, 2]`.
        source.values_oihw = (0..channels / 4)
            .flat_map(|o| (0..read).flat_map(move |i| (0..4).map(move |at| (o * 4 + at) * read + i)))
            .map(|from| source.values_oihw[from])
            .collect();
        source.scales = every_fourth(channels).map(|row| source.scales[row]).collect();
        source.bias = every_fourth(channels).map(|row| source.bias[row]).collect();
        source.spec.channels = channels / 4;
        source.spec.kind = ConvKind::ConvTranspose2x2;
        for node in moves {
            self.absorbed.push(std::mem::replace(&mut self.last, node));
        }
        Ok(())
    }

    /// The sum that alone reads the numbers of these quantized values, and the quantized values of the other summand.
    fn sum(&self, model: &TypedModel) -> TractResult<Option<(SumPattern, OutletId)>> {
        let Some(own) = only_reader(model, self.last)? else { return Ok(None) };
        if dequantization(own) != Some(self.source.spec.made) {
            return Ok(None);
        }
        let Some(added) = only_reader(model, own.id)? else { return Ok(None) };
        let Some(other) = added_to(model, added, own.id)? else { return Ok(None) };
        let other = model.node(other.node);
        let Some(quantized) = only_reader(model, added.id)? else { return Ok(None) };
        let (Some(skip), Some(sum)) = (dequantization(other), quantization(quantized)) else {
            return Ok(None);
        };
        let levels = other.inputs[0];
        if model.outlet_fact(levels)?.datum_type != u8::datum_type() {
            return Ok(None);
        }
        let alone = only_reader(model, other.id)?.map(|_| other.id);
        Ok(Some((
            SumPattern {
                dequantized: own.id,
                added: added.id,
                skip_dequantized: alone,
                quantized: quantized.id,
                epilogue: Epilogue::AddRequantize { skip, sum },
            },
            levels,
        )))
    }
}

/// The nodes of a sum of quantized values.
struct SumPattern {
    dequantized: usize,
    added: usize,
    /// If nothing but the sum reads it.
    skip_dequantized: Option<usize>,
    quantized: usize,
    epilogue: Epilogue,
}

/// How a node rounds numbers to quantized values.
pub(super) fn quantization(node: &TypedNode) -> Option<Quantizer> {
    let op = node.op_as::<ElementWiseOp>()?.0.downcast_ref::<QuantizeLinearU8>()?;
    (op.scale.is_finite() && op.scale > 0.0)
        .then_some(Quantizer { inverse: op.scale, zero_point: op.zero_point })
}

/// What numbers a node makes of quantized values.
fn dequantization(node: &TypedNode) -> Option<QuantParams> {
    let op = node.op_as::<DequantizeLinearF32>()?;
    Some(QuantParams { scale: op.scale, zero_point: u8::try_from(op.zero_point).ok()? })
}

/// The shape of what a pooling to the maximum of 2x2 quantized values reads.
pub(super) fn pooling(model: &TypedModel, node: &TypedNode) -> TractResult<Option<[usize; 3]>> {
    if !is_max_pool_2x2(node) {
        return Ok(None);
    }
    let shape = shape_of(model.node_input_facts(node.id)?[0], u8::datum_type());
    Ok(shape.filter(|&[_, height, width]| height.is_multiple_of(2) && width.is_multiple_of(2)))
}

/// The axes of a convolution by points that tract has made a product of.
fn is_point_product(op: &EinSum) -> bool {
    let axes = op.axes.to_string();
    let Some((read, "NOHW")) = axes.split_once("->") else { return false };
    let mut read = read.split(',');
    read.next() == Some("NIHW") && read.next() == Some("OI")
}

/// A convolution of quantized values by signed bytes, without what follows it.
fn convolution(model: &TypedModel, node: &TypedNode) -> TractResult<Option<QuantizedConvPattern>> {
    let (kind, block) = if let Some(op) = node.op_as::<Conv>() {
        if op.q_params.is_none() || op.group != 1 || op.kernel_fmt != KernelFormat::OIHW {
            return Ok(None);
        }
        match Window::of(&op.pool_spec) {
            Some(Window { side: 1, stride: 1, padding: 0 }) => (ConvKind::Conv1x1, 1),
            Some(Window { side: 2, stride: 2, padding: 0 }) => (ConvKind::Conv1x1, 2),
            Some(Window { side: 3, stride: 1, padding: 1 }) => (ConvKind::Conv3x3, 1),
            _ => return Ok(None),
        }
    } else if node.op_as::<EinSum>().is_some_and(|op| op.q_params.is_some() && is_point_product(op)) {
        (ConvKind::Conv1x1, 1)
    } else {
        return Ok(None);
    };
    let facts = model.node_input_facts(node.id)?;
    let &[read, _, _, read_zero, read_scale, weight_zero, _, made_zero, made_scale] = facts.as_slice() else {
        return Ok(None);
    };
    let shapes = [read, &node.outputs[0].fact].map(|fact| shape_of(fact, u8::datum_type()));
    let [Some([from, height, width]), Some([channels, ..])] = shapes else { return Ok(None) };
    if !(height.is_multiple_of(block) && width.is_multiple_of(block)) {
        return Ok(None);
    }
    let affine = |zero: &TypedFact, scale: &TypedFact| -> TractResult<Option<QuantParams>> {
        let (Some([zero]), Some([scale])) = (one(numbers::<i32>(zero)?), one(numbers::<f32>(scale)?)) else {
            return Ok(None);
        };
        let Ok(zero_point) = u8::try_from(zero) else { return Ok(None) };
        Ok((scale.is_finite() && scale > 0.0).then_some(QuantParams { scale, zero_point }))
    };
    let (Some(read), Some(made)) = (affine(read_zero, read_scale)?, affine(made_zero, made_scale)?) else {
        return Ok(None);
    };
    let spread = |values: Option<Vec<f32>>| values.and_then(|values| spread(values, channels));
    let weights = facts[1].konst.as_ref().filter(|weights| weights.datum_type() == i8::datum_type());
    let (Some(weights), Some(bias), Some(scales)) =
        (weights, numbers::<i32>(facts[2])?, spread(numbers::<f32>(facts[6])?))
    else {
        return Ok(None);
    };
    let Some(bias) = self::spread(bias, channels) else { return Ok(None) };
    let centred = numbers::<i32>(weight_zero)?.is_some_and(|zeros| zeros.iter().all(|&zero| zero == 0));
    let values_oihw = weights.try_as_plain_ram()?.as_slice::<i8>()?.to_vec();
    let side = kind.side();
    let input = [from * block * block, height / block, width / block];
    if !centred || values_oihw.len() != channels * input[0] * side * side {
        return Ok(None);
    }
    let spec = QuantizedConvSpec { kind, input, read, channels, made, epilogue: Epilogue::Requantize };
    let input = node.inputs[0];
    Ok(Some(QuantizedConvPattern { spec, values_oihw, scales, bias, input, skip: None, block }))
}

/// A constant's numbers.
fn numbers<T: Datum + Copy>(fact: &TypedFact) -> TractResult<Option<Vec<T>>> {
    let constant = fact.konst.as_ref().map(|constant| constant.cast_to::<T>()).transpose()?;
    constant.map(|constant| Ok(constant.try_as_plain_ram()?.as_slice::<T>()?.to_vec())).transpose()
}

fn one<T: Copy>(numbers: Option<Vec<T>>) -> Option<[T; 1]> {
    numbers?.try_into().ok()
}

/// One number for each channel, where there is one for all.
fn spread<T: Copy>(numbers: Vec<T>, channels: usize) -> Option<Vec<T>> {
    match numbers.as_slice() {
        &[one] => Some(vec![one; channels]),
        all if all.len() == channels => Some(numbers),
        _ => None,
    }
}

/// The moves of axes that follow a node one after the other, nobody else reading what is between them; `None` where
/// there is none.
fn moves(model: &TypedModel, first: usize) -> TractResult<Option<Vec<usize>>> {
    let mut moves: Vec<usize> = Vec::new();
    while let Some(next) = only_reader(model, moves.last().copied().unwrap_or(first))?
        && next.op_as::<AxisOp>().is_some()
    {
        moves.push(next.id);
    }
    Ok((!moves.is_empty()).then_some(moves))
}

/// Whether `moves` bring each pixel's channels `[channel, y, x]` to the pixels of an image twice as large: tried out
/// on the places themselves.
fn is_shuffle(
    model: &TypedModel,
    first: usize,
    moves: &[usize],
    [channels, height, width]: [usize; 3],
) -> TractResult<bool> {
    let shape = model.outlet_fact(first.into())?.shape.as_concrete().map(<[usize]>::to_vec);
    if shape.as_deref() != Some(&[1, 4 * channels, height, width]) {
        return Ok(false);
    }
    let count = i32::try_from(4 * channels * height * width)?;
    let places: Vec<i32> = (0..count).collect();
    let mut moved = Tensor::from_shape(&[1, 4 * channels, height, width], &places)?;
    for &node in moves {
        let Some(op) = model.node(node).op_as::<AxisOp>() else { return Ok(false) };
        op.change_tensor(&mut moved, false)?;
    }
    if moved.shape() != [1, channels, 2 * height, 2 * width] {
        return Ok(false);
    }
    let mut found = moved.try_as_plain_ram()?.as_slice::<i32>()?.iter();
    let at = |channel: usize, y: usize, x: usize| {
        let row = channel * 4 + y % 2 * 2 + x % 2;
        (row * height + y / 2) * width + x / 2
    };
    let mut expected = (0..channels).flat_map(|channel| {
        (0..2 * height).flat_map(move |y| (0..2 * width).map(move |x| at(channel, y, x)))
    });
    Ok(expected.all(|place| found.next().and_then(|&found| usize::try_from(found).ok()) == Some(place)))
}
