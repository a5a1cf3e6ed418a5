//! The cost of a graph.

use super::{Graph, Node, Op, ValueId};

/// The multiply-accumulates of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeMacs<'a> {
    /// The node's name.
    pub name: &'a str,
    /// Multiply-accumulates per input.
    pub macs: u64,
}

impl Graph {
    /// Multiply-accumulates of every node, in evaluation order; only convolutions have
    /// any. Windows over padding count in full.
    pub fn node_macs(&self) -> impl Iterator<Item = NodeMacs<'_>> {
        self.nodes
            .iter()
            .enumerate()
            .map(|(index, node)| NodeMacs { name: &node.name, macs: self.macs_of(index, node) })
    }

    /// Multiply-accumulates of the network for one input.
    pub fn macs(&self) -> u64 {
        self.node_macs().map(|node| node.macs).fold(0, u64::saturating_add)
    }

    /// Trained numbers: weights, biases, and the scale and shift of batch normalization.
    pub fn parameters(&self) -> u64 {
        let count = |node: &Node| match &node.op {
            Op::Conv(c) | Op::ConvTranspose(c) => c.weight.data().len() + c.bias.len(),
            Op::BatchNorm(norm) => norm.scale.len() + norm.shift.len(),
            _ => 0,
        };
        self.nodes.iter().map(count).map(|count| count as u64).sum()
    }

    fn macs_of(&self, index: usize, node: &Node) -> u64 {
        // Each pixel of the output (plain) or the input (transposed) meets every weight once.
        let (convolution, pixels) = match &node.op {
            Op::Conv(convolution) => (convolution, self.shape(ValueId::of_node(index)).pixels()),
            Op::ConvTranspose(convolution) => (convolution, self.shape(node.inputs[0]).pixels()),
            _ => return 0,
        };
        (convolution.weight.data().len() as u64).saturating_mul(pixels as u64)
    }
}
