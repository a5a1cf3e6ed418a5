//! The ONNX operators that a model may contain, in the form in which tract's own reader builds them.
//!
//! tract's list of all operators would keep each of them in the programs, and all that they compute with: half of the
//! station's file. Semantics: the ONNX operator specification, opset 21.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use tract_onnx::Onnx;
use tract_onnx::model::OnnxOpRegister;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_core::ops::cnn::{Deconv, KernelFormat, deconv};
use tract_onnx::tract_core::ops::math::{add, mul, sub};
use tract_onnx::tract_core::ops::quant::{DequantizeLinearF32, quantize_linear_u8};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::activations::Clip;
use tract_onnx::tract_hir::ops::array::{Concat, PermuteAxes, Reshape};
use tract_onnx::tract_hir::ops::cnn::{Conv, HirMaxPool, PaddingSpec, PoolSpec};
use tract_onnx::tract_hir::ops::math::Add;
use tract_onnx::tract_hir::ops::nn::{DataFormat, sigmoid};

type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// tract's reader of ONNX files, with the operators of [`OPERATORS`](super::limits::OPERATORS) alone.
pub(super) fn reader() -> Onnx {
    let mut operators = OnnxOpRegister::default();
    operators.insert("Add", |_, _| Ok((Add.into_hir(), Vec::new())));
    operators.insert("BatchNormalization", |_, node| {
        expanded(BatchNormalization { epsilon: node.get_attr_opt("epsilon")?.unwrap_or(1e-5) })
    });
    operators.insert("Concat", |_, node| expanded(Concat::new(node.get_attr("axis")?)));
    operators.insert("Conv", |_, node| {
        expanded(Conv { bias_input: (node.input.len() == 3).then_some(2), ..convolution(node)? })
    });
    operators.insert("ConvTranspose", |_, node| conv_transpose(node));
    operators.insert("DequantizeLinear", |_, node| expanded(DequantizeLinear(Quantization::of(node)?)));
    operators.insert("MaxPool", |_, node| max_pool(node));
    operators.insert("QLinearConv", |_, node| q_linear_conv(node));
    operators.insert("QuantizeLinear", |_, node| expanded(QuantizeLinear(Quantization::of(node)?)));
    operators.insert("Relu", |_, _| expanded(Clip::new(Some(0.0), None)));
    operators.insert("Reshape", |_, node| {
        expanded(Reshape::new(node.get_attr_opt::<i64>("allowzero")?.unwrap_or(0) != 0))
    });
    operators.insert("Sigmoid", |_, _| Ok((sigmoid().into_hir(), Vec::new())));
    operators.insert("Transpose", |_, node| {
        let order: Option<Vec<usize>> = node.get_attr_opt_vec("perm")?;
        expanded(PermuteAxes::new(order.map(Into::into)))
    });
    Onnx { op_register: operators, ..Onnx::default() }
}

fn expanded(operator: impl Expansion) -> Built {
    Ok((expand(operator), Vec::new()))
}

/// Padding before and after each side; `None` where the node says nothing about it, and there is none.
fn pads(node: &NodeProto) -> TractResult<Option<(TVec<usize>, TVec<usize>)>> {
    let automatic: Option<&str> = node.get_attr_opt("auto_pad")?;
    ensure!(automatic.is_none_or(|how| how == "NOTSET"), "{}: auto_pad is not supported", node.name);
    let pads: Option<TVec<usize>> = node.get_attr_opt_tvec("pads")?;
    let sides: Option<TVec<usize>> = node.get_attr_opt_tvec("kernel_shape")?;
    let pads = pads.or_else(|| sides.map(|sides| sides.iter().chain(&sides).map(|_| 0).collect()));
    Ok(pads.map(|pads| {
        let (before, after) = pads.split_at(pads.len() / 2);
        (before.into(), after.into())
    }))
}

fn padding(node: &NodeProto) -> TractResult<PaddingSpec> {
    Ok(pads(node)?.map_or(PaddingSpec::Valid, |(before, after)| PaddingSpec::Explicit(before, after)))
}

fn convolution(node: &NodeProto) -> TractResult<Conv> {
    Ok(Conv {
        padding: padding(node)?,
        kernel_shape: node.get_attr_opt_tvec("kernel_shape")?,
        group: node.get_attr_opt("group")?,
        dilations: node.get_attr_opt_tvec("dilations")?,
        strides: node.get_attr_opt_tvec("strides")?,
        ..Conv::default()
    })
}

