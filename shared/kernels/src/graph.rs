//! Puts our operators in the place of tract's.

mod fusion_patterns;
mod int8;
mod patterns;

use std::collections::HashMap;
use std::marker::PhantomData;

use tract_core::internal::*;

use self::fusion_patterns::{FusedLayer, FusedLayers};
use self::int8::QuantizedConvPattern;
use self::patterns::{Shape, shape_of};
use crate::concat::Concat;
use crate::convolution::{ConvSpec, DirectConv};
use crate::int8::{Epilogue, QuantizeInput, QuantizedConv, QuantizedMaxPool, c4_layout};
use crate::layout::Layout;
use crate::operators::{ConcatOf, ConvToFloats, Conversion, Kernel, OpContext, Operator, PackC4, UnpackC4};
use crate::pooling::MaxPooling;
use crate::simd::Isa;
use crate::threads::Threads;

/// The same network with the operators of this crate, for a model that tract has decluttered.
///
/// Replaced are convolutions of one image (1x1; 3x3 padded by 1; 2x2 of stride 2; transposed 2x2 of stride 2), in
/// `f32` with the rectifier and the sum that follow them, and in unsigned bytes by signed ones with the sum or the
/// change to floats that follows them; and poolings to the maximum of 2x2.
///
/// # Errors
/// When tract refuses the new graph.
pub fn fuse(model: &TypedModel, isa: Isa, threads: &Threads) -> TractResult<TypedModel> {
    let layers = FusedLayers::of(model)?;
    let target = TypedModel { symbols: model.symbols.clone(), ..TypedModel::default() };
    let context = OpContext::new(threads.clone());
    let mut rewriter = Rewriter { model, layers, isa, context, target, forms: HashMap::new() };
    for id in model.eval_order()? {
        rewriter.node(id)?;
    }
    for &input in model.input_outlets()? {
        if !rewriter.forms.contains_key(&input) {
            rewriter.node(input.node)?;
        }
    }
    let plain = |outlets: &[OutletId], rewriter: &mut Rewriter| {
        outlets.iter().map(|&outlet| rewriter.plain(outlet)).collect::<TractResult<Vec<_>>>()
    };
    let inputs = plain(model.input_outlets()?, &mut rewriter)?;
    let outputs = plain(model.output_outlets()?, &mut rewriter)?;
    let mut target = rewriter.target;
    target.properties.clone_from(&model.properties);
    target.set_input_outlets(&inputs)?;
    target.select_output_outlets(&outputs)?;
    Ok(target)
}

/// The forms of a value that the new graph has.
#[derive(Debug, Clone, Copy, Default)]
struct Forms {
    /// As tract has it.
    plain: Option<OutletId>,
    /// Padded floats.
    padded: Option<OutletId>,
    /// C4 blocks.
    c4: Option<OutletId>,
}

struct Rewriter<'a> {
    model: &'a TypedModel,
    layers: FusedLayers,
    isa: Isa,
    context: OpContext,
    target: TypedModel,
    /// By the outlet of the old graph.
    forms: HashMap<OutletId, Forms>,
}

