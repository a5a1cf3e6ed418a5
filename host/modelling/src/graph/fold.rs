//! Folding batch normalization into the convolution before it.

use super::{BatchNorm, Graph, Node, Op, ValueId};

impl Graph {
    /// Folds every batch normalization that is the only reader of a convolution, plain or transposed, into that
    /// convolution's weight and bias: the same function with fewer nodes. One that follows anything else remains.
    #[must_use]
    pub fn fold_batch_norm(self) -> Self {
        let mut readers = vec![0_usize; self.shapes.len()];
        readers[self.output.index()] += 1;
        for input in self.nodes.iter().flat_map(|node| &node.inputs) {
            readers[input.index()] += 1;
        }

        let mut nodes: Vec<Node> = Vec::with_capacity(self.nodes.len());
        let mut shapes = vec![self.shapes[0]];
        let mut renamed = vec![ValueId::INPUT];
        for (mut node, &shape) in self.nodes.into_iter().zip(&self.shapes[1..]) {
            let alone = readers[node.inputs[0].index()] == 1;
            for input in &mut node.inputs {
                *input = renamed[input.index()];
            }
            let before = node.inputs[0].node().filter(|_| alone).map(|index| &mut nodes[index].op);
            if let (Op::BatchNorm(norm), Some(op)) = (&node.op, before)
                && fold_into(op, norm)
            {
                renamed.push(node.inputs[0]);
                continue;
            }
            nodes.push(node);
            shapes.push(shape);
            renamed.push(ValueId::of_node(nodes.len() - 1));
        }
        Self { nodes, shapes, output: renamed[self.output.index()] }
    }
}

/// Folds `norm` into `op` if `op` is a convolution, and says whether it was.
fn fold_into(op: &mut Op, norm: &BatchNorm) -> bool {
    let Some((convolution, axis)) = op.convolution_mut() else {
        return false;
    };
    let affine: Vec<_> = (0..norm.scale.len()).map(|channel| norm.affine(channel)).collect();
    convolution.weight.map_along(axis, |channel, weight| (f64::from(weight) * affine[channel].0) as f32);
    for (bias, (factor, offset)) in convolution.bias.iter_mut().zip(affine) {
        *bias = (f64::from(*bias) * factor + offset) as f32;
    }
    true
}