fn q_linear_conv(node: &NodeProto) -> Built {
    expanded(Conv {
        x_scale_input: Some(1),
        x_zero_point_input: Some(2),
        k_input: Some(3),
        k_scale_input: Some(4),
        k_zero_point_input: Some(5),
        y_scale_input: Some(6),
        y_zero_point_input: Some(7),
        bias_input: (node.input.len() == 9).then_some(8),
        ..convolution(node)?
    })
}

fn max_pool(node: &NodeProto) -> Built {
    ensure!(node.output.len() == 1, "{}: indices of maxima are not supported", node.name);
    let rounds_up = node.get_attr_opt::<i64>("ceil_mode")?.unwrap_or(0) == 1;
    let padding = pads(node)?.map_or(PaddingSpec::Valid, |(before, after)| {
        PaddingSpec::ExplicitOnnxPool(before, after, rounds_up)
    });
    let sides = node.get_attr_tvec("kernel_shape")?;
    let (dilations, strides) = (node.get_attr_opt_tvec("dilations")?, node.get_attr_opt_tvec("strides")?);
    let window = PoolSpec::new(DataFormat::NCHW, sides, padding, dilations, strides, 0, 0);
    expanded(HirMaxPool::new(window, None))
}

fn conv_transpose(node: &NodeProto) -> Built {
    for attribute in ["output_padding", "output_shape"] {
        ensure!(
            node.attribute.iter().all(|given| given.name != attribute),
            "{}: {attribute} is not supported",
            node.name
        );
    }
    expanded(ConvTranspose {
        padding: padding(node)?,
        strides: node.get_attr_opt_tvec("strides")?,
        dilations: node.get_attr_opt_tvec("dilations")?,
        group: node.get_attr_opt("group")?.unwrap_or(1),
        has_bias: node.input.len() == 3,
    })
}

/// Weights are `[in, out / group, h, w]`.
#[derive(Debug, Clone)]
struct ConvTranspose {
    padding: PaddingSpec,
    strides: Option<TVec<usize>>,
    dilations: Option<TVec<usize>>,
    group: usize,
    has_bias: bool,
}

impl ConvTranspose {
    fn window(&self, sides: &[usize], inputs: usize, outputs: usize) -> PoolSpec {
        let (padding, dilations, strides) =
            (self.padding.clone(), self.dilations.clone(), self.strides.clone());
        PoolSpec::new(DataFormat::NCHW, sides.into(), padding, dilations, strides, inputs, outputs)
    }
}

impl Expansion for ConvTranspose {
    fn name(&self) -> StaticName {
        "ConvTranspose".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2 + usize::from(self.has_bias))?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        s.equals(&inputs[0].datum_type, &inputs[1].datum_type)?;
        s.equals(&inputs[0].rank, &inputs[1].rank)?;
        s.equals(&inputs[0].rank, &outputs[0].rank)?;
        s.equals(&outputs[0].shape[0], &inputs[0].shape[0])?;
        s.equals(&inputs[0].shape[1], &inputs[1].shape[0])?;
        s.equals(&outputs[0].shape[1], (self.group as i64) * inputs[1].shape[1].bex())?;
        s.given_2(&inputs[0].shape, &inputs[1].shape, move |s, read, weight| {
            let sides = |shape: &TVec<TDim>| -> Option<TVec<usize>> {
                shape.iter().map(|side| side.to_usize().ok()).collect()
            };
            let (Some(read), Some(weight)) = (sides(&read), sides(&weight)) else { return Ok(()) };
            let window = self.window(&weight[2..], weight[0], weight[1] * self.group);
            let made =
                deconv::output_shape(&window, &read, &read[2..].iter().map(|_| 0).collect::<TVec<usize>>())?;
            s.equals(&outputs[0].shape, made.iter().map(|side| side.to_dim()).collect::<TVec<TDim>>())
        })?;
        if self.has_bias {
            s.equals(&inputs[2].datum_type, &inputs[0].datum_type)?;
            s.equals(&inputs[2].rank, 1)?;
            s.equals(&inputs[2].shape[0], &outputs[0].shape[1])?;
        }
        Ok(())
    }

    fn wire(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let split = format!("{prefix}.kernel_split_group");
        let kernel = AxisOp::wire_split_axis(target, split, inputs[1], 0, self.group)?;
        let kernel = target.wire_node(format!("{prefix}.kernel_reorder"), AxisOp::Move(1, 2), &kernel)?;
        let merge = format!("{prefix}.kernel_merge_group");
        let kernel = AxisOp::wire_collapse_axis(target, merge, kernel[0], 0)?[0];
        let bias = match self.has_bias {
            true => inputs[2],
            false => {
                let of = target.outlet_fact(inputs[0])?.datum_type;
                target.add_const(format!("{prefix}.bias"), Tensor::zero_scalar_dt(of)?)?
            }
        };
        let shape: TVec<usize> =
            target.outlet_fact(kernel)?.shape.as_concrete().context("weights of an open shape")?.into();
        let read = KernelFormat::OIHW.input_channels(&shape, self.group).into_owned();
        let made = KernelFormat::OIHW.output_channels(&shape, self.group).into_owned();
        let window = self.window(&shape[2..], read, made);
        let adjustments = shape[2..].iter().map(|_| 0).collect();
        let operator = Deconv::new(window, KernelFormat::OIHW, adjustments, self.group);
        target.wire_node(prefix, operator, &[inputs[0], kernel, bias])
    }
}

