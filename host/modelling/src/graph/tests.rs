use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Random graphs and images, the same for the same seed.
pub(crate) struct Sampler(SmallRng);

impl Sampler {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    pub(crate) fn values(&mut self, len: usize, low: f32, high: f32) -> Vec<f32> {
        (0..len).map(|_| self.0.random_range(low..high)).collect()
    }

    /// Weights that keep the variance of what they see (He et al. 2015).
    fn weight(&mut self, shape: [usize; 4], fan_in: usize) -> Tensor4 {
        let bound = (6.0 / fan_in as f32).sqrt();
        Tensor4::new(shape, self.values(shape.iter().product(), -bound, bound)).unwrap()
    }

    fn conv(&mut self, [out, taken, kernel, stride, padding]: [usize; 5]) -> Convolution {
        let weight = self.weight([out, taken, kernel, kernel], taken * kernel * kernel);
        Convolution { weight, bias: self.values(out, -0.2, 0.2), stride, padding }
    }

    fn conv_transpose(&mut self, [taken, out, kernel, stride, padding]: [usize; 5]) -> Convolution {
        let taps = (kernel * kernel).div_ceil(stride * stride);
        let weight = self.weight([taken, out, kernel, kernel], taken * taps);
        Convolution { weight, bias: self.values(out, -0.2, 0.2), stride, padding }
    }

    fn batch_norm(&mut self, channels: usize) -> BatchNorm {
        BatchNorm {
            scale: self.values(channels, 0.5, 1.5),
            shift: self.values(channels, -0.3, 0.3),
            mean: self.values(channels, -0.3, 0.3),
            var: self.values(channels, 0.3, 2.0),
            eps: 1e-5,
        }
    }

    /// A small U-Net with every operation: stride-2 stem, pooling and strided descent,
    /// transposed ascent, added and concatenated skips, foldable and other norms.
    pub(crate) fn unet(&mut self, height: usize, width: usize) -> Graph {
        let mut b = GraphBuilder::new(ValueShape::new(3, height, width).unwrap()).unwrap();
        let block = |b: &mut GraphBuilder, s: &mut Self, name: &str, input, sizes: [usize; 5]| {
            let x = b.conv(format!("{name}.conv"), input, s.conv(sizes)).unwrap();
            let x = b.batch_norm(format!("{name}.norm"), x, s.batch_norm(sizes[0])).unwrap();
            b.relu(format!("{name}.relu"), x).unwrap()
        };
        let stem = block(&mut b, self, "stem", ValueId::INPUT, [8, 3, 2, 2, 0]);
        let enc1 = block(&mut b, self, "enc1", stem, [16, 8, 3, 1, 1]);
        let pool = b.max_pool("pool", enc1, PoolWindow::apart(2)).unwrap();
        let enc2 = block(&mut b, self, "enc2", pool, [32, 16, 3, 1, 1]);
        let deep = block(&mut b, self, "deep", enc2, [64, 32, 3, 2, 1]);
        let deep = block(&mut b, self, "deeper", deep, [64, 64, 3, 1, 1]);

        let up2 = b.conv_transpose("up2", deep, self.conv_transpose([64, 32, 2, 2, 0])).unwrap();
        let up2 = b.batch_norm("up2.norm", up2, self.batch_norm(32)).unwrap();
        let sum = b.add("skip2", up2, enc2).unwrap();
        let sum = b.batch_norm("skip2.norm", sum, self.batch_norm(32)).unwrap();
        let up1 = b.conv_transpose("up1", sum, self.conv_transpose([32, 16, 4, 2, 1])).unwrap();
        let cat = b.concat("skip1", [up1, enc1, stem]).unwrap();
        let dec1 = block(&mut b, self, "dec1", cat, [16, 40, 3, 1, 1]);
        let same = b.conv_transpose("smooth", dec1, self.conv_transpose([16, 8, 3, 1, 1])).unwrap();
        let head = b.conv_transpose("head", same, self.conv_transpose([8, 2, 2, 2, 0])).unwrap();
        let probabilities = b.sigmoid("sigmoid", head).unwrap();
        b.finish(probabilities).unwrap()
    }
}

pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn shape(channels: usize, height: usize, width: usize) -> ValueShape {
    ValueShape::new(channels, height, width).unwrap()
}

fn convolution(weight: [usize; 4], data: &[f32], bias: &[f32], stride_padding: [usize; 2]) -> Convolution {
    let [stride, padding] = stride_padding;
    let weight = Tensor4::new(weight, data.to_vec()).unwrap();
    Convolution { weight, bias: bias.to_vec(), stride, padding }
}

