//! Times the passes of a step.
use std::time::Instant;

use training_kernels::{NetworkShape, PictureBatch, Precision, forward};

fn main() {
    let shape = NetworkShape { width: 24, depth: 4, decoder_convolutions: 1, outputs: 3 };
    let (count, height, width) = (16, 128, 128);
    let values: Vec<f32> = (0..count * 3 * height * width).map(|i| (i * 37 % 101) as f32 / 100.0).collect();
    let parameters: Vec<f32> = (0..shape.parameters()).map(|i| (i as f32 * 12.9898).sin() * 0.1).collect();
    for precision in [Precision::F32, Precision::Bf16] {
        for _ in 0..4 {
            let start = Instant::now();
            let mut output = forward(
                &shape,
                PictureBatch { values: &values, count, height, width },
                &parameters,
                precision,
            );
            let middle = Instant::now();
            let truth = vec![1.0; output.logits.len()];
            let input = training_kernels::LossInput {
                logits: &output.logits,
                truth: &truth,
                weight: &truth,
                channels: 3,
                area: height * width,
            };
            let loss = input.loss(2);
            let grad = input.gradient(2, 1.0);
            println!("loss {loss} {:?}", middle.elapsed());
            let middle = Instant::now();
            let gradients = output.tape.gradients(&grad, &parameters);
            println!(
                "{precision:?}: forward {:?}, gradients {:?}, {}",
                middle - start,
                middle.elapsed(),
                gradients[5]
            );
        }
    }
}
