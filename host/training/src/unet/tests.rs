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

/// The network in one piece gives what Burn derives for it layer by layer: logits, gradients of every number, and
/// running statistics. Where the machine's own precision is less than `f32`, gradients agree as well as it allows.
#[test]
fn one_piece_is_what_burn_derives() {
    type Cpu = Autodiff<Flex>;
    let device = Default::default();
    let plain = UnetConfig {
        encoder: Encoder::Plain,
        width: 8,
        depth: 3,
        stem: Stem::Half,
        skips: Skips::Add,
        decoder_convolutions: 1,
        outputs: 3,
    };
    for (config, pictures) in
        [(plain, 3), (UnetConfig { width: 12, decoder_convolutions: 2, outputs: 2, ..plain }, 17)]
    {
        let (height, width) = (16, 24);
        let picture: Vec<f32> =
            (0..pictures * 3 * height * width).map(|i| ((i as f32 * 0.37).sin() + 1.0) / 2.0).collect();
        let [whole, by_layer] = [true, false].map(|whole| {
            let network = config.init::<Cpu>(5, &device);
            let batch = TensorData::new(picture.clone(), [pictures, 3, height, width]);
            let batch = Tensor::<Cpu, 4>::from_data(batch, &device);
            let logits = match whole {
                true => network.forward_whole(&batch)?,
                false => network.forward_by_layer(batch),
            };
            let shape = logits.dims();
            let slope: Vec<f32> =
                (0..shape.iter().product()).map(|i: usize| (i as f32 * 1.1).cos()).collect();
            let slope = Tensor::<Cpu, 4>::from_data(TensorData::new(slope, shape), &device);
            let grads = (logits.clone() * slope).sum().backward();
            let mut numbers = vec![("logits".to_owned(), logits.inner().into_data())];
            let mut gradient = |name: String, data: Option<TensorData>| numbers.push((name, data.unwrap()));
            let EncoderModule::Plain(Plain { stem, levels }) = &network.encoder else { return None };
            let convs = stem.iter().chain(levels.iter().flatten()).chain(network.decoder.iter().flatten());
            let layers = convs
                .map(|conv| (&conv.weight, &conv.norm))
                .chain(network.ups.iter().map(|up| (&up.weight, &up.norm)));
            for (at, (weight, norm)) in layers.enumerate() {
                gradient(format!("weight {at}"), weight.val().grad(&grads).map(Tensor::into_data));
                gradient(format!("scale {at}"), norm.scale.val().grad(&grads).map(Tensor::into_data));
                gradient(format!("shift {at}"), norm.shift.val().grad(&grads).map(Tensor::into_data));
                gradient(format!("mean {at}"), Some(norm.mean.value_sync().into_data()));
                gradient(format!("variance {at}"), Some(norm.variance.value_sync().into_data()));
            }
            gradient("head".to_owned(), network.head.val().grad(&grads).map(Tensor::into_data));
            gradient("bias".to_owned(), network.head_bias.val().grad(&grads).map(Tensor::into_data));
            Some(numbers)
        });
        let Some(whole) = whole else {
            eprintln!("SKIPPED: this processor has no AVX2, and trains layer by layer");
            return;
        };
        let tolerance = match Precision::fastest() {
            Some(Precision::Bf16) => 0.06,
            _ => 1e-4,
        };
        for ((name, found), (_, expected)) in whole.iter().zip(by_layer.iter().flatten()) {
            let numbers = |data: &TensorData| data.iter::<f32>().collect::<Vec<f32>>();
            let (found, expected) = (numbers(found), numbers(expected));
            assert_eq!(found.len(), expected.len(), "{name}");
            let norm = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| x * x).sum::<f32>().sqrt();
            let far = norm(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
            let size = norm(&mut expected.iter().copied());
            println!("{name}: {far} of {size}");
            assert!(far <= tolerance * size + 1e-3 * tolerance, "{config:?} {name}: {far} of {size}");
        }
    }
}