fn single(input: ValueShape, op: Op) -> Result<Graph, GraphError> {
    let node = Node { name: "node".into(), inputs: vec![ValueId::INPUT], op };
    Graph::new(input, [node], ValueId::of_node(0))
}

#[test]
fn output_lengths_follow_the_formulas() {
    // (input, kernel, stride, padding), plain, transposed
    let cases = [
        ((5, 3, 2, 1), Some(3), Some(9)),
        ((6, 3, 2, 1), Some(3), Some(11)),
        ((3, 3, 2, 1), Some(2), Some(5)),
        ((256, 3, 1, 1), Some(256), Some(256)),
        ((256, 2, 2, 0), Some(128), Some(512)),
        ((5, 3, 1, 0), Some(3), Some(7)),
        ((5, 4, 1, 2), Some(6), Some(4)),
        ((1, 3, 1, 0), None, Some(3)),
        ((1, 1, 1, 1), Some(3), None),
        ((4, 0, 1, 0), None, None),
        ((4, 2, 0, 0), None, None),
        ((0, 1, 1, 0), None, None),
        ((4, 1, 1, usize::MAX), None, None),
        ((usize::MAX, 1, 2, 0), Some(usize::MAX / 2 + 1), None),
    ];
    for ((i, k, s, p), plain, transposed) in cases {
        assert_eq!(conv_output(i, k, s, p), plain, "plain {i} {k} {s} {p}");
        assert_eq!(conv_transpose_output(i, k, s, p), transposed, "transposed {i} {k} {s} {p}");
    }
    // With stride 1: i' + (k - 1) - 2p.
    for (i, k, p) in [(5, 3, 0), (5, 3, 1), (7, 5, 2), (2, 1, 0)] {
        assert_eq!(conv_transpose_output(i, k, 1, p), Some(i + (k - 1) - 2 * p));
    }
}

#[test]
fn operations_match_values_worked_by_hand() {
    let input = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
    let square = shape(1, 3, 3);
    let corner = [1.0, 0.0, 0.0, 10.0];
    let plain = Op::Conv(convolution([1, 1, 2, 2], &corner, &[0.5], [1, 0]));
    let padded = Op::Conv(convolution([1, 1, 2, 2], &corner, &[0.0], [2, 1]));
    let spread = Op::ConvTranspose(convolution([1, 1, 2, 2], &corner, &[0.5], [2, 2]));
    let overlap = Op::ConvTranspose(convolution([1, 1, 2, 2], &[1.0; 4], &[0.0], [1, 1]));
    let norm = Op::BatchNorm(BatchNorm {
        scale: vec![2.0],
        shift: vec![1.0],
        mean: vec![5.0],
        var: vec![3.0],
        eps: 1.0,
    });
    let cases: [(Op, ValueShape, &[f32]); 7] = [
        (plain, shape(1, 2, 2), &[51.5, 62.5, 84.5, 95.5]),
        (padded, shape(1, 2, 2), &[10.0, 30.0, 70.0, 95.0]),
        (spread, shape(1, 2, 2), &[5.5, 0.5, 0.5, 50.5]),
        (overlap, shape(1, 2, 2), &[12.0, 16.0, 24.0, 28.0]),
        (Op::MaxPool(PoolWindow::apart(2)), shape(1, 1, 1), &[5.0]),
        (Op::MaxPool(PoolWindow { size: 3, stride: 2, padding: 1 }), shape(1, 2, 2), &[5.0, 6.0, 8.0, 9.0]),
        (norm, square, &[-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
    ];
    for (op, expected_shape, expected) in cases {
        let graph = single(square, op.clone()).unwrap();
        assert_eq!(graph.shape(graph.output()), expected_shape, "{op:?}");
        assert_eq!(graph.evaluate(&input).unwrap(), expected, "{op:?}");
    }
    let sigmoid = single(shape(1, 1, 2), Op::Sigmoid).unwrap();
    assert_eq!(sigmoid.evaluate(&[0.0, -200.0]).unwrap(), [0.5, 0.0]);
    let relu = single(shape(1, 1, 2), Op::Relu).unwrap();
    assert_eq!(relu.evaluate(&[-1.0, 2.0]).unwrap(), [0.0, 2.0]);
}

#[test]
fn channels_keep_their_places() {
    // Two inputs to three outputs, plain [out, in] and transposed [in, out].
    let plain = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0];
    let transposed = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0];
    let bias = [100.0, 200.0, 300.0];
    for op in [
        Op::Conv(convolution([3, 2, 1, 1], &plain, &bias, [1, 0])),
        Op::ConvTranspose(convolution([2, 3, 1, 1], &transposed, &bias, [1, 0])),
    ] {
        let graph = single(shape(2, 1, 1), op).unwrap();
        assert_eq!(graph.evaluate(&[1.0, 2.0]).unwrap(), [121.0, 242.0, 363.0]);
    }
}

