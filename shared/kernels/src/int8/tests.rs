use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;

/// Miri is thousands of times slower, and threads of a pool are beyond it.
const CASES: u32 = if cfg!(miri) { 12 } else { 400 };
const THREADS: usize = if cfg!(miri) { 1 } else { 3 };

fn affine() -> impl Strategy<Value = QuantParams> {
    let zero_point = prop_oneof![Just(0), Just(255), any::<u8>()];
    (1e-3_f32..0.5, zero_point).prop_map(|(scale, zero_point)| QuantParams { scale, zero_point })
}

fn rounding() -> impl Strategy<Value = Quantizer> {
    affine().prop_map(|QuantParams { scale, zero_point }| Quantizer { inverse: scale.recip(), zero_point })
}

fn epilogue() -> impl Strategy<Value = Epilogue> {
    let sum = (affine(), rounding()).prop_map(|(skip, sum)| Epilogue::AddRequantize { skip, sum });
    prop_oneof![Just(Epilogue::Requantize), sum, Just(Epilogue::Dequantize)]
}

fn weight() -> impl Strategy<Value = i8> {
    prop_oneof![-127..=127_i8, Just(-127), Just(127), Just(0)]
}

/// A convolution and what it reads, row-major.
#[derive(Debug, Clone)]
struct Case {
    spec: QuantizedConvSpec,
    weights_oihw: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<i32>,
    input: Vec<u8>,
    skip: Vec<u8>,
    threads: usize,
}

fn cases() -> impl Strategy<Value = Case> {
    let forms =
        prop_oneof![Just(ConvKind::Conv1x1), Just(ConvKind::Conv3x3), Just(ConvKind::ConvTranspose2x2)];
    let sizes = (1..20_usize, 1..20_usize, 1..9_usize, 1..40_usize);
    (forms, sizes, affine(), affine(), epilogue(), 1..=THREADS).prop_flat_map(
        |(kind, (read, channels, height, width), affine_read, made, epilogue, threads)| {
            let spec = QuantizedConvSpec {
                kind,
                input: [read, height, width],
                read: affine_read,
                channels,
                made,
                epilogue,
            };
            let [made_height, made_width] = [height, width].map(|side| side * kind.scale());
            let side = kind.side();
            (
                prop::collection::vec(weight(), channels * read * side * side),
                prop::collection::vec(1e-5_f32..2e-3, channels),
                prop::collection::vec(-50_000..50_000_i32, channels),
                prop::collection::vec(any::<u8>(), read * height * width),
                prop::collection::vec(any::<u8>(), channels * made_height * made_width),
            )
                .prop_map(move |(weights_oihw, scales, bias, input, skip)| Case {
                    spec,
                    weights_oihw,
                    scales,
                    bias,
                    input,
                    skip,
                    threads,
                })
        },
    )
}

/// Quantized values, or the bits of floats.
#[derive(Debug, Clone, PartialEq)]
enum Made {
    Levels(Vec<u8>),
    Floats(Vec<u32>),
}

fn round(value: f32, zero_point: u8) -> u8 {
    (value.round_ties_even() as i32 + i32::from(zero_point)).clamp(0, 255) as u8
}

fn number(level: u8, zero_point: u8, scale: f32) -> f32 {
    (i32::from(level) - i32::from(zero_point)) as f32 * scale
}

impl Case {
    fn shape(&self) -> [usize; 3] {
        let [_, height, width] = self.spec.input;
        let scale = self.spec.kind.scale();
        [self.spec.channels, height * scale, width * scale]
    }