impl Rewriter<'_> {
    fn node(&mut self, id: usize) -> TractResult<()> {
        if self.layers.absorbed.contains(&id) {
            return Ok(());
        }
        let node = self.model.node(id);
        match self.layers.by_last.remove(&id) {
            Some(FusedLayer::Conv { name, convolution, input, skip, block }) => {
                let spec = convolution.spec;
                let mut inputs = vec![self.packed(&name, input, block, &spec.input)?];
                let output = self.output_layout(id, skip.is_some(), &spec.output);
                if let Some(skip) = skip {
                    inputs.push(self.padded(skip)?);
                }
                let spec = ConvSpec { output, ..spec };
                let kernel = DirectConv::new(spec, &convolution.weights_oihw, &convolution.bias, self.isa);
                let operator = Operator::new(kernel, &self.context);
                self.wire(id, &name, operator, &inputs, &output)
            }
            Some(FusedLayer::MaxPool { name, input, shape }) => {
                let kernel = MaxPooling::new(shape.padded(), self.isa);
                let inputs = [self.padded(input)?];
                let output = *kernel.output();
                let operator = Operator::new(kernel, &self.context);
                self.wire(id, &name, operator, &inputs, &output)
            }
            Some(FusedLayer::QuantizedConv { name, source }) => self.quantized_conv(id, &name, &source),
            Some(FusedLayer::QuantizedMaxPool { name, input, shape: [channels, height, width] }) => {
                let kernel = QuantizedMaxPool::new(c4_layout(channels, height, width), self.isa);
                let inputs = [self.c4(input)?];
                self.wire_c4(id, &name, kernel, &inputs)
            }
            Some(FusedLayer::Concat { name, inputs, shapes, of_bytes: true }) => {
                let [first, second] =
                    shapes.map(|[channels, height, width]| c4_layout(channels, height, width));
                let kernel = ConcatOf::<u32> { concat: Concat::new(first, second), of: PhantomData };
                let inputs = [self.c4(inputs[0])?, self.c4(inputs[1])?];
                self.wire_c4(id, &name, kernel, &inputs)
            }
            Some(FusedLayer::Concat { name, inputs, shapes, of_bytes: false }) => {
                let [first, second] =
                    shapes.map(|[channels, height, width]| Layout::padded(channels, height, width));
                let kernel = ConcatOf::<f32> { concat: Concat::new(first, second), of: PhantomData };
                let (inputs, output) = ([self.padded(inputs[0])?, self.padded(inputs[1])?], kernel.output());
                self.wire(id, &name, Operator::new(kernel, &self.context), &inputs, &output)
            }
            // Made in the form that is asked for.
            None if int8::quantization(node).is_some() && self.shape_in_floats(node).is_some() => Ok(()),
            None if self.model.input_outlets()?.contains(&id.into()) => {
                let fact = self.model.outlet_fact(id.into())?.clone();
                let plain = Some(self.target.add_source(&node.name, fact)?);
                self.forms.insert(id.into(), Forms { plain, ..Forms::default() });
                Ok(())
            }
            None => {
                let inputs =
                    node.inputs.iter().map(|&input| self.plain(input)).collect::<TractResult<TVec<_>>>()?;
                let outlets = self.target.wire_node(&node.name, node.op.clone(), &inputs)?;
                for (slot, outlet) in outlets.into_iter().enumerate() {
                    let forms = Forms { plain: Some(outlet), ..Forms::default() };
                    self.forms.insert(OutletId::new(id, slot), forms);
                }
                Ok(())
            }
        }
    }

    fn quantized_conv(&mut self, id: usize, name: &str, source: &QuantizedConvPattern) -> TractResult<()> {
        let convolution = QuantizedConv::new(source.spec, &source.weights(), self.isa);
        let input = match source.block {
            1 => self.c4(source.input)?,
            block => self.space_to_depth(name, source.input, block)?,
        };
        if source.spec.epilogue == Epilogue::Dequantize {
            let operator = Operator::new(ConvToFloats(convolution), &self.context);
            return self.wire(id, name, operator, &[input], &source.spec.output_layout());
        }
        let skip = source.skip.map(|skip| self.c4(skip)).transpose()?;
        let inputs: TVec<OutletId> = std::iter::once(input).chain(skip).collect();
        self.wire_c4(id, name, convolution, &inputs)
    }

    /// Wires what makes C4 blocks.
    fn wire_c4<K: Kernel>(
        &mut self,
        id: usize,
        name: &str,
        kernel: K,
        inputs: &[OutletId],
    ) -> TractResult<()> {
        let operator = Operator::padded(kernel, self.padding(id.into()), &self.context);
        let c4 = Some(self.target.wire_node(name, operator, inputs)?[0]);
        self.forms.insert(id.into(), Forms { c4, ..Forms::default() });
        Ok(())
    }

    /// What stands around the pixels of quantized values: zero, as those who read them have it.
    fn padding(&self, outlet: OutletId) -> u32 {
        self.isa.int8().stored(self.layers.zero_points.get(&outlet).copied().unwrap_or(0))
    }

    /// Channels, height and width of the floats that a node reads.
    fn shape_in_floats(&self, node: &TypedNode) -> Option<[usize; 3]> {
        let fact = self.model.outlet_fact(*node.inputs.first()?).ok()?;
        shape_of(fact, f32::datum_type())
    }

    /// The value in C4 blocks.
    fn c4(&mut self, outlet: OutletId) -> TractResult<OutletId> {
        if let Some(c4) = self.forms.get(&outlet).and_then(|forms| forms.c4) {
            return Ok(c4);
        }
        let node = self.model.node(outlet.node);
        let name = format!("{}.c4", node.name);
        let c4 = if self.forms.contains_key(&outlet) {
            let shape = shape_of(self.model.outlet_fact(outlet)?, u8::datum_type());
            let shape = shape.context("bytes of another shape than a picture's")?;
            let plain = self.plain(outlet)?;
            let kernel = PackC4 { shape, isa: self.isa };
            let operator = Operator::padded(kernel, self.padding(outlet), &self.context);
            self.target.wire_node(name, operator, &[plain])?[0]
        } else {
            self.quantized(&name, outlet, 1)?
        };
        self.forms.entry(outlet).or_default().c4 = Some(c4);
        Ok(c4)
    }

    /// Numbers that a node rounds, in C4 blocks after space-to-depth.
    fn space_to_depth(&mut self, name: &str, outlet: OutletId, block: usize) -> TractResult<OutletId> {
        self.quantized(&format!("{name}.space_to_depth"), outlet, block)
    }

    fn quantized(&mut self, name: &str, outlet: OutletId, block: usize) -> TractResult<OutletId> {
        let node = self.model.node(outlet.node);
        let rounding = int8::quantization(node).context("a value is read before it is made")?;
        let shape = self.shape_in_floats(node).context("numbers of another shape than a picture's")?;
        let plain = self.plain(node.inputs[0])?;
        let kernel = QuantizeInput::new(shape, block, rounding, self.isa);
        let operator = Operator::padded(kernel, self.padding(outlet), &self.context);
        Ok(self.target.wire_node(name, operator, &[plain])?[0])
    }

    /// Padded where one of our operators reads the value or a skip is added to it, plain otherwise.
    fn output_layout(&self, id: usize, has_skip: bool, shape: &Layout) -> Layout {
        let readers = self.model.outlet_successors(id.into());
        if has_skip || readers.iter().any(|reader| self.layers.reads_padded(reader.node)) {
            Layout::padded(shape.channels(), shape.height(), shape.width())
        } else {
            Layout::plain(shape.channels(), shape.height(), shape.width())
        }
    }

    fn wire(
        &mut self,
        id: usize,
        name: &str,
        operator: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
        output: &Layout,
    ) -> TractResult<()> {
        let outlet = self.target.wire_node(name, operator, inputs)?[0];
        let forms = if output.is_padded() {
            Forms { padded: Some(outlet), ..Forms::default() }
        } else {
            Forms { plain: Some(outlet), ..Forms::default() }
        };
        self.forms.insert(id.into(), forms);
        Ok(())
    }

    /// The value as tract has it.
    fn plain(&mut self, outlet: OutletId) -> TractResult<OutletId> {
        let forms = self.forms.get(&outlet).copied().unwrap_or_default();
        match forms {
            Forms { plain: Some(plain), .. } => Ok(plain),
            Forms { padded: Some(padded), .. } => {
                let shape = self.shape(outlet)?;
                let name = format!("{}.plain", self.model.node(outlet.node).name);
                let plain = self.convert(&name, padded, shape.padded(), shape.plain(), 1)?;
                self.forms.entry(outlet).or_default().plain = Some(plain);
                Ok(plain)
            }
            Forms { c4: Some(c4), .. } => {
                let shape = shape_of(self.model.outlet_fact(outlet)?, u8::datum_type());
                let shape = shape.context("bytes of another shape than a picture's")?;
                let name = format!("{}.plain", self.model.node(outlet.node).name);
                let operator = Operator::new(UnpackC4 { shape, isa: self.isa }, &self.context);
                let plain = self.target.wire_node(name, operator, &[c4])?[0];
                self.forms.entry(outlet).or_default().plain = Some(plain);
                Ok(plain)
            }
            _ => {
                let node = self.model.node(outlet.node);
                ensure!(int8::quantization(node).is_some(), "{outlet:?} is read before it is made");
                let input = self.plain(node.inputs[0])?;
                let plain = self.target.wire_node(&node.name, node.op.clone(), &[input])?[0];
                self.forms.entry(outlet).or_default().plain = Some(plain);
                Ok(plain)
            }
        }
    }

    /// The value in the layout between our operators.
    fn padded(&mut self, outlet: OutletId) -> TractResult<OutletId> {
        if let Some(padded) = self.forms.get(&outlet).and_then(|forms| forms.padded) {
            return Ok(padded);
        }
        let plain = self.plain(outlet)?;
        let shape = self.shape(outlet)?;
        let name = format!("{}.padded", self.model.node(outlet.node).name);
        let padded = self.convert(&name, plain, shape.plain(), shape.padded(), 1)?;
        self.forms.entry(outlet).or_default().padded = Some(padded);
        Ok(padded)
    }

    /// As [`Rewriter::padded`], with blocks of pixels as channels.
    fn packed(&mut self, name: &str, outlet: OutletId, block: usize, to: &Layout) -> TractResult<OutletId> {
        if block == 1 {
            return self.padded(outlet);
        }
        let (plain, shape) = (self.plain(outlet)?, self.shape(outlet)?);
        self.convert(&format!("{name}.space_to_depth"), plain, shape.plain(), *to, block)
    }

    fn convert(
        &mut self,
        name: &str,
        input: OutletId,
        from: Layout,
        to: Layout,
        block: usize,
    ) -> TractResult<OutletId> {
        let operator = Operator::new(Conversion { from, to, block }, &self.context);
        Ok(self.target.wire_node(name, operator, &[input])?[0])
    }

    fn shape(&self, outlet: OutletId) -> TractResult<Shape> {
        Shape::of(self.model.outlet_fact(outlet)?).context("a value of another shape than a picture's")
    }
}

#[cfg(test)]
mod tests;
