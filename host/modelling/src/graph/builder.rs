//! Building a graph node by node.

use std::collections::BTreeSet;

use super::shape::infer;
use super::{BatchNorm, Convolution, Graph, GraphError, Node, Op, PoolWindow, ValueId, ValueShape};

/// Collects nodes in evaluation order and checks each one.
///
/// Every method takes the node's name and its inputs, and returns its output value.
///
/// # Errors
/// Every method fails if the name is taken or malformed, if an input does not exist, or
/// if shapes or parameters do not fit.
#[derive(Debug, Clone)]
pub struct GraphBuilder {
    nodes: Vec<Node>,
    shapes: Vec<ValueShape>,
    names: BTreeSet<String>,
}

impl GraphBuilder {
    /// A graph whose only value is its input.
    ///
    /// # Errors
    /// If an axis is zero or the elements overflow a `u32`.
    pub fn new(input: ValueShape) -> Result<Self, GraphError> {
        let input = ValueShape::new(input.channels, input.height, input.width)?;
        Ok(Self { nodes: Vec::new(), shapes: vec![input], names: BTreeSet::new() })
    }

    /// Shape of `value`, `None` if it does not exist.
    pub fn shape(&self, value: ValueId) -> Option<ValueShape> {
        self.shapes.get(value.index()).copied()
    }

    /// Adds a convolution, weight `[out, in, kh, kw]`.
    pub fn conv(
        &mut self,
        name: impl Into<String>,
        input: ValueId,
        convolution: Convolution,
    ) -> Result<ValueId, GraphError> {
        self.add_node(name, [input], Op::Conv(convolution))
    }

    /// Adds a transposed convolution, weight `[in, out, kh, kw]`.
    pub fn conv_transpose(
        &mut self,
        name: impl Into<String>,
        input: ValueId,
        convolution: Convolution,
    ) -> Result<ValueId, GraphError> {
        self.add_node(name, [input], Op::ConvTranspose(convolution))
    }

    /// Adds a batch normalization.
    pub fn batch_norm(
        &mut self,
        name: impl Into<String>,
        input: ValueId,
        norm: BatchNorm,
    ) -> Result<ValueId, GraphError> {
        self.add_node(name, [input], Op::BatchNorm(norm))
    }

    /// Adds `max(x, 0)`.
    pub fn relu(&mut self, name: impl Into<String>, input: ValueId) -> Result<ValueId, GraphError> {
        self.add_node(name, [input], Op::Relu)
    }

    /// Adds the logistic function.
    pub fn sigmoid(&mut self, name: impl Into<String>, input: ValueId) -> Result<ValueId, GraphError> {
        self.add_node(name, [input], Op::Sigmoid)
    }

    /// Adds a maximum over windows.
    pub fn max_pool(
        &mut self,
        name: impl Into<String>,
        input: ValueId,
        window: PoolWindow,
    ) -> Result<ValueId, GraphError> {
        self.add_node(name, [input], Op::MaxPool(window))
    }

    /// Adds the sum of two values of one shape.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        first: ValueId,
        second: ValueId,
    ) -> Result<ValueId, GraphError> {
        self.add_node(name, [first, second], Op::Add)
    }

    /// Concatenates values along the channels, in order.
    pub fn concat(
        &mut self,
        name: impl Into<String>,
        inputs: impl IntoIterator<Item = ValueId>,
    ) -> Result<ValueId, GraphError> {
        self.add_node(name, inputs, Op::Concat)
    }

    /// Adds any node.
    pub fn push(&mut self, node: Node) -> Result<ValueId, GraphError> {
        let Node { name, inputs, op } = &node;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || !name.chars().all(allowed) {
            return Err(GraphError::Name { name: name.clone() });
        }
        if self.names.contains(name) {
            return Err(GraphError::DuplicateName { name: name.clone() });
        }
        let shape = |&value: &ValueId| {
            let unknown = || GraphError::UnknownValue { node: name.clone(), value: value.index() };
            self.shape(value).ok_or_else(unknown)
        };
        let shapes = inputs.iter().map(shape).collect::<Result<Vec<_>, _>>()?;
        let output = infer(name, op, &shapes)?;
        self.names.insert(name.clone());
        self.nodes.push(node);
        self.shapes.push(output);
        Ok(ValueId::of_node(self.nodes.len() - 1))
    }

    /// The graph, with `output` as its result.
    ///
    /// # Errors
    /// If `output` does not exist, or if nothing reads some other value.
    pub fn finish(self, output: ValueId) -> Result<Graph, GraphError> {
        Graph::from_parts(self.nodes, self.shapes, output)
    }

    fn add_node(
        &mut self,
        name: impl Into<String>,
        inputs: impl IntoIterator<Item = ValueId>,
        op: Op,
    ) -> Result<ValueId, GraphError> {
        self.push(Node { name: name.into(), inputs: inputs.into_iter().collect(), op })
    }
}
