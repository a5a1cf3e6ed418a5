use burn::backend::{Autodiff, Flex};
use burn::module::AutodiffModule as _;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Tensor, TensorData};
use training_kernels::Precision;

use super::*;

fn picture(side: usize) -> Vec<f32> {
    (0..3 * side * side).map(|i| ((i as f32 * 0.37).sin() + 1.0) / 2.0).collect()
}

/// The graph's definition and Burn's forward pass agree for every form, with running statistics that a
/// training pass has moved.
#[test]
fn graph_is_what_burn_computes() {
    let device = Default::default();
    let resnet = UnetConfig {
        encoder: Encoder::Resnet50,
        width: 4,
        depth: 5,
        stem: Stem::Half,
        skips: Skips::Concat,
        decoder_convolutions: 1,
        outputs: 2,
    };
    let plain = UnetConfig { encoder: Encoder::Plain, depth: 3, ..resnet };
    for config in [
        UnetConfig { skips: Skips::Add, ..plain },
        UnetConfig { decoder_convolutions: 2, ..plain },
        UnetConfig { stem: Stem::Full, skips: Skips::Add, decoder_convolutions: 2, ..plain },
        UnetConfig { stem: Stem::Full, ..plain },
        resnet,
    ] {
        let side = config.side_multiple().max(16) * if config == resnet { 2 } else { 1 };
        let network = config.init::<Autodiff<Flex>>(5, &device);
        let batch = TensorData::new(picture(side), [1, 3, side, side]);
        network.forward(Tensor::from_data(batch.clone(), &device));
        let network = network.valid();
        let burn: Vec<f32> =
            sigmoid(network.forward(Tensor::from_data(batch, &device))).into_data().iter::<f32>().collect();
        let graph = network.graph(side).unwrap().fold_batch_norm();
        let values = graph.evaluate(&picture(side)).unwrap();
        assert_eq!(burn.len(), values.len());
        let far = burn.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-4, "{config:?} differs by {far}");
        let spread = values.iter().copied().fold(0.0, f32::max) - values.iter().copied().fold(1.0, f32::min);
        assert!(spread > 0.05, "{config:?} gives the same value everywhere");
    }
}

#[test]
fn sides_must_fit_the_grid() {
    let config = UnetConfig {
        encoder: Encoder::Plain,
        width: 4,
        depth: 3,
        stem: Stem::Half,
        skips: Skips::Add,
        decoder_convolutions: 2,
        outputs: 2,
    };
    assert_eq!(config.side_multiple(), 8);
    assert!(config.init::<Flex>(1, &Default::default()).graph(20).is_err());
}

#[test]
fn the_lean_form_costs_a_fraction_of_the_classic_one() {
    let macs = |stem, skips| {
        let encoder = Encoder::Plain;
        let config =
            UnetConfig { encoder, width: 16, depth: 4, stem, skips, decoder_convolutions: 2, outputs: 2 };
        config.init::<Flex>(1, &Default::default()).graph(256).unwrap().macs() as f64 / 1e9
    };
    let (lean, classic) = (macs(Stem::Half, Skips::Add), macs(Stem::Full, Skips::Concat));
    assert!((0.4..0.6).contains(&lean), "{lean} GMAC");
    assert!(classic > 4.0 * lean, "{classic} GMAC");
}

const ONE_PIECE: UnetConfig = UnetConfig {
    encoder: Encoder::Plain,
    width: 8,
    depth: 3,
    stem: Stem::Half,
    skips: Skips::Add,
    decoder_convolutions: 1,
    outputs: 3,
};

