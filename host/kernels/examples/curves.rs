//! Trains a small network on drawn discs in both precisions, and prints their losses side by side.
//!
//!     cargo run --release -p training-kernels --example curves -- 150

use training_kernels::{LossInput, NetworkShape, PictureBatch, Precision, forward};

const COUNT: usize = 16;
const SIDE: usize = 64;

/// A repeatable sequence of numbers from 0 to 1 (Steele et al., "SplitMix", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
    }
}

/// Pictures of noisy discs, `[n, 3, side, side]`, and where they are, `[n, 1, side, side]`.
fn discs(random: &mut Random) -> (Vec<f32>, Vec<f32>) {
    let (mut pictures, mut truth) = (Vec::new(), Vec::new());
    for _ in 0..COUNT {
        let discs: Vec<[f32; 4]> = (0..8)
            .map(|_| {
                [
                    random.next() * SIDE as f32,
                    random.next() * SIDE as f32,
                    2.0 + 5.0 * random.next(),
                    random.next(),
                ]
            })
            .collect();
        let mut plane = vec![0.0; SIDE * SIDE];
        let mut mask = vec![0.0; SIDE * SIDE];
        for at in 0..SIDE * SIDE {
            let (x, y) = ((at % SIDE) as f32, (at / SIDE) as f32);
            for [cx, cy, r, light] in &discs {
                if (x - cx).powi(2) + (y - cy).powi(2) < r * r {
                    (plane[at], mask[at]) = (0.1 + 0.5 * light, 1.0);
                }
            }
        }
        for _ in 0..3 {
            pictures.extend(plane.iter().map(|value| value + 0.3 * random.next()));
        }
        truth.extend(mask);
    }
    (pictures, truth)
}

/// Random weights (He et al. 2015), scales of 1, shifts of 0.
fn first_numbers(random: &mut Random) -> Vec<f32> {
    let same = |input, output| (9 * input, output);
    let up = |input, output| (input, 4 * output);
    let mut layers = vec![(12, 24), same(24, 24), same(24, 24)];
    for channels in [48, 96, 192] {
        layers.extend([same(channels / 2, channels), same(channels, channels)]);
    }
    for channels in [96, 48, 24] {
        layers.extend([up(2 * channels, channels), same(channels, channels)]);
    }
    let mut numbers = Vec::new();
    for (index, (fan_in, outputs)) in layers.into_iter().enumerate() {
        let bound = (6.0 / fan_in as f32).sqrt();
        numbers.extend((0..fan_in * outputs).map(|_| (2.0 * random.next() - 1.0) * bound));
        let channels = if index >= 9 && index % 2 == 1 { outputs / 4 } else { outputs };
        numbers.extend((0..2 * channels).map(|at| if at < channels { 1.0 } else { 0.0 }));
    }
    numbers.extend((0..24 * 4).map(|_| random.next() - 0.5));
    numbers.push(0.0);
    numbers
}

fn losses(precision: Precision, steps: usize) -> Vec<f32> {
    let shape = NetworkShape { width: 24, depth: 4, decoder_convolutions: 1, outputs: 1 };
    let mut random = Random(7);
    let mut numbers = first_numbers(&mut random);
    assert_eq!(numbers.len(), shape.parameters(), "numbers of every layer");
    let mut moments = vec![[0.0_f32; 2]; numbers.len()];
    let weight = vec![1.0; COUNT * SIDE * SIDE];
    (1..=steps)
        .map(|step| {
            let (values, truth) = discs(&mut random);
            let batch = PictureBatch { values: &values, count: COUNT, height: SIDE, width: SIDE };
            let mut output = forward(&shape, batch, &numbers, precision);
            let input = LossInput {
                logits: &output.logits,
                truth: &truth,
                weight: &weight,
                channels: 1,
                area: SIDE * SIDE,
            };
            let (loss, grad) = (input.loss(1), input.gradient(1, 1.0));
            let gradients = output.tape.gradients(&grad, &numbers);
            let unbias = [0.9, 0.999_f32].map(|share| 1.0 / (1.0 - share.powi(step as i32)));
            for ((number, moment), gradient) in numbers.iter_mut().zip(&mut moments).zip(gradients) {
                moment[0] = 0.9 * moment[0] + 0.1 * gradient;
                moment[1] = 0.999 * moment[1] + 0.001 * gradient * gradient;
                *number -= 1e-3 * moment[0] * unbias[0] / ((moment[1] * unbias[1]).sqrt() + 1e-5);
            }
            loss
        })
        .collect()
}

fn main() {
    let steps = std::env::args().nth(1).and_then(|steps| steps.parse().ok()).unwrap_or(150);
    let [full, half] = [Precision::F32, Precision::Bf16].map(|precision| losses(precision, steps));
    for (at, (full, half)) in full.chunks(10).zip(half.chunks(10)).enumerate() {
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
        println!("step {:4}: f32 {:.4}, bf16 {:.4}", 10 * (at + 1), mean(full), mean(half));
    }
}
