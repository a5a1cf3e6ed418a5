use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;

/// Miri is thousands of times slower, and threads of a pool are beyond it.
const CASES: u32 = if cfg!(miri) { 12 } else { 400 };
const THREADS: usize = if cfg!(miri) { 1 } else { 3 };

/// What a convolution is asked to do, its numbers drawn from `values`.
#[derive(Debug, Clone)]
struct Case {
    kind: ConvKind,
    activation: Activation,
    channels: (usize, usize),
    height: usize,
    width: usize,
    skip: bool,
    plain_output: bool,
    threads: usize,
    values: Vec<f32>,
}

fn cases() -> impl Strategy<Value = Case> {
    let kind =
        prop_oneof![Just(ConvKind::Conv1x1), Just(ConvKind::Conv3x3), Just(ConvKind::ConvTranspose2x2)];
    let activation = prop_oneof![Just(Activation::None), Just(Activation::Relu)];
    let value = prop_oneof![
        8 => -1.0f32..1.0,
        1 => Just(0.0f32),
        1 => prop_oneof![Just(1e18f32), Just(-1e18), Just(1e-30), Just(f32::MIN_POSITIVE / 4.0)],
    ];
    let size = (1usize..20, 1usize..20, 1usize..12, 1usize..40);
    let end = prop_oneof![Just((false, false)), Just((true, false)), Just((false, true))];
    (kind, activation, size, end, 1..=THREADS, prop::collection::vec(value, 1..200)).prop_map(
        |(kind, activation, (read, made, height, width), (skip, plain_output), threads, values)| Case {
            kind,
            activation,
            channels: (read, made),
            height,
            width,
            skip,
            plain_output,
            threads,
            values,
        },
    )
}

impl Case {
    /// `count` of the numbers, from another one on for each `start`.
    fn draw(&self, count: usize, start: usize) -> Vec<f32> {
        self.values.iter().copied().cycle().skip(start % self.values.len()).take(count).collect()
    }

    fn weights(&self) -> Vec<f32> {
        self.draw(self.channels.0 * self.channels.1 * self.kind.side().pow(2), 0)
    }

    fn bias(&self) -> Vec<f32> {
        self.draw(self.channels.1, 3)
    }

    fn input(&self) -> Vec<f32> {
        self.draw(self.channels.0 * self.height * self.width, 1)
    }

    fn made(&self) -> (usize, usize, usize) {
        (self.channels.1, self.height * self.kind.scale(), self.width * self.kind.scale())
    }

    fn skip(&self) -> Vec<f32> {
        let (channels, height, width) = self.made();
        self.draw(channels * height * width, 2)
    }

    /// By the definition, in `f64`; beside each value the sum of the terms' magnitudes, which bounds its error.
    fn expected(&self) -> Vec<(f64, f64)> {
        let (weights, bias, input, skip) = (self.weights(), self.bias(), self.input(), self.skip());
        let (side, (read, _), (made, height, width)) = (self.kind.side(), self.channels, self.made());
        let mut expected = Vec::new();
        for o in 0..made {
            for y in 0..height {
                for x in 0..width {
                    let mut sum = f64::from(bias[o]);
                    let mut magnitude = sum.abs();
                    for i in 0..read {
                        for ky in 0..side {
                            for kx in 0..side {
                                let at = match self.kind {
                                    ConvKind::Conv1x1 => Some((y, x)),
                                    ConvKind::Conv3x3 => (y + ky).checked_sub(1).zip((x + kx).checked_sub(1)),
                                    ConvKind::ConvTranspose2x2 => {
                                        ((y % 2, x % 2) == (ky, kx)).then_some((y / 2, x / 2))
                                    }
                                };
                                let Some((y, x)) = at.filter(|&(y, x)| y < self.height && x < self.width)
                                else {
                                    continue;
                                };
                                let term = f64::from(input[(i * self.height + y) * self.width + x])
                                    * f64::from(weights[((o * read + i) * side + ky) * side + kx]);
                                sum += term;
                                magnitude += term.abs();
                            }
                        }
                    }
                    if self.activation == Activation::Relu {
                        sum = sum.max(0.0);
                    }
                    let added = f64::from(skip[(o * height + y) * width + x]);
                    let (added, more) = if self.skip { (added, added.abs()) } else { (0.0, 0.0) };
                    expected.push((sum + added, magnitude + more));
                }
            }
        }
        expected
    }

    /// What the kernels of a set make of it, `[channels, height, width]`; fails where zeros around pixels change.
    fn run(&self, isa: Isa) -> Vec<f32> {
        let input = Layout::padded(self.channels.0, self.height, self.width);
        let plain_input = Layout::plain(self.channels.0, self.height, self.width);
        let (channels, height, width) = self.made();
        let (padded, plain) =
            (Layout::padded(channels, height, width), Layout::plain(channels, height, width));
        let output = if self.plain_output { plain } else { padded };
        let spec = ConvSpec { kind: self.kind, activation: self.activation, input, output };
        let convolution = DirectConv::new(spec, &self.weights(), &self.bias(), isa);
        let pack = |values: &[f32], plain: &Layout, padded: &Layout| {
            let mut packed = vec![0.0; padded.len()];
            crate::pack(values, plain, 1, &mut packed, padded);
            packed
        };
        let packed = pack(&self.input(), &plain_input, &input);
        let skip = self.skip.then(|| pack(&self.skip(), &plain, &padded));
        let mut result = vec![0.0; output.len()];
        let threads = Threads::new(NonZeroUsize::new(self.threads).unwrap()).unwrap();
        convolution.run(&packed, skip.as_deref(), &mut result, &threads);
        if self.plain_output {
            return result;
        }
        let mut unpacked = vec![0.0; plain.len()];
        crate::unpack(&result, &padded, &mut unpacked, &plain);
        assert_eq!(pack(&unpacked, &plain, &padded), result, "something was written beside the pixels");
        unpacked
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn every_kernel_computes_the_definition(case in cases()) {
        let expected = case.expected();
        for isa in Isa::available() {
            let found = case.run(isa);
            prop_assert_eq!(found.len(), expected.len());
            for (index, (&found, &(expected, magnitude))) in found.iter().zip(&expected).enumerate() {
                let error = (f64::from(found) - expected).abs();
                let bound = 1e-5 * magnitude + f64::from(f32::MIN_POSITIVE);
                prop_assert!(error <= bound, "{isa} at {index}: {found}, not {expected}");
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    for kind in [ConvKind::Conv1x1, ConvKind::Conv3x3, ConvKind::ConvTranspose2x2] {
        let values = (0..97).map(|index| (index as f32 * 0.7).sin()).collect();
        let case = Case {
            kind,
            activation: Activation::Relu,
            channels: (24, 40),
            height: 9,
            width: 33,
            skip: true,
            plain_output: false,
            threads: 1,
            values,
        };
        for isa in Isa::available() {
            assert_eq!(case.run(isa), Case { threads: THREADS, ..case.clone() }.run(isa), "{kind:?} {isa}");
        }
    }
}

#[test]
fn nan_is_preserved() {
    let case = Case {
        kind: ConvKind::Conv3x3,
        activation: Activation::None,
        channels: (3, 5),
        height: 4,
        width: 21,
        skip: false,
        plain_output: true,
        threads: 1,
        values: vec![f32::NAN, 1.0, f32::INFINITY],
    };
    for isa in Isa::available() {
        assert!(case.run(isa).iter().all(|value| !value.is_finite()), "{isa}");
    }
}
