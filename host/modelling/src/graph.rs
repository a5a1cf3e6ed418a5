//! The trained network as plain data, between training and files.
//!
//! Training walks its modules into a [`GraphBuilder`]; batch normalization is folded,
//! cost is counted, weights are rounded to int8 and ONNX is written from the [`Graph`].
//! Every value is one `[1, c, h, w]` tensor, row-major, and every shape is known.

mod builder;
mod cost;
mod evaluate;
mod fold;
mod integer;
mod op;
mod quantize;
mod shape;

pub use builder::GraphBuilder;
pub use cost::NodeMacs;
pub use integer::{AffineQuantization, IntegerPlan, Range};
pub use op::{BatchNorm, Convolution, Op, PoolWindow, Tensor4};
pub use quantize::{QuantizedLayer, QuantizedWeight};
pub use shape::{ValueShape, conv_output, conv_transpose_output};

use std::collections::BTreeSet;

use host_console::Failure;
use thiserror::Error;

/// A value of the graph: `ValueId::INPUT` is the input, `n + 1` the output of node `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(usize);

impl ValueId {
    /// The graph's input.
    pub const INPUT: Self = Self(0);

    /// The output of the node at `index` in [`Graph::nodes`].
    pub const fn of_node(index: usize) -> Self {
        Self(index + 1)
    }

    /// The index in [`Graph::nodes`] of the node that produces this value; `None` for the input.
    pub const fn node(self) -> Option<usize> {
        self.0.checked_sub(1)
    }

    /// The value's position in evaluation order; the input is 0.
    pub const fn index(self) -> usize {
        self.0
    }
}

/// One operation with its single output.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Unique in its graph; letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// Its inputs, each produced by an earlier node.
    pub inputs: Vec<ValueId>,
    /// What it does.
    pub op: Op,
}

/// A network of one input and one output whose shapes have been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
    /// By [`ValueId`]: the input, then the output of each node.
    shapes: Vec<ValueShape>,
    output: ValueId,
}

impl Graph {
    /// Checks `nodes`, which are in evaluation order, and infers every shape.
    ///
    /// # Errors
    /// The first node that cannot run on its inputs, or whose value is unused.
    pub fn new(
        input: ValueShape,
        nodes: impl IntoIterator<Item = Node>,
        output: ValueId,
    ) -> Result<Self, GraphError> {
        let mut builder = GraphBuilder::new(input)?;
        for node in nodes {
            builder.push(node)?;
        }
        builder.finish(output)
    }

    fn from_parts(nodes: Vec<Node>, shapes: Vec<ValueShape>, output: ValueId) -> Result<Self, GraphError> {
        if output == ValueId::INPUT {
            return Err(GraphError::NoNode);
        }
        if output.0 >= shapes.len() {
            return Err(GraphError::UnknownValue { node: "output".into(), value: output.0 });
        }
        let read: BTreeSet<_> = nodes.iter().flat_map(|node| &node.inputs).collect();
        let unread = |(index, _): &(usize, &Node)| {
            let value = ValueId::of_node(*index);
            value != output && !read.contains(&value)
        };
        if let Some((_, node)) = nodes.iter().enumerate().find(unread) {
            return Err(GraphError::Unread { node: node.name.clone() });
        }
        Ok(Self { nodes, shapes, output })
    }

    /// The nodes in evaluation order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Shape of the input.
    pub fn input_shape(&self) -> ValueShape {
        self.shapes[0]
    }

    /// The network's output value.
    pub fn output(&self) -> ValueId {
        self.output
    }

    /// Shape of `value`.
    ///
    /// # Panics
    /// If `value` is of another, larger graph.
    pub fn shape(&self, value: ValueId) -> ValueShape {
        self.shapes[value.0]
    }
}

/// Why a graph is invalid.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum GraphError {
    /// A tensor's data does not fill its shape.
    #[error("a tensor of shape {shape:?} cannot hold {len} values")]
    TensorLength {
        /// The shape asked for.
        shape: [usize; 4],
        /// Numbers given.
        len: usize,
    },
    /// A shape with an empty axis, or with more elements than a `u32` counts.
    #[error("{channels}x{height}x{width} is not a usable shape")]
    Shape {
        /// Channels.
        channels: usize,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// A name that is empty or has characters other than letters, digits, `_`, `-`, `.`.
    #[error("node name {name:?} has characters other than letters, digits, '_', '-' and '.'")]
    Name {
        /// The name.
        name: String,
    },
    /// A second node of the same name.
    #[error("two nodes are named {name:?}")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A value that no earlier node produces.
    #[error("{node} reads value {value}, which does not exist yet")]
    UnknownValue {
        /// The reader.
        node: String,
        /// The value's index.
        value: usize,
    },
    /// The input itself as the output.
    #[error("the output is the input: no node produces it")]
    NoNode,
    /// A node whose value is neither read nor the output.
    #[error("nothing reads the value of {node}")]
    Unread {
        /// The node.
        node: String,
    },
    /// A wrong number of inputs.
    #[error("{node} expects {expected} inputs, got {actual}")]
    InputCount {
        /// The node.
        node: String,
        /// Inputs the operation expects.
        expected: &'static str,
        /// Inputs given.
        actual: usize,
    },
    /// An axis or a parameter of another length than the node needs.
    #[error("{node}: {what} is {actual}, expected {expected}")]
    Mismatch {
        /// The node.
        node: String,
        /// What is compared, as text.
        what: &'static str,
        /// The length needed.
        expected: usize,
        /// The length found.
        actual: usize,
    },
    /// A window that does not fit its input, or a stride or size of zero.
    #[error("{node}: the window does not fit an input of {height}x{width}")]
    Window {
        /// The node.
        node: String,
        /// Rows of the input.
        height: usize,
        /// Columns of the input.
        width: usize,
    },
    /// A weight that is not finite, or a variance that is not positive.
    #[error("{node}: {what} has a value out of range")]
    Value {
        /// The node.
        node: String,
        /// The parameter.
        what: &'static str,
    },
    /// An input image of another length than the graph's input.
    #[error("the input has {actual} values, expected {expected}")]
    InputLength {
        /// Elements of the input shape.
        expected: usize,
        /// Numbers given.
        actual: usize,
    },
}

impl From<GraphError> for Failure {
    fn from(error: GraphError) -> Self {
        Self::failed(error, "choose another --width or --depth, or start a new run")
    }
}

#[cfg(test)]
pub(crate) mod tests;
