//! Integer plan: how each value of a graph is quantized to eight bits.

use std::collections::BTreeSet;

use super::{Graph, Node, Op, ValueId};

/// A number as `(level - zero_point) * scale` of a level 0 ..= 255 (Jacob et al. 2018, section 2.1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AffineQuantization {
    /// Between neighbouring levels, positive.
    pub scale: f32,
    /// The level of zero.
    pub zero_point: u8,
}

/// The greatest level.
const LEVELS: f32 = 255.0;

impl AffineQuantization {
    /// Levels spread over `range`, widened to hold zero, which has a level of its own.
    pub fn of_range(range: Range) -> Self {
        let (low, high) = (range.low.min(0.0), range.high.max(0.0));
        let scale = (high - low) / LEVELS;
        if !(scale.is_normal() && scale.is_finite()) {
            return Self { scale: 1.0 / LEVELS, zero_point: 0 };
        }
        Self { scale, zero_point: (-low / scale).round().clamp(0.0, LEVELS) as u8 }
    }

    /// `x` rounded to a level, ties to even, and back.
    pub fn round(self, x: f32) -> f32 {
        let level = (x / self.scale).round_ties_even() + f32::from(self.zero_point);
        self.value(level.clamp(0.0, LEVELS) as u8)
    }

    /// The number that `level` stands for.
    pub fn value(self, level: u8) -> f32 {
        (f32::from(level) - f32::from(self.zero_point)) * self.scale
    }
}

/// The expected minimum and maximum of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// The least.
    pub low: f32,
    /// The greatest.
    pub high: f32,
}

/// Which convolutions of a graph run in integers, and how their inputs are quantized.
#[derive(Debug, Clone, PartialEq)]
pub struct IntegerPlan {
    /// By [`ValueId`].
    affine: Vec<AffineQuantization>,
    /// Nodes that compute in float.
    float: BTreeSet<usize>,
}

impl IntegerPlan {
    /// A plan for `graph` whose values lie in `ranges`, by [`ValueId`]; convolutions at the nodes `float` keep
    /// float activations, as do those that have no integer form. Values that an operation only moves about (pooling,
    /// stacking) share one rounding.
    ///
    /// # Panics
    /// If `ranges` is shorter than the graph has values.
    pub fn new(graph: &Graph, ranges: &[Range], mut float: BTreeSet<usize>) -> Self {
        let formless = graph.nodes().iter().enumerate().filter(|(_, node)| !node.op.has_integer_form());
        float.extend(formless.map(|(index, _)| index));
        // Each class of values under one rounding is named by its least member.
        let mut class: Vec<usize> = (0..=graph.nodes().len()).collect();
        for (index, Node { inputs, op, .. }) in graph.nodes().iter().enumerate() {
            if matches!(op, Op::MaxPool(_) | Op::Concat) {
                let members: Vec<usize> = inputs
                    .iter()
                    .map(|input| input.index())
                    .chain([ValueId::of_node(index).index()])
                    .collect();
                let joined: BTreeSet<usize> = members.iter().map(|&member| class[member]).collect();
                let least = joined.first().copied().unwrap_or(0);
                class.iter_mut().filter(|class| joined.contains(class)).for_each(|class| *class = least);
            }
        }
        let affine = (0..class.len())
            .map(|value| {
                let members = (0..class.len()).filter(|&other| class[other] == class[value]);
                let widest = members
                    .map(|member| ranges[member])
                    .reduce(|a, b| Range { low: a.low.min(b.low), high: a.high.max(b.high) });
                AffineQuantization::of_range(widest.unwrap_or(ranges[value]))
            })
            .collect();
        Self { affine, float }
    }

    /// How `value` is rounded.
    pub fn affine(&self, value: ValueId) -> AffineQuantization {
        self.affine[value.index()]
    }

    /// Whether `node` computes in float.
    pub fn stays_float(&self, node: usize) -> bool {
        self.float.contains(&node)
    }
}

impl Graph {
    /// For each node, the rectifier that is the only reader of its value, if any: a convolution whose rounding has zero
    /// as its least level computes that as well.
    pub fn sole_rectifiers(&self) -> Vec<Option<usize>> {
        let mut sole = vec![None; self.nodes().len()];
        let mut readers = vec![0_usize; self.nodes().len() + 1];
        readers[self.output().index()] += 1;
        for (index, node) in self.nodes().iter().enumerate() {
            for input in &node.inputs {
                readers[input.index()] += 1;
                if let (Op::Relu, Some(made_by)) = (&node.op, input.node()) {
                    sole[made_by] = Some(index);
                }
            }
        }
        for (index, rectifier) in sole.iter_mut().enumerate() {
            if readers[ValueId::of_node(index).index()] != 1 {
                *rectifier = None;
            }
        }
        sole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tests::Sampler;

    #[test]
    fn zero_keeps_its_level_and_rounding_is_off_by_half_a_step_at_most() {
        for (low, high) in [(0.0, 6.0), (-1.0, 3.0), (2.0, 5.0), (-4.0, -1.0), (-0.01, 1000.0)] {
            let affine = AffineQuantization::of_range(Range { low, high });
            assert_eq!(affine.round(0.0), 0.0);
            for step in 0..=100 {
                let x = low + (high - low) * step as f32 / 100.0;
                assert!((affine.round(x) - x).abs() <= 0.5001 * affine.scale, "{x} in {low}..{high}");
            }
            assert_eq!(affine.round(f32::MAX), affine.value(255));
            assert_eq!(affine.round(f32::MIN), affine.value(0));
        }
        assert_eq!(AffineQuantization::of_range(Range { low: 0.0, high: 0.0 }).round(0.0), 0.0);
        assert_eq!(AffineQuantization::of_range(Range { low: 0.0, high: 6.0 }).zero_point, 0);
    }

    #[test]
    fn moved_values_share_quantization_parameters() {
        let graph = Sampler::new(3).unet(32, 32).fold_batch_norm();
        let ranges: Vec<Range> =
            (0..=graph.nodes().len()).map(|at| Range { low: 0.0, high: 1.0 + at as f32 }).collect();
        let plan = IntegerPlan::new(&graph, &ranges, BTreeSet::new());
        let value = |name: &str| {
            let index = graph.nodes().iter().position(|node| node.name == name).unwrap();
            ValueId::of_node(index)
        };
        let stacked = plan.affine(value("skip1"));
        for name in ["up1", "enc1.relu", "stem.relu", "pool"] {
            assert_eq!(plan.affine(value(name)), stacked, "{name}");
        }
        assert_ne!(plan.affine(value("deeper.relu")), stacked);
        assert_eq!(stacked.scale, (1.0 + value("skip1").index() as f32) / 255.0);
    }
}
