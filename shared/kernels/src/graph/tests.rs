use std::num::NonZeroUsize;

use tract_core::internal::*;
use tract_core::ops::cnn::{Conv, Deconv, KernelFormat, MaxPool, PaddingSpec, PoolSpec};
use tract_core::ops::math::{add, max};
use tract_core::ops::nn::{DataFormat, sigmoid};

use super::*;

fn pool(side: usize, stride: usize, padding: usize, channels: (usize, usize)) -> PoolSpec {
    PoolSpec {
        data_format: DataFormat::NCHW,
        kernel_shape: tvec![side; 2],
        padding: PaddingSpec::Explicit(tvec![padding; 2], tvec![padding; 2]),
        dilations: None,
        strides: Some(tvec![stride; 2]),
        input_channels: channels.0,
        output_channels: channels.1,
    }
}

/// Numbers without a pattern, the same at each run.
fn noise(shape: &[usize], seed: usize) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|index| (((index * 7 + seed * 31 + 1) as f32 * 12.9898).sin() * 43758.547).fract() - 0.3)
        .collect();
    Tensor::from_shape(shape, &values).unwrap()
}

/// A graph under construction.
struct Net(TypedModel);

impl Net {
    fn new(shape: [usize; 4]) -> (Self, OutletId) {
        let mut model = TypedModel::default();
        let source = model.add_source("image", f32::fact(shape)).unwrap();
        (Self(model), source)
    }

    fn wire(&mut self, name: &str, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> OutletId {
        self.0.wire_node(name, op, inputs).unwrap()[0]
    }

    fn conv(&mut self, name: &str, pool_spec: PoolSpec, group: usize, input: OutletId) -> OutletId {
        let (o, i) = (pool_spec.output_channels, pool_spec.input_channels / group);
        let side = pool_spec.kernel_shape[0];
        let weights = self.0.add_const(format!("{name}.w"), noise(&[o, i, side, side], o)).unwrap();
        let bias = self.0.add_const(format!("{name}.b"), noise(&[o], i)).unwrap();
        let op = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group, q_params: None };
        self.wire(name, op, &[input, weights, bias])
    }

    fn doubling(&mut self, name: &str, channels: (usize, usize), input: OutletId) -> OutletId {
        let (i, o) = channels;
        let weights = self.0.add_const(format!("{name}.w"), noise(&[o, i, 2, 2], i)).unwrap();
        let bias = self.0.add_const(format!("{name}.b"), noise(&[o], i)).unwrap();
        let op = Deconv {
            pool_spec: pool(2, 2, 0, channels),
            kernel_format: KernelFormat::OIHW,
            adjustments: tvec![0; 2],
            group: 1,
        };
        self.wire(name, op, &[input, weights, bias])
    }

    fn relu(&mut self, name: &str, input: OutletId) -> OutletId {
        let zero =
            self.0.add_const(format!("{name}.zero"), Tensor::zero::<f32>(&[1, 1, 1, 1]).unwrap()).unwrap();
        self.wire(name, max(), &[input, zero])
    }

    /// Compares the graph with and without our operators, and returns the names of the operators with them.
    fn check(mut self, output: OutletId, shape: [usize; 4]) -> Vec<String> {
        self.0.select_output_outlets(&[output]).unwrap();
        let model = self.0.into_decluttered().unwrap();
        let input = noise(&shape, 5);
        let expected = model.clone().into_optimized().unwrap().into_runnable().unwrap();
        let expected = expected.run(tvec!(input.clone().into())).unwrap();
        for threads in [1, 2] {
            let threads = Threads::new(NonZeroUsize::new(threads).unwrap()).unwrap();
            for isa in Isa::available() {
                let ours = replace(&model, isa, &threads).unwrap().into_optimized().unwrap();
                let plan = ours.into_runnable().unwrap();
                let mut state = plan.spawn().unwrap();
                for run in ["first", "second"] {
                    let found = state.run(tvec!(input.clone().into())).unwrap();
                    assert_close(&found[0], &expected[0], &format!("{isa}, {run} run"));
                }
            }
        }
        let ours = replace(&model, Isa::best(), &Threads::default()).unwrap().into_optimized().unwrap();
        ours.nodes().iter().map(|node| node.op.name().to_string()).collect()
    }
}

/// Within 1e-4 of each value, and of a hundredth of the greatest: sums cancel out, and tract's
/// logistic function moves in steps near zero.
fn assert_close(found: &Tensor, expected: &Tensor, what: &str) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let values = |tensor: &Tensor| tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
    let (found, expected) = (values(found), values(expected));
    let greatest = expected.iter().fold(0.0_f32, |greatest, value| greatest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let bound = 1e-4 * expected.abs().max(1e-2 * greatest);
        assert!((found - expected).abs() <= bound, "{what}, {index}: {found}, not {expected}");
    }
}

fn count(names: &[String], name: &str) -> usize {
    names.iter().filter(|it| *it == name).count()
}

#[test]
fn a_small_network_is_ours_from_end_to_end() {
    let shape = [1, 3, 24, 40];
    let (mut net, image) = Net::new(shape);
    let stem = net.conv("stem", pool(2, 2, 0, (3, 12)), 1, image);
    let stem = net.relu("stem.relu", stem);
    let fine = net.conv("fine", pool(3, 1, 1, (12, 12)), 1, stem);
    let fine = net.relu("fine.relu", fine);
    let coarse =
        net.wire("pool", MaxPool { pool_spec: pool(2, 2, 0, (12, 12)), with_index_outputs: None }, &[fine]);
    let coarse = net.conv("coarse", pool(3, 1, 1, (12, 20)), 1, coarse);
    let up = net.doubling("up", (20, 12), coarse);
    let up = net.relu("up.relu", up);
    let sum = net.wire("sum", add(), &[up, fine]);
    let head = net.doubling("head", (12, 3), sum);
    let output = net.wire("probabilities", sigmoid(), &[head]);
    let names = net.check(output, shape);
    assert_eq!(count(&names, "NucleiConv"), 5, "{names:?}");
    assert_eq!(count(&names, "NucleiMaxPool"), 1, "{names:?}");
    assert_eq!(count(&names, "NucleiLayout"), 1, "{names:?}");
    assert_eq!(names.len(), 9, "{names:?}");
}

#[test]
fn what_is_unknown_stays_tracts() {
    let shape = [1, 4, 16, 16];
    let (mut net, image) = Net::new(shape);
    let known = net.conv("known", pool(3, 1, 1, (4, 8)), 1, image);
    let wide = net.conv("wide", pool(5, 1, 2, (8, 8)), 1, known);
    let grouped = net.conv("grouped", pool(3, 1, 1, (8, 8)), 2, wide);
    let strided = net.conv("strided", pool(3, 2, 1, (8, 8)), 1, grouped);
    let last = net.conv("last", pool(3, 1, 1, (8, 8)), 1, strided);
    let names = net.check(last, shape);
    assert_eq!(count(&names, "NucleiConv"), 2, "{names:?}");
}

#[test]
fn a_value_read_twice_is_not_fused_away() {
    let shape = [1, 4, 8, 8];
    let (mut net, image) = Net::new(shape);
    let first = net.conv("first", pool(3, 1, 1, (4, 4)), 1, image);
    let rectified = net.relu("relu", first);
    let second = net.conv("second", pool(3, 1, 1, (4, 4)), 1, rectified);
    let sum = net.wire("sum", add(), &[second, first]);
    let doubled = net.wire("doubled", add(), &[sum, sum]);
    let names = net.check(doubled, shape);
    assert_eq!(count(&names, "NucleiConv"), 2, "{names:?}");
}
