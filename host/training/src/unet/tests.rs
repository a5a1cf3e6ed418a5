use burn::backend::{Autodiff, Flex};
use burn::module::AutodiffModule as _;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Tensor, TensorData};

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
