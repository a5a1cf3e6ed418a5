//! Which nodes of a graph our operators can take the place of.

use std::collections::{HashMap, HashSet};

use tract_core::internal::*;
use tract_core::ops::array::TypedConcat;
use tract_core::ops::binary::TypedBinOp;
use tract_core::ops::cnn::{Conv, Deconv, KernelFormat};
use tract_core::ops::math::Max;

use super::int8::{self, FusedSoFar, QuantizedChain, QuantizedConvPattern, ZeroPoints};
use super::patterns::{Shape, Window, added_to, is_max_pool_2x2, only_reader, other_input, place, shape_of};
use crate::convolution::{Activation, ConvKind, ConvSpec};
use crate::int8::CHANNEL_BLOCK;
use crate::layout::Layout;

/// A convolution as the graph has it.
pub(super) struct ConvPattern {
    pub(super) spec: ConvSpec,
    pub(super) weights_oihw: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// Nodes that one of our operators replaces.
pub(super) enum FusedLayer {
    Conv {
        name: String,
        convolution: ConvPattern,
        input: OutletId,
        skip: Option<OutletId>,
        /// Side of the space-to-depth blocks of the input's pixels that become channels.
        block: usize,
    },
    MaxPool {
        name: String,
        input: OutletId,
        shape: Shape,
    },
    QuantizedConv {
        name: String,
        source: QuantizedConvPattern,
    },
    /// Of two values that are both floats, or both quantized values.
    Concat {
        name: String,
        inputs: [OutletId; 2],
        /// Channels, height and width of each.
        shapes: [[usize; 3]; 2],
        of_bytes: bool,
    },
    QuantizedMaxPool {
        name: String,
        input: OutletId,
        shape: [usize; 3],
    },
}

/// All layers of a graph.
pub(super) struct FusedLayers {
    /// By the node whose value they make.
    pub(super) by_last: HashMap<usize, FusedLayer>,
    /// Nodes that are part of a layer whose value another node makes.
    pub(super) absorbed: HashSet<usize>,
    /// Nodes that read padded values.
    readers: HashSet<usize>,
    /// The zero points of the bytes that convolutions read.
    pub(super) zero_points: ZeroPoints,
}

impl FusedLayers {
    pub(super) fn of(model: &TypedModel) -> TractResult<Self> {
        let mut layers = Self {
            by_last: HashMap::new(),
            absorbed: HashSet::new(),
            readers: HashSet::new(),
            zero_points: ZeroPoints::new(),
        };
        let order = model.eval_order()?;
        for &id in &order {
            let node = model.node(id);
            if let Some((mut convolution, block)) = convolution(model, node)? {
                let chain = EpilogueChain::of(model, &order, node)?;
                convolution.spec.activation = chain.activation;
                if block == 1 {
                    layers.readers.insert(id);
                }
                if chain.skip.is_some() {
                    layers.readers.insert(chain.last);
                }
                layers.absorbed.extend(chain.absorbed);
                let (name, input, skip) = (node.name.clone(), node.inputs[0], chain.skip);
                let layer = FusedLayer::Conv { name, convolution, input, skip, block };
                layers.by_last.insert(chain.last, layer);
            } else if let Some(shape) = pooling(model, node)? {
                layers.readers.insert(id);
                let layer = FusedLayer::MaxPool { name: node.name.clone(), input: node.inputs[0], shape };
                layers.by_last.insert(id, layer);
            } else if let Some(chain) = layers.quantized(model, &order, node)? {
                let QuantizedChain { source, last, absorbed } = chain;
                layers.zero_points.insert(source.input, source.spec.read.zero_point);
                layers.absorbed.extend(absorbed);
                layers.by_last.insert(last, FusedLayer::QuantizedConv { name: node.name.clone(), source });
            } else if let Some(shape) = int8::pooling(model, node)? {
                let layer =
                    FusedLayer::QuantizedMaxPool { name: node.name.clone(), input: node.inputs[0], shape };
                layers.by_last.insert(id, layer);
            }
        }
        for &id in &order {
            if let Some(layer) = layers.concat(model, model.node(id))? {
                layers.readers.insert(id);
                layers.by_last.insert(id, layer);
            }
        }
        Ok(layers)
    }

