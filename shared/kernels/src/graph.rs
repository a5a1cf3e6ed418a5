//! Puts our operators in the place of tract's.

mod recognise;

use std::collections::HashMap;

use tract_core::internal::*;

use self::recognise::{Layer, Layers, Shape};
use crate::convolution::{Convolution, Spec};
use crate::layout::Layout;
use crate::operators::{Common, Conversion, Operator};
use crate::pooling::MaxPooling;
use crate::simd::Isa;
use crate::threads::Threads;

/// The same network with the operators of this crate, for a model that tract has decluttered.
///
/// Replaced are convolutions in `f32` of one picture (1x1; 3x3 padded by 1; 2x2 of stride 2; transposed 2x2 of
/// stride 2) with the rectifier and the sum that follow them, and poolings to the maximum of 2x2.
///
/// # Errors
/// When tract refuses the new graph.
pub fn replace(model: &TypedModel, isa: Isa, threads: &Threads) -> TractResult<TypedModel> {
    let layers = Layers::of(model)?;
    let target = TypedModel { symbols: model.symbols.clone(), ..TypedModel::default() };
    let common = Common::new(threads.clone());
    let mut rewriter = Rewriter { model, layers, isa, common, target, forms: HashMap::new() };
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
    plain: Option<OutletId>,
    padded: Option<OutletId>,
}

struct Rewriter<'a> {
    model: &'a TypedModel,
    layers: Layers,
    isa: Isa,
    common: Common,
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
            Some(Layer::Convolution { name, convolution, input, skip, block }) => {
                let spec = convolution.spec;
                let mut inputs = vec![self.packed(&name, input, block, &spec.input)?];
                let output = self.output_layout(id, skip.is_some(), &spec.output);
                if let Some(skip) = skip {
                    inputs.push(self.padded(skip)?);
                }
                let spec = Spec { output, ..spec };
                let kernel = Convolution::new(spec, &convolution.weights_oihw, &convolution.bias, self.isa);
                let operator = Operator::new(kernel, &self.common);
                self.wire(id, &name, operator, &inputs, &output)
            }
            Some(Layer::Pooling { name, input, shape }) => {
                let kernel = MaxPooling::new(shape.padded(), self.isa);
                let inputs = [self.padded(input)?];
                let output = *kernel.output();
                let operator = Operator::new(kernel, &self.common);
                self.wire(id, &name, operator, &inputs, &output)
            }
            None if self.model.input_outlets()?.contains(&id.into()) => {
                let fact = self.model.outlet_fact(id.into())?.clone();
                let plain = Some(self.target.add_source(&node.name, fact)?);
                self.forms.insert(id.into(), Forms { plain, padded: None });
                Ok(())
            }
            None => {
                let inputs =
                    node.inputs.iter().map(|&input| self.plain(input)).collect::<TractResult<TVec<_>>>()?;
                let outlets = self.target.wire_node(&node.name, node.op.clone(), &inputs)?;
                for (slot, outlet) in outlets.into_iter().enumerate() {
                    let forms = Forms { plain: Some(outlet), padded: None };
                    self.forms.insert(OutletId::new(id, slot), forms);
                }
                Ok(())
            }
        }
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
            Forms { plain: None, padded: Some(outlet) }
        } else {
            Forms { plain: Some(outlet), padded: None }
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
            Forms { plain: None, padded: None } => bail!("{outlet:?} is read before it is made"),
        }
    }

    /// The value in the form between our operators.
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

    /// As [`Rewriter::padded`], with squares of pixels as channels.
    fn packed(&mut self, name: &str, outlet: OutletId, block: usize, to: &Layout) -> TractResult<OutletId> {
        if block == 1 {
            return self.padded(outlet);
        }
        let (plain, shape) = (self.plain(outlet)?, self.shape(outlet)?);
        self.convert(&format!("{name}.squares"), plain, shape.plain(), *to, block)
    }

    fn convert(
        &mut self,
        name: &str,
        input: OutletId,
        from: Layout,
        to: Layout,
        block: usize,
    ) -> TractResult<OutletId> {
        let operator = Operator::new(Conversion { from, to, block }, &self.common);
        Ok(self.target.wire_node(name, operator, &[input])?[0])
    }

    fn shape(&self, outlet: OutletId) -> TractResult<Shape> {
        Shape::of(self.model.outlet_fact(outlet)?).context("a value of another shape than a picture's")
    }
}

#[cfg(test)]
mod tests;