#[test]
fn graphs_that_cannot_run_are_refused() {
    let input = shape(2, 4, 4);
    let conv = || convolution([3, 2, 3, 3], &[0.5; 54], &[0.0; 3], [1, 1]);
    let norm = || BatchNorm {
        scale: vec![1.0; 2],
        shift: vec![0.0; 2],
        mean: vec![0.0; 2],
        var: vec![1.0; 2],
        eps: 1e-5,
    };
    let nan = convolution([1, 2, 1, 1], &[f32::NAN, 0.0], &[0.0], [1, 0]);
    let cases = [
        (Op::ConvTranspose(conv()), "node: input channels is 2, expected 3"),
        (Op::Conv(Convolution { bias: vec![0.0; 2], ..conv() }), "node: length of the bias is 2, expected 3"),
        (Op::Conv(Convolution { stride: 0, ..conv() }), "node: the window does not fit an input of 4x4"),
        (Op::MaxPool(PoolWindow::apart(5)), "node: the window does not fit an input of 4x4"),
        (
            Op::MaxPool(PoolWindow { size: 2, stride: 2, padding: 2 }),
            "node: the window does not fit an input of 4x4",
        ),
        (Op::MaxPool(PoolWindow::apart(0)), "node: the window does not fit an input of 4x4"),
        (Op::Conv(nan), "node: weight has a value out of range"),
        (
            Op::BatchNorm(BatchNorm { var: vec![1.0, -1.0], ..norm() }),
            "node: var + eps has a value out of range",
        ),
        (
            Op::BatchNorm(BatchNorm { mean: vec![0.0], ..norm() }),
            "node: length of a batch-norm parameter is 1, expected 2",
        ),
        (Op::Add, "node expects two inputs, got 1"),
    ];
    for (op, message) in cases {
        assert_eq!(single(input, op).unwrap_err().to_string(), message);
    }
    assert!(ValueShape::new(1, 0, 1).is_err());
    assert!(ValueShape::new(1 << 16, 1 << 16, 1).is_err());
    assert!(Tensor4::new([1, 2, 3, 4], vec![0.0; 23]).is_err());
    assert!(Tensor4::new([0, 2, 3, 4], vec![]).is_err());
}

#[test]
fn wiring_is_checked() {
    let mut b = GraphBuilder::new(shape(1, 4, 4)).unwrap();
    let x = b.relu("x", ValueId::INPUT).unwrap();
    let duplicate = b.relu("x", x).unwrap_err();
    assert_eq!(duplicate, GraphError::DuplicateName { name: "x".into() });
    for name in ["", "a/b", "a b", "é"] {
        assert_eq!(b.relu(name, x).unwrap_err(), GraphError::Name { name: name.into() });
    }
    let unknown = b.add("y", x, ValueId::of_node(7)).unwrap_err();
    assert_eq!(unknown, GraphError::UnknownValue { node: "y".into(), value: 8 });
    let pooled = b.max_pool("pooled", x, PoolWindow::apart(2)).unwrap();
    assert_eq!(b.clone().finish(x).unwrap_err(), GraphError::Unread { node: "pooled".into() });
    assert_eq!(b.clone().finish(ValueId::INPUT).unwrap_err(), GraphError::NoNode);
    for result in [b.add("sum", x, pooled), b.concat("cat", [x, pooled])] {
        assert!(matches!(result, Err(GraphError::Mismatch { expected: 4, actual: 2, .. })));
    }
    assert!(matches!(b.concat("cat", []), Err(GraphError::InputCount { .. })));
    let graph = b.finish(pooled).unwrap();
    assert_eq!(Graph::new(graph.input_shape(), graph.nodes().to_vec(), graph.output()).unwrap(), graph);
    let length = GraphError::InputLength { expected: 16, actual: 3 };
    assert_eq!(graph.evaluate(&[0.0; 3]).unwrap_err(), length);
}

#[test]
fn cost_counts_what_a_convolution_multiplies() {
    let input = shape(2, 4, 6);
    let conv = convolution([3, 2, 3, 3], &[0.5; 54], &[0.0; 3], [2, 1]);
    let transposed = convolution([2, 3, 2, 2], &[0.5; 24], &[0.0; 3], [2, 0]);
    // (operation, multiply-accumulates, parameters)
    let cases = [
        (Op::Conv(conv), 3 * 2 * 3 * 3 * 2 * 3, 54 + 3),
        (Op::ConvTranspose(transposed), 2 * 4 * 6 * 3 * 2 * 2, 24 + 3),
        (Op::MaxPool(PoolWindow::apart(2)), 0, 0),
    ];
    for (op, macs, parameters) in cases {
        let graph = single(input, op).unwrap();
        assert_eq!((graph.macs(), graph.parameters()), (macs, parameters));
    }
    let graph = Sampler::new(1).unet(32, 32);
    assert_eq!(graph.macs(), graph.node_macs().map(|node| node.macs).sum::<u64>());
    assert_eq!(graph.node_macs().next(), Some(NodeMacs { name: "stem.conv", macs: 8 * 12 * 256 }));
}