/// By constants of `f32`: scale, shift, mean and variance.
#[derive(Debug, Clone)]
struct BatchNormalization {
    epsilon: f32,
}

impl Expansion for BatchNormalization {
    fn name(&self) -> StaticName {
        "BatchNorm".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 5)?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, &inputs[0].datum_type)?;
        s.equals(&inputs[0].shape, &outputs[0].shape)?;
        for parameter in &inputs[1..] {
            s.equals(&parameter.datum_type, &inputs[0].datum_type)?;
            s.equals(&parameter.rank, 1)?;
            s.equals(&parameter.shape[0], &inputs[0].shape[1])?;
        }
        Ok(())
    }

    fn wire(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let mut sides: TVec<usize> = target.outlet_fact(inputs[0])?.shape.iter().map(|_| 1).collect();
        let parameters = inputs[1..].iter().map(|&outlet| {
            let constant = constant(target, outlet)?;
            Ok(constant.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
        });
        let parameters: Vec<Vec<f32>> = parameters.collect::<TractResult<_>>()?;
        let [scale, shift, mean, variance] = parameters.as_slice() else {
            bail!("four parameters are needed")
        };
        ensure!(
            sides.len() > 1 && parameters.iter().all(|values| values.len() == scale.len()),
            "of unequal length"
        );
        sides[1] = scale.len();
        let deviation: Vec<f32> = variance.iter().map(|variance| (variance + self.epsilon).sqrt()).collect();
        let slope: Vec<f32> =
            scale.iter().zip(&deviation).map(|(scale, deviation)| scale / deviation).collect();
        let intercept: Vec<f32> = (0..scale.len())
            .map(|channel| shift[channel] - (mean[channel] * scale[channel]) / deviation[channel])
            .collect();
        let slope = target.add_const(format!("{prefix}.slope"), Tensor::from_shape(&sides, &slope)?)?;
        let intercept =
            target.add_const(format!("{prefix}.inter"), Tensor::from_shape(&sides, &intercept)?)?;
        let scaled = target.wire_node(format!("{prefix}.mul"), mul(), &[slope, inputs[0]])?;
        target.wire_node(prefix, add(), &[intercept, scaled[0]])
    }
}

/// Scale and zero point of a rounding, inputs 1 and 2.
#[derive(Debug, Clone)]
struct Quantization {
    has_zero_point: bool,
    /// That scales of more than one number belong to.
    axis: i64,
}

impl Quantization {
    fn of(node: &NodeProto) -> TractResult<Self> {
        let block = node.get_attr_opt::<i64>("block_size")?.unwrap_or(0);
        ensure!(block == 0, "{}: blocked quantization is not supported", node.name);
        let axis = node.get_attr_opt("axis")?.unwrap_or(1);
        Ok(Self { has_zero_point: node.input.len() == 3, axis })
    }

