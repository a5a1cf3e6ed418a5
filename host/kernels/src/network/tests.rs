use proptest::prelude::*;

use super::*;

fn values(count: usize, seed: f32) -> Vec<f32> {
    (0..count).map(|i| ((i as f32 + seed) * 12.9898).sin()).collect()
}

/// Numbers from 0 to 1 without a pattern (Steele et al., "SplitMix", 2014).
fn noise(count: usize, seed: u64) -> impl Iterator<Item = f32> {
    (0..count as u64).map(move |at| {
        let z = (seed << 32 | at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
    })
}

/// What a precision makes of a factor.
fn as_held(precision: Precision, value: f32) -> f32 {
    match precision {
        Precision::F32 => value,
        Precision::Bf16 => f32::from_bits(convolution::rounded(value) & 0xffff_0000),
    }
}

/// A map of `[n, c, h, w]`, and the same rounded as it is held.
fn map(precision: Precision, pictures: Pictures, size: Size, values: &[f32]) -> (Map, Vec<f32>) {
    let mut map = Map::new(pictures.groups(), size, precision);
    fill_gradient(&mut map, pictures, values);
    (map, values.iter().map(|&value| as_held(precision, value)).collect())
}

/// Calls `visit` with the places in `x`, weight and `y` of every product of the definition.
fn products(
    convolution: NetworkConvolution,
    n: usize,
    Size { height, width, .. }: Size,
    mut visit: impl FnMut(usize, usize, usize),
) {
    let NetworkConvolution { kind, input, output } = convolution;
    for picture in 0..n {
        for (o, i) in (0..output).flat_map(|o| (0..input).map(move |i| (o, i))) {
            for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
                let x = ((picture * input + i) * height + row) * width + column;
                let plane = picture * output + o;
                match kind {
                    ConvolutionKind::Point => {
                        visit(x, o * input + i, (plane * height + row) * width + column)
                    }
                    ConvolutionKind::Up => (0..4).for_each(|tap| {
                        let (row, column) = (2 * row + tap / 2, 2 * column + tap % 2);
                        visit(x, (i * output + o) * 4 + tap, (plane * 2 * height + row) * 2 * width + column);
                    }),
                    ConvolutionKind::Same => (0..9).for_each(|tap| {
                        let (to_row, to_column) = (row + 1, column + 1);
                        let (Some(to_row), Some(to_column)) =
                            (to_row.checked_sub(tap / 3), to_column.checked_sub(tap % 3))
                        else {
                            return;
                        };
                        if to_row < height && to_column < width {
                            let y = (plane * height + to_row) * width + to_column;
                            visit(x, (o * input + i) * 9 + tap, y);
                        }
                    }),
                }
            }
        }
    }
}

fn assert_close(what: &str, found: &[f32], expected: &[f32]) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len(), "{}", what);
    let size = expected.iter().fold(1.0_f32, |size, value| size.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        prop_assert!((found - expected).abs() < 2e-5 * size, "{what} {at}: {found} is not {expected}");
    }
    Ok(())
}

fn engines(precision: Precision) -> Vec<Engine> {
    let mut engines = vec![Engine::Portable];
    #[cfg(target_arch = "x86_64")]
    if precision == Precision::F32 && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        engines.push(Engine::Avx2);
    }
    let best = Engine::detect(precision);
    if !engines.contains(&best) {
        engines.push(best);
    }
    engines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Every engine's values and gradients are the sums of the definition, of odd sides, channels and batches, too.
    #[test]
    fn convolutions_are_the_sums_of_the_definition(
        kind in prop::sample::select(vec![ConvolutionKind::Same, ConvolutionKind::Point, ConvolutionKind::Up]),
        precision in prop::sample::select(vec![Precision::F32, Precision::Bf16]),
        (n, height, width) in (1_usize..19, 1_usize..6, 1_usize..12),
        (input, output) in (1_usize..15, 1_usize..15),
    ) {
        let convolution = NetworkConvolution { kind, input, output };
        let size = Size { height, width, channels: input };
        let result = convolution.result(size);
        let pictures = Pictures(n);
        let (x, held_x) = map(precision, pictures, size, &values(n * size.lines(), 0.3));
        let (grad, held_grad) = map(precision, pictures, result, &values(n * result.lines(), 2.0));
        let weight = values(convolution.weights(), 5.0);
        let held: Vec<f32> = weight.iter().map(|&value| as_held(precision, value)).collect();
        let (mut y, mut dx, mut dw) =
            (vec![0.0; held_grad.len()], vec![0.0; held_x.len()], vec![0.0; weight.len()]);
        products(convolution, n, size, |from, tap, to| {
            y[to] += held_x[from] * held[tap];
            dx[from] += held_grad[to] * held[tap];
            dw[tap] += held_x[from] * held_grad[to];
        });
        for engine in engines(precision) {
            let what = |part: &str| format!("{engine:?} {precision:?} {part}");
            let mut found = Raw::new(pictures.groups(), result);
            convolution.forward(engine, &x, &weight, &mut found, |_| ());
            assert_close(&what("values"), &spread(&found, &vec![0.0; output], pictures), &y)?;
            let mut found = Raw::new(pictures.groups(), size);
            convolution.input_gradient(engine, &grad, &weight, &mut found);
            assert_close(&what("input gradient"), &spread(&found, &vec![0.0; input], pictures), &dx)?;
            let mut found = vec![0.0; weight.len()];
            convolution.weight_gradient(engine, &x, &grad, &mut found);
            assert_close(&what("weight gradient"), &found, &dw)?;
        }
    }
}