    /// The quantized convolution that begins at a node.
    fn quantized(
        &self,
        model: &TypedModel,
        order: &[usize],
        node: &TypedNode,
    ) -> TractResult<Option<QuantizedChain>> {
        let makes_value = |id: usize| self.by_last.contains_key(&id);
        let fused = FusedSoFar {
            absorbed: &self.absorbed,
            zero_points: &self.zero_points,
            makes_value: &makes_value,
        };
        QuantizedChain::of(model, order, node, &fused)
    }

    /// A concatenation of two values that one of our convolutions reads.
    fn concat(&self, model: &TypedModel, node: &TypedNode) -> TractResult<Option<FusedLayer>> {
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
            return Ok(is_read.then_some(FusedLayer::Concat { name, inputs, shapes, of_bytes: false }));
        }
        let is_read = self.zero_points.contains_key(&node.id.into());
        let shapes =
            shapes(u8::datum_type()).filter(|[first, _]| is_read && first[0].is_multiple_of(CHANNEL_BLOCK));
        Ok(shapes.map(|shapes| FusedLayer::Concat { name, inputs, shapes, of_bytes: true }))
    }

    /// Whether a node of the old graph becomes a part of an operator that reads padded values.
    pub(super) fn reads_padded(&self, id: usize) -> bool {
        self.readers.contains(&id)
    }
}

/// What follows a convolution and is computed with it.
struct EpilogueChain {
    last: usize,
    activation: Activation,
    skip: Option<OutletId>,
    absorbed: Vec<usize>,
}

impl EpilogueChain {
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

fn is_rectifier(model: &TypedModel, node: &TypedNode, id: usize) -> TractResult<bool> {
    let is_max = node.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Max>());
    let Some(other) = other_input(node, id).filter(|_| is_max) else { return Ok(false) };
    let zero = model.outlet_fact(other)?.konst.as_ref().and_then(|konst| konst.as_uniform());
    let zero = zero.map(|zero| zero.cast_to_scalar::<f32>()).transpose()?;
    Ok(zero == Some(0.0))
}

/// The convolution of a node, and the side of the squares of its input's pixels that become channels.
fn convolution(model: &TypedModel, node: &TypedNode) -> TractResult<Option<(ConvPattern, usize)>> {
    let transposed = node.op_as::<Deconv>();
    let (pool, format, group) = match (node.op_as::<Conv>(), transposed) {
        (Some(op), _) if op.q_params.is_none() => (&op.pool_spec, op.kernel_fmt, op.group),
        (_, Some(op)) if op.adjustments.iter().all(|&adjustment| adjustment == 0) => {
            (&op.pool_spec, op.kernel_format, op.group)
        }
        _ => return Ok(None),
    };
    let Some(window) = Window::of(pool) else { return Ok(None) };
    let (kind, block) = match (window, transposed.is_some()) {
        (Window { side: 1, stride: 1, padding: 0 }, false) => (ConvKind::Conv1x1, 1),
        (Window { side: 2, stride: 2, padding: 0 }, false) => (ConvKind::Conv1x1, 2),
        (Window { side: 3, stride: 1, padding: 1 }, false) => (ConvKind::Conv3x3, 1),
        (Window { side: 2, stride: 2, padding: 0 }, true) => (ConvKind::ConvTranspose2x2, 1),
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
    let spec = ConvSpec { kind, activation: Activation::None, input, output: to.padded() };
    Ok(Some((ConvPattern { spec, weights_oihw, bias }, block)))
}

/// The shape of what a pooling to the maximum of 2x2 reads.
fn pooling(model: &TypedModel, node: &TypedNode) -> TractResult<Option<Shape>> {
    if !is_max_pool_2x2(node) {
        return Ok(None);
    }
    let shape = Shape::of(model.node_input_facts(node.id)?[0]);
    Ok(shape.filter(|shape| shape.height.is_multiple_of(2) && shape.width.is_multiple_of(2)))
}