    /// The rules of its inputs, where `rounded` holds the levels and `float` the numbers.
    fn rules<'r>(
        &self,
        s: &mut Solver<'r>,
        inputs: &'r [TensorProxy],
        rounded: &'r TensorProxy,
        float: Option<&'r TensorProxy>,
    ) -> InferenceResult {
        check_input_arity(inputs, 2 + usize::from(self.has_zero_point))?;
        s.equals(&inputs[1].datum_type, f32::datum_type())?;
        if let Some(float) = float {
            s.equals(&float.datum_type, f32::datum_type())?;
        }
        if self.has_zero_point {
            s.equals(&rounded.datum_type, &inputs[2].datum_type)?;
        } else if float.is_none() {
            s.equals(&rounded.datum_type, u8::datum_type())?;
        }
        Ok(())
    }

    /// Scales and zero points.
    fn constants(&self, target: &TypedModel, inputs: &[OutletId]) -> TractResult<[Arc<Tensor>; 2]> {
        let zero = if self.has_zero_point { constant(target, inputs[2])? } else { rctensor0(0_u8) };
        Ok([constant(target, inputs[1])?, zero])
    }

    /// `parameter` in floats, shaped so that it goes with the axis of a value of that rank.
    fn along_axis(&self, parameter: &Tensor, rank: usize) -> TractResult<Tensor> {
        let axis = usize::try_from(if self.axis < 0 { self.axis + rank as i64 } else { self.axis })?;
        ensure!(axis < rank, "the quantization axis {axis} is out of range");
        let mut sides: TVec<usize> = (0..rank).map(|_| 1).collect();
        sides[axis] = parameter.len();
        parameter.cast_to::<f32>()?.into_owned().into_shape(&sides)
    }
}

fn constant(target: &TypedModel, outlet: OutletId) -> TractResult<Arc<Tensor>> {
    target.outlet_fact(outlet)?.konst.clone().context("a parameter is not constant")
}

fn only<T: Datum + Copy>(tensor: &Tensor) -> TractResult<T> {
    let values = tensor.try_as_plain_ram()?.as_slice::<T>()?;
    values.first().copied().context("a parameter is empty")
}

/// To unsigned levels, by one scale.
#[derive(Debug, Clone)]
struct QuantizeLinear(Quantization);

impl Expansion for QuantizeLinear {
    fn name(&self) -> StaticName {
        "QuantizeLinear".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        self.0.rules(s, inputs, &outputs[0], None)?;
        s.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let [scale, zero] = self.0.constants(target, inputs)?;
        ensure!(scale.len() == 1 && zero.len() == 1, "levels of several scales are not supported");
        let operator = quantize_linear_u8(only::<f32>(&scale)?.recip(), only::<u8>(&zero)?);
        target.wire_node(prefix, operator, &[inputs[0]])
    }
}

/// From levels, by one scale or one per channel.
#[derive(Debug, Clone)]
struct DequantizeLinear(Quantization);

impl Expansion for DequantizeLinear {
    fn name(&self) -> StaticName {
        "DequantizeLinear".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        self.0.rules(s, inputs, &inputs[0], Some(&outputs[0]))?;
        s.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let [scale, zero] = self.0.constants(target, inputs)?;
        if scale.len() == 1 && zero.len() == 1 {
            let zero = only::<i32>(zero.cast_to::<i32>()?.as_ref())?;
            let operator = DequantizeLinearF32::new(only(&scale)?, zero);
            return target.wire_node(prefix, operator, &[inputs[0]]);
        }
        let rank = target.outlet_fact(inputs[0])?.rank();
        let [scale, zero] = [self.0.along_axis(&scale, rank)?, self.0.along_axis(&zero, rank)?];
        let scale = target.add_const(format!("{prefix}.scale"), scale)?;
        let zero = target.add_const(format!("{prefix}.zero_point"), zero)?;
        let float = target.wire_node(format!("{prefix}.cast"), cast(f32::datum_type()), &[inputs[0]])?;
        let centred = target.wire_node(format!("{prefix}.sub"), sub(), &[float[0], zero])?;
        target.wire_node(prefix, mul(), &[centred[0], scale])
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;
    use crate::network::limits::OPERATORS;

    #[test]
    fn every_operator_that_passes_the_limits_can_be_read_and_no_other() {
        let known = reader().op_register.0;
        let known: BTreeSet<&str> = known.keys().map(String::as_str).collect();
        assert_eq!(known, BTreeSet::from(OPERATORS));
    }
}