/// A picture more in a group of sixteen changes nothing but the batch, and memory that was used before is as good as
/// fresh.
#[test]
fn memory_is_used_again_and_a_batch_of_any_size_computes() {
    let shape = NetworkShape { width: 4, depth: 2, decoder_convolutions: 1, outputs: 3 };
    let (height, width) = (8, 12);
    let parameters = values(shape.parameters(), 1.0);
    let step = |count: usize, seed: f32| {
        let pictures = values(count * 3 * height * width, seed);
        let batch = PictureBatch { values: &pictures, count, height, width };
        let mut output = forward(&shape, batch, &parameters, Precision::F32);
        let gradients = output.tape.gradients(&output.logits, &parameters);
        (output.logits, gradients)
    };
    let first = step(16, 0.1);
    step(16, 7.0);
    assert_eq!(first, step(16, 0.1));
    step(3, 0.1);
    // Twice the same pictures have the same statistics, and twice the gradient.
    let pictures = values(16 * 3 * height * width, 0.1);
    let twice: Vec<f32> = [pictures.clone(), pictures].concat();
    let batch = PictureBatch { values: &twice, count: 32, height, width };
    let mut output = forward(&shape, batch, &parameters, Precision::F32);
    let gradients = output.tape.gradients(&output.logits, &parameters);
    let size = gradients.iter().fold(0.0_f32, |size, g| size.max(g.abs()));
    for (a, b) in gradients.iter().zip(&first.1) {
        assert!((a - 2.0 * b).abs() < 1e-4 * size, "{a} is not twice {b}");
    }
}

