//! What both kinds of patterns ask of a graph's nodes.

use tract_core::internal::*;
use tract_core::ops::binary::TypedBinOp;
use tract_core::ops::cnn::{MaxPool, PaddingSpec, PoolSpec};
use tract_core::ops::math::Add;
use tract_core::ops::nn::DataFormat;

use crate::layout::Layout;

/// Channels, height and width of a value of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
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

pub(super) fn place(order: &[usize], id: usize) -> Option<usize> {
    order.iter().position(|&other| other == id)
}

/// The node that alone reads a node's value, which is no output of the graph.
pub(super) fn only_reader(model: &TypedModel, id: usize) -> TractResult<Option<&TypedNode>> {
    let is_output = model.output_outlets()?.contains(&id.into());
    Ok(match model.outlet_successors(id.into()) {
        [reader] if !is_output => Some(model.node(reader.node)),
        _ => None,
    })
}

/// The input of a sum or maximum beside the one from `id`.
pub(super) fn other_input(node: &TypedNode, id: usize) -> Option<OutletId> {
    match node.inputs.as_slice() {
        [a, b] if a.node == id && b.node != id => Some(*b),
        [a, b] if b.node == id && a.node != id => Some(*a),
        _ => None,
    }
}

pub(super) fn added_to(model: &TypedModel, node: &TypedNode, id: usize) -> TractResult<Option<OutletId>> {
    let is_sum = node.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Add>());
    let Some(other) = other_input(node, id).filter(|_| is_sum) else { return Ok(None) };
    let (shape, own) = (Shape::of(model.outlet_fact(other)?), Shape::of(model.outlet_fact(id.into())?));
    Ok((shape.is_some() && shape == own).then_some(other))
}

/// Whether a node is a pooling to the maximum of 2x2 pixels.
pub(super) fn is_max_pool_2x2(node: &TypedNode) -> bool {
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