/// How far the network in one piece is from what Burn derives for it layer by layer, in shares of its norm: logits,
/// gradients of every weight, and running statistics, each by its name. None where this processor trains layer by layer.
fn far_from_burn(
    config: UnetConfig,
    precision: Precision,
    [pictures, height, width]: [usize; 3],
) -> Option<Vec<(String, f32)>> {
    type Cpu = Autodiff<Flex>;
    let device = Default::default();
    let picture: Vec<f32> =
        (0..pictures * 3 * height * width).map(|i| ((i as f32 * 0.37).sin() + 1.0) / 2.0).collect();
    let numbers = |whole: bool| {
        let network = config.init::<Cpu>(5, &device).training_in(precision);
        let batch = TensorData::new(picture.clone(), [pictures, 3, height, width]);
        let batch = Tensor::<Cpu, 4>::from_data(batch, &device);
        let logits = match whole {
            true => network.forward_whole(&batch)?,
            false => network.forward_by_layer(batch),
        };
        let shape = logits.dims();
        let slope: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32 * 1.1).cos()).collect();
        let slope = Tensor::<Cpu, 4>::from_data(TensorData::new(slope, shape), &device);
        let grads = (logits.clone() * slope).sum().backward();
        let mut numbers = vec![("logits".to_owned(), logits.inner().into_data())];
        let mut number = |name: String, data: Option<TensorData>| numbers.push((name, data.unwrap()));
        let EncoderModule::Plain(Plain { stem, levels }) = &network.encoder else { return None };
        let convs = stem.iter().chain(levels.iter().flatten()).chain(network.decoder.iter().flatten());
        let layers = convs
            .map(|conv| (&conv.weight, &conv.norm))
            .chain(network.ups.iter().map(|up| (&up.weight, &up.norm)));
        for (at, (weight, norm)) in layers.enumerate() {
            number(format!("weight {at}"), weight.val().grad(&grads).map(Tensor::into_data));
            number(format!("scale {at}"), norm.scale.val().grad(&grads).map(Tensor::into_data));
            number(format!("shift {at}"), norm.shift.val().grad(&grads).map(Tensor::into_data));
            number(format!("mean {at}"), Some(norm.mean.value_sync().into_data()));
            number(format!("variance {at}"), Some(norm.variance.value_sync().into_data()));
        }
        number("head".to_owned(), network.head.val().grad(&grads).map(Tensor::into_data));
        number("bias".to_owned(), network.head_bias.val().grad(&grads).map(Tensor::into_data));
        Some(numbers)
    };
    let (whole, by_layer) = (numbers(true)?, numbers(false)?);
    let far = |found: &TensorData, expected: &TensorData| {
        assert_eq!(found.shape, expected.shape);
        let norm = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| x * x).sum::<f32>().sqrt();
        let differences = norm(&mut found.iter::<f32>().zip(expected.iter::<f32>()).map(|(a, b)| a - b));
        // Of a sum that cancels, the rest is no measure.
        differences / norm(&mut expected.iter::<f32>()).max(1e-3)
    };
    let pairs = whole.into_iter().zip(by_layer);
    Some(pairs.map(|((name, found), (_, expected))| (name, far(&found, &expected))).collect())
}

#[test]
fn one_piece_is_what_burn_derives() {
    let other = UnetConfig { width: 12, decoder_convolutions: 2, outputs: 2, ..ONE_PIECE };
    for (config, pictures) in [(ONE_PIECE, 3), (other, 17)] {
        let Some(all) = far_from_burn(config, Precision::F32, [pictures, 16, 24]) else {
            eprintln!("SKIPPED: this processor has no AVX2, and trains layer by layer");
            return;
        };
        for (name, far) in all {
            assert!(far <= 1e-4, "{config:?} {name}: {far}");
        }
    }
}

/// What its own tests measure of BF16 holds for the network in one piece, which is in the precision that it was told.
#[test]
fn one_piece_in_bf16_is_near_to_what_burn_derives() {
    let all = far_from_burn(ONE_PIECE, Precision::Bf16, [16, 64, 64]).unwrap();
    let (name, far) = &all[0];
    assert!(name == "logits" && (1e-3..0.06).contains(far), "{name}: {far}");
}