/// The whole network's logits are those of the kernels that go layer by layer, and its gradients the slope of a sum of
/// them.
#[test]
fn whole_network_is_its_layers_and_gradients_are_its_slope() {
    let shape = NetworkShape { width: 4, depth: 2, decoder_convolutions: 2, outputs: 3 };
    let (n, height, width) = (3, 8, 12);
    let mut parameters = values(shape.parameters(), 1.0);
    let pictures = values(n * 3 * height * width, 0.1);
    let slow = |parameters: &[f32]| -> Vec<f32> {
        use crate::{conv3x3, depth_to_space, max_pool, normalise, space_to_depth};
        let mut at = 0;
        let mut take = |count: usize| {
            at += count;
            parameters[at - count..at].to_vec()
        };
        let pointwise = |x: &[f32],
                         weight: &dyn Fn(usize, usize) -> f32,
                         [i, o, area]: [usize; 3]|
         -> Vec<f32> {
            (0..n * o * area)
                .map(|at| {
                    let (picture, channel, pixel) = (at / (o * area), at / area % o, at % area);
                    (0..i).map(|input| weight(channel, input) * x[(picture * i + input) * area + pixel]).sum()
                })
                .collect()
        };
        let up = |x: &[f32], weight: Vec<f32>, [i, o]: [usize; 2], [h, w]: [usize; 2]| {
            let y = pointwise(x, &|channel, input| weight[input * o * 4 + channel], [i, 4 * o, h * w]);
            depth_to_space(&y, [n, 4 * o, h, w])
        };
        let (h, w) = (height / 2, width / 2);
        let (size, low) = ([n, 4, h, w], [n, 8, h / 2, w / 2]);
        let squares = space_to_depth(&pictures, [n, 3, height, width]);
        let weight = take(48);
        let mut x = pointwise(&squares, &|o, i| weight[o * 12 + i], [12, 4, h * w]);
        x = normalise(&x, &take(4), &take(4), size).0;
        let mut same = |x: &[f32], size @ [n, input, h, w]: [usize; 4], output: usize| {
            let y = conv3x3(x, &take(9 * input * output), size, output);
            normalise(&y, &take(output), &take(output), [n, output, h, w]).0
        };
        x = same(&x, size, 4);
        let skip = same(&x, size, 4);
        x = same(&max_pool(&skip, size), [n, 4, h / 2, w / 2], 8);
        x = same(&x, low, 8);
        x = up(&x, take(8 * 4 * 4), [8, 4], [h / 2, w / 2]);
        x = normalise(&x, &take(4), &take(4), size).0;
        x.iter_mut().zip(&skip).for_each(|(x, skip)| *x += skip);
        for _ in 0..2 {
            let y = conv3x3(&x, &take(9 * 16), size, 4);
            x = normalise(&y, &take(4), &take(4), size).0;
        }
        let mut logits = up(&x, take(4 * 3 * 4), [4, 3], [h, w]);
        let bias = take(3);
        logits.chunks_exact_mut(height * width).enumerate().for_each(|(plane, values)| {
            values.iter_mut().for_each(|value| *value += bias[plane % 3]);
        });
        logits
    };
    let batch = PictureBatch { values: &pictures, count: n, height, width };
    let mut output = forward_on(Engine::Portable, &shape, batch, &parameters, Precision::F32);
    for (found, expected) in output.logits.iter().zip(slow(&parameters)) {
        assert!((found - expected).abs() < 1e-3, "{found} is not {expected}");
    }
    let slope = values(output.logits.len(), 3.0);
    let gradients = output.tape.gradients_on(Engine::Portable, &slope, &parameters);
    let sum = |parameters: &[f32]| -> f64 {
        slow(parameters).iter().zip(&slope).map(|(&y, &slope)| f64::from(y) * f64::from(slope)).sum()
    };
    let (mut far, mut size) = (0.0, 0.0);
    for at in 0..parameters.len() {
        let (here, step) = (parameters[at], 5e-4);
        parameters[at] = here + step;
        let above = sum(&parameters);
        parameters[at] = here - step;
        let below = sum(&parameters);
        parameters[at] = here;
        let measured = (above - below) / (2.0 * f64::from(step));
        far += (measured - f64::from(gradients[at])).powi(2);
        size += measured * measured;
    }
    // A difference over a step crosses corners of `max`, which the gradient does not see.
    assert!(far.sqrt() < 0.03 * size.sqrt(), "gradients are {} off, of {}", far.sqrt(), size.sqrt());
}

/// Rounding factors to eight bits moves logits and the direction of the gradient by about a hundredth: half of a unit in
/// the last place is 2^-9, and the layers' errors add up like noise.
#[test]
fn bf16_moves_logits_and_gradients_little() {
    let shape = NetworkShape { width: 8, depth: 3, decoder_convolutions: 1, outputs: 3 };
    let (count, side) = (16, 64);
    // As a network begins: random weights, scales of 1, shifts of 0.
    let mut parameters: Vec<f32> = noise(shape.parameters(), 1).map(|value| value - 0.5).collect();
    for layer in shape.layers() {
        let numbers = &mut parameters[layer.first + layer.convolution.weights()..];
        numbers[..layer.convolution.output].fill(1.0);
        numbers
            .iter_mut()
            .skip(layer.convolution.output)
            .take(layer.convolution.output)
            .for_each(|shift| *shift = 0.0);
    }
    let pictures: Vec<f32> = noise(count * 3 * side * side, 2).collect();
    let batch = PictureBatch { values: &pictures, count, height: side, width: side };
    let [mut full, mut half] =
        [Precision::F32, Precision::Bf16].map(|precision| forward(&shape, batch, &parameters, precision));
    let truth: Vec<f32> = full.logits.iter().map(|&logit| if logit > 0.5 { 1.0 } else { 0.0 }).collect();
    let weight = vec![1.0; truth.len()];
    let input = crate::LossInput {
        logits: &full.logits,
        truth: &truth,
        weight: &weight,
        channels: shape.outputs,
        area: side * side,
    };
    let slope = input.gradient(2, 1.0);
    let product = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
    };
    let cosine = |a: &[f32], b: &[f32]| product(a, b) / (product(a, a) * product(b, b)).sqrt();
    let logits = cosine(&full.logits, &half.logits);
    let gradients =
        cosine(&full.tape.gradients(&slope, &parameters), &half.tape.gradients(&slope, &parameters));
    println!("cosines: logits {logits}, gradients {gradients}");
    assert!(logits > 0.9999 && gradients > 0.9995, "cosines: logits {logits}, gradients {gradients}");
    assert!(logits < 1.0 - 1e-9, "both precisions compute the same");
}