    fn weights(&self) -> QuantizedWeights<'_> {
        QuantizedWeights { values_oihw: &self.weights_oihw, scales: &self.scales, bias: &self.bias }
    }

    /// The sum of an output's products, by the definition.
    fn sum(&self, o: usize, y: usize, x: usize) -> i64 {
        let QuantizedConvSpec { kind, input: [channels, height, width], read, .. } = self.spec;
        let side = kind.side();
        let mut sum = i64::from(self.bias[o]);
        for i in 0..channels {
            for ky in 0..side {
                for kx in 0..side {
                    let at = match kind {
                        ConvKind::Conv1x1 => Some((y, x)),
                        ConvKind::Conv3x3 => (y + ky).checked_sub(1).zip((x + kx).checked_sub(1)),
                        ConvKind::ConvTranspose2x2 => (y % 2 == ky && x % 2 == kx).then_some((y / 2, x / 2)),
                    };
                    let Some((y, x)) = at.filter(|&(y, x)| y < height && x < width) else { continue };
                    let level = i64::from(self.input[(i * height + y) * width + x]);
                    let weight = i64::from(self.weights_oihw[((o * channels + i) * side + ky) * side + kx]);
                    sum += weight * (level - i64::from(read.zero_point));
                }
            }
        }
        sum
    }

    /// What the definition says.
    fn expected(&self) -> Made {
        let [channels, height, width] = self.shape();
        let QuantParams { scale, zero_point } = self.spec.made;
        let (mut levels, mut floats) = (Vec::new(), Vec::new());
        for o in 0..channels {
            let multiplier = self.spec.read.scale * self.scales[o] / scale;
            for y in 0..height {
                for x in 0..width {
                    let level = round(self.sum(o, y, x) as f32 * multiplier, zero_point);
                    match self.spec.epilogue {
                        Epilogue::Requantize => levels.push(level),
                        Epilogue::Dequantize => floats.push(number(level, zero_point, scale).to_bits()),
                        Epilogue::AddRequantize { skip, sum } => {
                            let other = self.skip[(o * height + y) * width + x];
                            let added =
                                number(level, zero_point, scale) + number(other, skip.zero_point, skip.scale);
                            levels.push(round(added * sum.inverse, sum.zero_point));
                        }
                    }
                }
            }
        }
        if self.spec.epilogue == Epilogue::Dequantize { Made::Floats(floats) } else { Made::Levels(levels) }
    }

    /// What the kernels of a set make of it; fails where the padding changes.
    fn run(&self, isa: Isa) -> Made {
        let stored = |levels: &[u8], shape: [usize; 3], padding: u32| {
            let mut words = vec![padding; c4_layout(shape[0], shape[1], shape[2]).len()];
            pack_c4(levels, shape, &mut words, isa);
            words
        };
        let convolution = QuantizedConv::new(self.spec, &self.weights(), isa);
        let input = stored(&self.input, self.spec.input, convolution.padding());
        let threads = Threads::new(NonZeroUsize::new(self.threads).unwrap()).unwrap();
        let to = self.spec.output_layout();
        if self.spec.epilogue == Epilogue::Dequantize {
            let mut floats = vec![0.0; to.len()];
            convolution.run_to_floats(&input, &mut floats, &threads);
            return Made::Floats(floats.into_iter().map(f32::to_bits).collect());
        }
        const PADDING: u32 = 0x1234_5678;
        let skip = stored(&self.skip, self.shape(), 0);
        let skip = matches!(self.spec.epilogue, Epilogue::AddRequantize { .. }).then_some(&*skip);
        let mut words = vec![PADDING; to.len()];
        convolution.run(&input, skip, &mut words, &threads);
        let mut levels = vec![0; self.shape().iter().product()];
        unpack_c4(&words, self.shape(), &mut levels, isa);
        for group in 0..to.channels() {
            for y in 0..to.height() {
                words[to.index(group, y, 0)..][..to.width()].fill(PADDING);
            }
        }
        assert!(words.iter().all(|&word| word == PADDING), "something was written beside the pixels");
        Made::Levels(levels)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn every_kernel_makes_the_levels_of_the_definition(case in cases()) {
        prop_assume!(case.weights().fit(&case.spec));
        let expected = case.expected();
        for isa in Isa::available() {
            prop_assert_eq!(case.run(isa), expected.clone(), "{}", isa);
        }
    }

    #[test]
    fn floats_are_rounded_to_the_levels_of_the_definition(
        (shape, values) in (1..9_usize, 1..5_usize, 1..40_usize).prop_flat_map(|(channels, y, x)| {
            let shape = [channels, 2 * y, 2 * x];
            let odd = prop_oneof![Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(f32::NAN), Just(1e30), Just(-1e30)];
            let value = prop_oneof![20 => -2.0..2.0_f32, 1 => odd];
            (Just(shape), prop::collection::vec(value, shape.iter().product::<usize>()))
        }),
        rounding in rounding(),
        block in 1..=2_usize,
    ) {
        let [channels, height, width] = shape;
        let mut expected = Vec::new();
        for channel in 0..channels * block * block {
            let (source, place) = (channel / (block * block), channel % (block * block));
            for y in 0..height / block {
                for x in 0..width / block {
                    let (y, x) = (y * block + place / block, x * block + place % block);
                    let scaled = values[(source * height + y) * width + x] * rounding.inverse;
                    expected.push(if scaled.is_nan() { 255 } else { round(scaled.min(1e9), rounding.zero_point) });
                }
            }
        }
        let made = [channels * block * block, height / block, width / block];
        for isa in Isa::available() {
            let quantization = QuantizeInput::new(shape, block, rounding, isa);
            let padding = quantization.padding();
            let mut words = vec![padding; quantization.output().len()];
            quantization.run(&values, &mut words, &Threads::default());
            let mut found = vec![0; expected.len()];
            unpack_c4(&words, made, &mut found, isa);
            prop_assert_eq!(&found, &expected, "{}", isa);
            let mut again = vec![padding; words.len()];
            pack_c4(&found, made, &mut again, isa);
            let of_pixels = |words: &[u32]| {
                let mut padded = words.to_vec();
                for group in 0..quantization.output().channels() {
                    for y in 0..made[1] {
                        padded[quantization.output().index(group, y, 0)..][..made[2]].fill(padding);
                    }
                }
                padded
            };
            prop_assert_eq!(of_pixels(&words), of_pixels(&again), "something was written beside the pixels");
        }
    }
}