#[test]
fn folding_keeps_the_function() {
    let mut sampler = Sampler::new(2);
    let graph = sampler.unet(32, 48);
    let folded = graph.clone().fold_batch_norm();
    let norms = |graph: &Graph| {
        let norm = |node: &&Node| matches!(node.op, Op::BatchNorm(_));
        graph.nodes().iter().filter(norm).map(|node| node.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(norms(&graph).len(), 8);
    assert_eq!(norms(&folded), ["skip2.norm"]);
    assert_eq!(Graph::new(folded.input_shape(), folded.nodes().to_vec(), folded.output()).unwrap(), folded);

    let image = sampler.values(graph.input_shape().elements(), 0.0, 1.0);
    let difference = largest_difference(&graph.evaluate(&image).unwrap(), &folded.evaluate(&image).unwrap());
    assert!(difference < 1e-5, "{difference}");
}

#[test]
fn a_shared_convolution_is_not_folded() {
    let norm = BatchNorm { scale: vec![2.0], shift: vec![1.0], mean: vec![0.0], var: vec![1.0], eps: 1e-5 };
    let mut b = GraphBuilder::new(shape(1, 2, 2)).unwrap();
    let conv = convolution([1, 1, 1, 1], &[3.0], &[0.0], [1, 0]);
    let x = b.conv("conv", ValueId::INPUT, conv.clone()).unwrap();
    let y = b.batch_norm("norm", x, norm.clone()).unwrap();
    let sum = b.add("sum", x, y).unwrap();
    let graph = b.finish(sum).unwrap();
    assert_eq!(graph.clone().fold_batch_norm(), graph);

    // A chain folds into one node, which is then the output.
    let mut b = GraphBuilder::new(shape(1, 2, 2)).unwrap();
    let x = b.conv("conv", ValueId::INPUT, conv).unwrap();
    let x = b.batch_norm("norm1", x, norm.clone()).unwrap();
    let x = b.batch_norm("norm2", x, norm).unwrap();
    let folded = b.finish(x).unwrap().fold_batch_norm();
    assert_eq!((folded.nodes().len(), folded.output()), (1, ValueId::of_node(0)));
    assert!(largest_difference(&folded.evaluate(&[1.0; 4]).unwrap(), &[15.0; 4]) < 1e-3);
}

#[test]
fn weights_round_to_their_channel() {
    // Channels along axis 0: scales 1, 0 (then 1) and 2; ties go to even.
    let data = [127.0, -127.0, 0.5, 1.5, 0.0, 0.0, 0.0, 0.0, -254.0, 2.0, 3.0, 5.0];
    let levels = [127, -127, 0, 2, 0, 0, 0, 0, -127, 1, 2, 2];
    let plain = Tensor4::new([3, 1, 2, 2], data.to_vec()).unwrap();
    let quantized = QuantizedWeight::from_weight(&plain, 0);
    assert_eq!(quantized.values, levels);
    assert_eq!(quantized.scales, [1.0, 1.0, 2.0]);
    let transposed = Tensor4::new([1, 3, 2, 2], data.to_vec()).unwrap();
    let transposed = QuantizedWeight::from_weight(&transposed, 1);
    assert_eq!((transposed.values, transposed.scales), (quantized.values, quantized.scales));
}

#[test]
fn rounding_reports_its_noise() {
    let graph = Sampler::new(3).unet(32, 32).fold_batch_norm();
    let layers = graph.quantize_weights();
    let convolutions = graph.nodes().iter().filter(|node| node.op.convolution().is_some());
    assert!(convolutions.map(|node| &node.name).eq(layers.iter().map(|layer| &layer.name)));
    for layer in &layers {
        // A uniform signal over 255 levels: 10 log10(4 * 127^2) = 48.1 dB.
        assert!((46.0..52.0).contains(&layer.sqnr_db), "{} {}", layer.name, layer.sqnr_db);
        assert!(layer.weight.scales.iter().all(|&scale| scale > 0.0));
    }
    let rounded = graph.round_weights();
    let again = rounded.quantize_weights();
    assert!(again.iter().all(|layer| layer.sqnr_db > 120.0));
    assert!(again.iter().zip(&layers).all(|(a, b)| a.weight.values == b.weight.values));
}
