//! Which nodes of a graph our operators can take the place of.

use std::collections::{HashMap, HashSet};

use tract_core::internal::*;
use tract_core::ops::array::TypedConcat;
use tract_core::ops::binary::TypedBinOp;
use tract_core::ops::cnn::{Conv, Deconv, KernelFormat, MaxPool, PaddingSpec, PoolSpec};
use tract_core::ops::math::{Add, Max};
use tract_core::ops::nn::DataFormat;

use super::bytes::{self, ByteChain, ByteSource, Zeros};
use crate::bytes::GROUP;
use crate::convolution::{Activation, Form, Spec};
use crate::layout::Layout;

/// Channels, height and width of a value of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    channels: usize,
    height: usize,
    width: usize,
}

/// Channels, height and width of a value of one image of that type. `None` where it would take many times the memory
/// in our form: images of a few pixels and very many channels.
pub(super) fn shape_of(fact: &TypedFact, of: DatumType) -> Option<[usize; 3]> {
    let (true, &[1, channels, height, width]) = (fact.datum_type == of, fact.shape.as_concrete()?) else {
        return None;
    };
    let padded = Layout::padded(channels, height, width).len();
    (padded <= 4 * channels * height * width + SMALL).then_some([channels, height, width])
}

/// Values that may be stored beside pixels whatever their number.
const SMALL: usize = 1 << 20;

impl Shape {
    pub(super) fn of(fact: &TypedFact) -> Option<Self> {
        let [channels, height, width] = shape_of(fact, f32::datum_type())?;
        Some(Self { channels, height, width })
    }

    pub(super) const fn plain(&self) -> Layout {
        Layout::plain(self.channels, self.height, self.width)
    }

    pub(super) const fn padded(&self) -> Layout {
        Layout::padded(self.channels, self.height, self.width)
    }
}

/// A convolution as the graph has it.
pub(super) struct Source {
    pub(super) spec: Spec,
    pub(super) weights_oihw: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// Nodes that one of our operators replaces.
pub(super) enum Layer {
    Convolution {
        name: String,
        convolution: Source,
        input: OutletId,
        skip: Option<OutletId>,
        /// Side of the squares of the input's pixels that become channels.
        block: usize,
    },
    Pooling {
        name: String,
        input: OutletId,
        shape: Shape,
    },
    ByteConvolution {
        name: String,
        source: ByteSource,
    },
    /// Of two values that are both floats, or both levels.
    Stacking {
        name: String,
        inputs: [OutletId; 2],
        /// Channels, height and width of each.
        shapes: [[usize; 3]; 2],
        of_bytes: bool,
    },
    BytePooling {
        name: String,
        input: OutletId,
        shape: [usize; 3],
    },
}

/// All layers of a graph.
pub(super) struct Layers {
    /// By the node whose value they make.
    pub(super) by_last: HashMap<usize, Layer>,
    /// Nodes that are part of a layer whose value another node makes.
    pub(super) absorbed: HashSet<usize>,
    /// Nodes that read padded values.
    readers: HashSet<usize>,
    /// The levels of zero of the bytes that convolutions read.
    pub(super) zeros: Zeros,
}

impl Layers {
    pub(super) fn of(model: &TypedModel) -> TractResult<Self> {
        let mut layers = Self {
            by_last: HashMap::new(),
            absorbed: HashSet::new(),
            readers: HashSet::new(),
            zeros: Zeros::new(),
        };
        let order = model.eval_order()?;
        for &id in &order {
            let node = model.node(id);
            if let Some((mut convolution, block)) = convolution(model, node)? {
                let chain = Chain::of(model, &order, node)?;
                convolution.spec.activation = chain.activation;
                if block == 1 {
                    layers.readers.insert(id);
                }
                if chain.skip.is_some() {
                    layers.readers.insert(chain.last);
                }
                layers.absorbed.extend(chain.absorbed);
                let (name, input, skip) = (node.name.clone(), node.inputs[0], chain.skip);
                let layer = Layer::Convolution { name, convolution, input, skip, block };
                layers.by_last.insert(chain.last, layer);
            } else if let Some(shape) = pooling(model, node)? {
                layers.readers.insert(id);
                let layer = Layer::Pooling { name: node.name.clone(), input: node.inputs[0], shape };
                layers.by_last.insert(id, layer);
            } else if let Some(chain) = ByteChain::of(model, &order, node, &layers)? {
                let ByteChain { source, last, absorbed } = chain;
                layers.zeros.insert(source.input, source.spec.read.zero);
                layers.absorbed.extend(absorbed);
                layers.by_last.insert(last, Layer::ByteConvolution { name: node.name.clone(), source });
            } else if let Some(shape) = bytes::pooling(model, node)? {
                let layer = Layer::BytePooling { name: node.name.clone(), input: node.inputs[0], shape };
                layers.by_last.insert(id, layer);
            }
        }
        for &id in &order {
            if let Some(layer) = layers.stacking(model, model.node(id))? {
                layers.readers.insert(id);
                layers.by_last.insert(id, layer);
            }
        }
        Ok(layers)
    }