#[test]
fn every_kernel_keeps_the_greatest_of_four() {
    for (channels, height, width) in [(1, 2, 2), (3, 4, 6), (5, 7, 33), (8, 6, 64), (24, 4, 16), (4, 2, 66)] {
        let shape = [channels, height, width];
        let levels: Vec<u8> =
            (0..channels * height * width).map(|index| ((index * 7919) % 1009 % 256) as u8).collect();
        let small = [channels, height / 2, width / 2];
        let mut expected = Vec::new();
        for channel in 0..channels {
            for y in 0..height / 2 {
                for x in 0..width / 2 {
                    let at =
                        |dy: usize, dx: usize| levels[(channel * height + 2 * y + dy) * width + 2 * x + dx];
                    expected.push(at(0, 0).max(at(0, 1)).max(at(1, 0)).max(at(1, 1)));
                }
            }
        }
        for isa in Isa::available() {
            let layout = c4_layout(channels, height, width);
            let pooling = QuantizedMaxPool::new(layout, isa);
            let mut input = vec![0; layout.len()];
            pack_c4(&levels, shape, &mut input, isa);
            let mut output = vec![0; pooling.output().len()];
            pooling.run(&input, &mut output, &Threads::default());
            let mut found = vec![0; expected.len()];
            unpack_c4(&output, small, &mut found, isa);
            assert_eq!(found, expected, "{isa}, {shape:?}");
        }
    }
}

/// Weights at the ends of their range, quantized values at the ends of theirs, and as many channels as a network has at most.
#[test]
fn the_greatest_sums_are_exact() {
    for (level, weight) in [(255, 127), (255, -127), (0, 127), (0, -127)] {
        for zero_point in [0, 128, 255] {
            let spec = QuantizedConvSpec {
                kind: ConvKind::Conv3x3,
                input: [1024, 3, 5],
                read: QuantParams { scale: 1.0, zero_point },
                channels: 8,
                made: QuantParams { scale: 1e7, zero_point: 100 },
                epilogue: Epilogue::Dequantize,
            };
            let case = Case {
                spec,
                weights_oihw: vec![weight; 8 * 1024 * 9],
                scales: vec![1.0; 8],
                bias: vec![i32::from(weight) * 1000; 8],
                input: vec![level; 1024 * 15],
                skip: Vec::new(),
                threads: 1,
            };
            assert!(case.weights().fit(&spec));
            let expected = case.expected();
            for isa in Isa::available() {
                assert_eq!(case.run(isa), expected, "{isa}, {level} by {weight} from {zero_point}");
            }
        }
    }
}

#[test]
fn numbers_that_could_overflow_do_not_fit() {
    let affine = QuantParams { scale: 1.0, zero_point: 0 };
    let spec = |channels: usize, made: QuantParams, epilogue: Epilogue| QuantizedConvSpec {
        kind: ConvKind::Conv1x1,
        input: [channels, 1, 1],
        read: affine,
        channels: 1,
        made,
        epilogue,
    };
    let fits = |spec: &QuantizedConvSpec, weight: i8, scale: f32, bias: i32| {
        let values = vec![weight; spec.input[0]];
        QuantizedWeights { values_oihw: &values, scales: &[scale], bias: &[bias] }.fit(spec)
    };
    let plain = spec(8, affine, Epilogue::Requantize);
    assert!(fits(&plain, 127, 1.0, 0));
    assert!(!fits(&plain, -128, 1.0, 0), "two products of such a weight overflow 16 bits");
    assert!(!fits(&plain, 1, 1.0, i32::MAX));
    assert!(!fits(&plain, 1, 1e9, 0));
    assert!(!fits(&plain, 1, f32::NAN, 0));
    assert!(!fits(&plain, 1, -1.0, 0));
    assert!(!fits(&spec(20_000, affine, Epilogue::Requantize), 127, 1.0, 0));
    let tiny = Quantizer { inverse: 1e30, zero_point: 0 };
    assert!(!fits(&spec(8, affine, Epilogue::AddRequantize { skip: affine, sum: tiny }), 1, 1.0, 0));
}
