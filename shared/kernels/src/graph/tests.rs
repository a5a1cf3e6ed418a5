use std::num::NonZeroUsize;

use tract_core::internal::*;
use tract_core::ops::array::TypedConcat;
use tract_core::ops::change_axes::AxisOp;
use tract_core::ops::cnn::{Conv, Deconv, KernelFormat, MaxPool, PaddingSpec, PoolSpec};
use tract_core::ops::math::{add, max};
use tract_core::ops::nn::{DataFormat, sigmoid};
use tract_core::ops::quant::{DequantizeLinearF32, quantize_linear_u8};

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

    fn constant(&mut self, name: String, value: impl Into<Tensor>) -> OutletId {
        self.0.add_const(name, value.into()).unwrap()
    }

    /// A convolution of quantized values whose zeros are at `zeros`, read and made, with scales that keep the quantized values spread.
    fn byte_conv(&mut self, name: &str, pool_spec: PoolSpec, zeros: (i32, i32), input: OutletId) -> OutletId {
        self.byte_conv_alike(name, pool_spec, zeros, 4, input)
    }

    /// As [`Net::byte_conv`], every `alike` channels having one scale and one bias.
    fn byte_conv_alike(
        &mut self,
        name: &str,
        pool_spec: PoolSpec,
        zeros: (i32, i32),
        alike: usize,
        input: OutletId,
    ) -> OutletId {
        let (o, i, side) = (pool_spec.output_channels, pool_spec.input_channels, pool_spec.kernel_shape[0]);
        let weights: Vec<i8> =
            (0..o * i * side * side).map(|at| ((at * 7919 + i) % 255) as i16 as i8).collect();
        let weights: Vec<i8> = weights.into_iter().map(|weight| weight.max(-127)).collect();
        let bias: Vec<i32> = (0..o).map(|at| ((at / alike) as i32 * 977) % 4001 - 2000).collect();
        let scales: Vec<f32> = (0..o).map(|at| 0.01 + (at / alike) as f32 * 1e-4).collect();
        let weights =
            self.constant(format!("{name}.w"), Tensor::from_shape(&[o, i, side, side], &weights).unwrap());
        let bias = self.constant(format!("{name}.b"), tensor1(&bias));
        let read_zero = self.constant(format!("{name}.x0"), tensor0(zeros.0));
        let read_scale = self.constant(format!("{name}.xs"), tensor0(0.02_f32));
        let weight_zero = self.constant(format!("{name}.w0"), tensor1(&vec![0_i32; o]));
        let weight_scale = self.constant(format!("{name}.ws"), tensor1(&scales));
        let made_zero = self.constant(format!("{name}.y0"), tensor0(zeros.1));
        let made_scale = self.constant(format!("{name}.ys"), tensor0(MADE_SCALE));
        let q_params = Some(u8::datum_type());
        let op = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: 1, q_params };
        let inputs =
            [input, weights, bias, read_zero, read_scale, weight_zero, weight_scale, made_zero, made_scale];
        self.wire(name, op, &inputs)
    }

    /// Each four channels to 2x2 pixels.
    fn shuffle(&mut self, name: &str, input: OutletId) -> OutletId {
        let shape = self.0.outlet_fact(input).unwrap().shape.to_tvec();
        let (o, y, x) = (shape[1].clone() / 4, shape[2].clone(), shape[3].clone());
        let two = || 2.to_dim();
        let parted = tvec![o, two(), two()];
        let part = AxisOp::Reshape(1, tvec![shape[1].clone()], parted);
        let join_y = AxisOp::Reshape(2, tvec![y.clone(), two()], tvec![y * 2]);
        let join_x = AxisOp::Reshape(3, tvec![x.clone(), two()], tvec![x * 2]);
        let mut at = input;
        for (index, op) in
            [part, AxisOp::Move(4, 2), AxisOp::Move(4, 5), join_y, join_x].into_iter().enumerate()
        {
            at = self.wire(&format!("{name}.{index}"), op, &[at]);
        }
        at
    }

    fn numbers(&mut self, name: &str, zero: i32, input: OutletId) -> OutletId {
        self.wire(name, DequantizeLinearF32 { scale: MADE_SCALE, zero_point: zero }, &[input])
    }

    fn levels(&mut self, name: &str, zero: u8, input: OutletId) -> OutletId {
        self.wire(name, quantize_linear_u8(1.0 / MADE_SCALE, zero), &[input])
    }

    /// What a convolution of squares makes of the sum of quantized values whose zeros are at 60 and 70, eight channels each.
    fn squares_of_sum(&mut self, one: OutletId, other: OutletId) -> OutletId {
        let one = self.numbers("one.numbers", 60, one);
        let other = self.numbers("other.numbers", 70, other);
        let sum = self.wire("sum", add(), &[other, one]);
        let sum = self.levels("sum.levels", 30, sum);
        let last = self.byte_conv("last", pool(2, 2, 0, (8, 8)), (30, 90), sum);
        self.numbers("output", 90, last)
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
                let ours = fuse(&model, isa, &threads).unwrap().into_optimized().unwrap();
                let plan = ours.into_runnable().unwrap();
                let mut state = plan.spawn().unwrap();
                for run in ["first", "second"] {
                    let found = state.run(tvec!(input.clone().into())).unwrap();
                    assert_close(&found[0], &expected[0], &format!("{isa}, {run} run"));
                }
            }
        }
        let ours = fuse(&model, Isa::best(), &Threads::default()).unwrap().into_optimized().unwrap();
        ours.nodes().iter().map(|node| node.op.name().to_string()).collect()
    }
}