    /// A stacking of two values that one of our convolutions reads.
    fn stacking(&self, model: &TypedModel, node: &TypedNode) -> TractResult<Option<Layer>> {
        let (Some(op), &[first, second]) = (node.op_as::<TypedConcat>(), node.inputs.as_slice()) else {
            return Ok(None);
        };
        let facts = model.node_input_facts(node.id)?;
        let shapes = |of: DatumType| {
            let shapes = (shape_of(facts[0], of)?, shape_of(facts[1], of)?);
            (op.axis == 1).then_some([shapes.0, shapes.1])
        };
        let name = node.name.clone();
        let inputs = [first, second];
        if let Some(shapes) = shapes(f32::datum_type()) {
            let is_read = model.outlet_successors(node.id.into()).iter().any(|it| self.reads_padded(it.node));
            return Ok(is_read.then_some(Layer::Stacking { name, inputs, shapes, of_bytes: false }));
        }
        let is_read = self.zeros.contains_key(&node.id.into());
        let shapes = shapes(u8::datum_type()).filter(|[first, _]| is_read && first[0].is_multiple_of(GROUP));
        Ok(shapes.map(|shapes| Layer::Stacking { name, inputs, shapes, of_bytes: true }))
    }

    /// Whether a node of the old graph becomes a part of an operator that reads padded values.
    pub(super) fn reads_padded(&self, id: usize) -> bool {
        self.readers.contains(&id)
    }
}

/// What follows a convolution and is computed with it.
struct Chain {
    last: usize,
    activation: Activation,
    skip: Option<OutletId>,
    absorbed: Vec<usize>,
}

impl Chain {
    fn of(model: &TypedModel, order: &[usize], first: &TypedNode) -> TractResult<Self> {
        let mut chain =
            Self { last: first.id, activation: Activation::None, skip: None, absorbed: Vec::new() };
        if let Some(next) = only_reader(model, chain.last)?
            && is_rectifier(model, next, chain.last)?
        {
            chain.extend(next.id);
            chain.activation = Activation::Relu;
        }
        if let Some(next) = only_reader(model, chain.last)?
            && let Some(skip) = added_to(model, next, chain.last)?
            // A sum of two convolutions goes to the later one, which the other's value is there for.
            && place(order, skip.node) < place(order, first.id)
        {
            chain.extend(next.id);
            chain.skip = Some(skip);
        }
        Ok(chain)
    }

    fn extend(&mut self, node: usize) {
        self.absorbed.push(std::mem::replace(&mut self.last, node));
    }
}

pub(super) fn place(order: &[usize], id: usize) -> Option<usize> {
    order.iter().position(|&other| other == id)
}

/// The only reader of a node's value, unless the value is an output of the graph.
pub(super) fn only_reader(model: &TypedModel, id: usize) -> TractResult<Option<&TypedNode>> {
    let is_output = model.output_outlets()?.contains(&id.into());
    Ok(match model.outlet_successors(id.into()) {
        [reader] if !is_output => Some(model.node(reader.node)),
        _ => None,
    })
}

/// The input of a sum or maximum beside the one from `id`.
fn other_input(node: &TypedNode, id: usize) -> Option<OutletId> {
    match node.inputs.as_slice() {
        [a, b] if a.node == id && b.node != id => Some(*b),
        [a, b] if b.node == id && a.node != id => Some(*a),
        _ => None,
    }
}

fn is_rectifier(model: &TypedModel, node: &TypedNode, id: usize) -> TractResult<bool> {
    let is_max = node.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Max>());
    let Some(other) = other_input(node, id).filter(|_| is_max) else { return Ok(false) };
    let zero = model.outlet_fact(other)?.konst.as_ref().and_then(|konst| konst.as_uniform());
    let zero = zero.map(|zero| zero.cast_to_scalar::<f32>()).transpose()?;
    Ok(zero == Some(0.0))
}