/// Of the quantized values that test convolutions make.
const MADE_SCALE: f32 = 0.25;

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
fn unknown_operators_are_left_to_tract() {
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

fn max_pool(channels: usize) -> MaxPool {
    MaxPool { pool_spec: pool(2, 2, 0, (channels, channels)), with_index_outputs: None }
}

#[test]
fn a_network_in_bytes_is_ours_from_end_to_end() {
    let shape = [1, 3, 24, 40];
    let (mut net, image) = Net::new(shape);
    let levels = net.levels("levels", 12, image);
    let stem = net.byte_conv("stem", pool(2, 2, 0, (3, 12)), (12, 3), levels);
    let fine = net.byte_conv("fine", pool(3, 1, 1, (12, 12)), (3, 100), stem);
    let coarse = net.wire("pool", max_pool(12), &[fine]);
    let coarse = net.byte_conv("coarse", pool(3, 1, 1, (12, 20)), (100, 7), coarse);
    let up = net.byte_conv("up", pool(1, 1, 0, (20, 48)), (7, 50), coarse);
    let up = net.shuffle("up", up);
    let (up, fine) = (net.numbers("up.numbers", 50, up), net.numbers("fine.numbers", 100, fine));
    let sum = net.wire("sum", add(), &[up, fine]);
    let sum = net.levels("sum.levels", 30, sum);
    let head = net.byte_conv("head", pool(1, 1, 0, (12, 3)), (30, 128), sum);
    let head = net.numbers("head.numbers", 128, head);
    let output = net.wire("probabilities", sigmoid(), &[head]);
    let names = net.check(output, shape);
    assert_eq!(count(&names, "NucleiQuantizedConv"), 5, "{names:?}");
    assert_eq!(count(&names, "NucleiQuantizedMaxPool"), 1, "{names:?}");
    assert_eq!(count(&names, "NucleiQuantize"), 1, "{names:?}");
    assert_eq!(names.len(), 9, "{names:?}");
}

#[test]
fn stacked_skips_stay_in_our_form() {
    let shape = [1, 4, 12, 20];
    let (mut net, image) = Net::new(shape);
    let levels = net.levels("levels", 0, image);
    let first = net.byte_conv("first", pool(3, 1, 1, (4, 8)), (0, 9), levels);
    let second = net.byte_conv("second", pool(3, 1, 1, (8, 6)), (9, 9), first);
    let stacked = net.wire("stacked", TypedConcat::new(1), &[first, second]);
    let last = net.byte_conv("last", pool(3, 1, 1, (14, 5)), (9, 40), stacked);
    let numbers = net.numbers("numbers", 40, last);
    let float = net.conv("float", pool(3, 1, 1, (5, 8)), 1, numbers);
    let stacked = net.wire("floats", TypedConcat::new(1), &[numbers, float]);
    let output = net.conv("output", pool(3, 1, 1, (13, 2)), 1, stacked);
    let names = net.check(output, shape);
    assert_eq!(count(&names, "NucleiConcat"), 2, "{names:?}");
    assert_eq!(count(&names, "NucleiQuantizedConv"), 3, "{names:?}");
}

#[test]
fn bytes_of_an_unknown_kind_stay_tracts() {
    let shape = [1, 4, 8, 12];
    let (mut net, image) = Net::new(shape);
    let levels = net.levels("levels", 5, image);
    // Two readers see different zeros.
    let one = net.byte_conv("one", pool(3, 1, 1, (4, 16)), (5, 60), levels);
    let other = net.byte_conv("other", pool(3, 1, 1, (4, 16)), (6, 60), levels);
    // A doubling has one scale and one bias for each channel.
    let apart = net.byte_conv_alike("apart", pool(1, 1, 0, (16, 16)), (60, 70), 1, one);
    let apart = net.shuffle("apart.pixels", apart);
    let wide = net.byte_conv("wide", pool(5, 1, 2, (16, 16)), (60, 70), other);
    let wide = net.shuffle("wide.pixels", wide);
    let (apart, wide) = (net.numbers("apart.numbers", 70, apart), net.numbers("wide.numbers", 70, wide));
    let output = net.wire("sum", add(), &[apart, wide]);
    let names = net.check(output, shape);
    assert_eq!(count(&names, "NucleiQuantizedConv"), 2, "{names:?}");
}

#[test]
fn levels_that_another_layer_has_taken_are_not_asked_for() {
    let shape = [1, 4, 8, 12];
    let (mut net, image) = Net::new(shape);
    let levels = net.levels("levels", 5, image);
    // Only the sum reads both summands: the first one is dequantized.
    let one = net.byte_conv("one", pool(3, 1, 1, (4, 8)), (5, 60), levels);
    let other = net.byte_conv("other", pool(3, 1, 1, (4, 8)), (5, 70), levels);
    let output = net.squares_of_sum(one, other);
    let names = net.check(output, shape);
    assert!(count(&names, "NucleiQuantizedConv") >= 2, "{names:?}");
}

#[test]
fn squares_of_a_sum_stay_tracts() {
    let shape = [1, 4, 8, 12];
    let (mut net, image) = Net::new(shape);
    let levels = net.levels("levels", 5, image);
    let one = net.byte_conv("one", pool(3, 1, 1, (4, 8)), (5, 60), levels);
    let other = net.byte_conv("other", pool(3, 1, 1, (8, 8)), (60, 70), one);
    let output = net.squares_of_sum(one, other);
    let names = net.check(output, shape);
    assert_eq!(count(&names, "NucleiQuantizedConv"), 2, "{names:?}");
}