pub(super) fn added_to(model: &TypedModel, node: &TypedNode, id: usize) -> TractResult<Option<OutletId>> {
    let is_sum = node.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Add>());
    let Some(other) = other_input(node, id).filter(|_| is_sum) else { return Ok(None) };
    let (shape, own) = (Shape::of(model.outlet_fact(other)?), Shape::of(model.outlet_fact(id.into())?));
    Ok((shape.is_some() && shape == own).then_some(other))
}

/// The convolution of a node, and the side of the squares of its input's pixels that become channels.
fn convolution(model: &TypedModel, node: &TypedNode) -> TractResult<Option<(Source, usize)>> {
    let transposed = node.op_as::<Deconv>();
    let (pool, format, group) = match (node.op_as::<Conv>(), transposed) {
        (Some(op), _) if op.q_params.is_none() => (&op.pool_spec, op.kernel_fmt, op.group),
        (_, Some(op)) if op.adjustments.iter().all(|&adjustment| adjustment == 0) => {
            (&op.pool_spec, op.kernel_format, op.group)
        }
        _ => return Ok(None),
    };
    let Some(window) = Window::of(pool) else { return Ok(None) };
    let (form, block) = match (window, transposed.is_some()) {
        (Window { side: 1, stride: 1, padding: 0 }, false) => (Form::Point, 1),
        (Window { side: 2, stride: 2, padding: 0 }, false) => (Form::Point, 2),
        (Window { side: 3, stride: 1, padding: 1 }, false) => (Form::Square, 1),
        (Window { side: 2, stride: 2, padding: 0 }, true) => (Form::Doubling, 1),
        _ => return Ok(None),
    };
    let facts = model.node_input_facts(node.id)?;
    let shapes = (Shape::of(facts[0]), Shape::of(&node.outputs[0].fact));
    let (Some(from), Some(to)) = shapes else { return Ok(None) };
    let (Some(weights), Some(bias)) = (&facts[1].konst, &facts[2].konst) else { return Ok(None) };
    let whole = from.height.is_multiple_of(block) && from.width.is_multiple_of(block);
    if format != KernelFormat::OIHW || group != 1 || !whole {
        return Ok(None);
    }
    let side = window.side;
    let weights_oihw = weights.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
    let bias = bias.try_as_plain_ram()?.as_slice::<f32>()?;
    let bias = if bias.len() == 1 { vec![bias[0]; to.channels] } else { bias.to_vec() };
    if weights_oihw.len() != to.channels * from.channels * side * side || bias.len() != to.channels {
        return Ok(None);
    }
    let input = Layout::padded(from.channels * block * block, from.height / block, from.width / block);
    let spec = Spec { form, activation: Activation::None, input, output: to.padded() };
    Ok(Some((Source { spec, weights_oihw, bias }, block)))
}

/// The shape of what a pooling to the maximum of 2x2 reads.
fn pooling(model: &TypedModel, node: &TypedNode) -> TractResult<Option<Shape>> {
    if !pooling_window(node) {
        return Ok(None);
    }
    let shape = Shape::of(model.node_input_facts(node.id)?[0]);
    Ok(shape.filter(|shape| shape.height.is_multiple_of(2) && shape.width.is_multiple_of(2)))
}

/// Whether a node is a pooling to the maximum of 2x2 pixels.
pub(super) fn pooling_window(node: &TypedNode) -> bool {
    node.op_as::<MaxPool>().is_some_and(|op| {
        let window = Window::of(&op.pool_spec);
        op.with_index_outputs.is_none() && window == Some(Window { side: 2, stride: 2, padding: 0 })
    })
}

/// The pixels that a square window covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) side: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Window {
    /// `None` when the window is no square, or dilated, or padded unevenly.
    pub(super) fn of(pool: &PoolSpec) -> Option<Self> {
        let same = |values: &[usize]| match values {
            &[a, b] if a == b => Some(a),
            _ => None,
        };
        if pool.data_format != DataFormat::NCHW || same(&pool.dilations())? != 1 {
            return None;
        }
        let padding = match &pool.padding {
            PaddingSpec::Valid => 0,
            PaddingSpec::Explicit(before, after) | PaddingSpec::ExplicitOnnxPool(before, after, false)
                if before == after =>
            {
                same(before)?
            }
            _ => return None,
        };
        Some(Self { side: same(&pool.kernel_shape)?, stride: same(&pool.strides())?, padding })
    }
}
