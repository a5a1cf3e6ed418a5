//! A small model for end-to-end tests that counts bright nuclei. Other targets include it with `mod fixture`.
#![allow(missing_docs, dead_code, clippy::unwrap_used, reason = "a target of tests, shared by several")]

use std::num::NonZeroUsize;

use host_modelling::{
    Convolution, Encoding, GraphBuilder, ModelDraft, Tensor4, ValueId, ValueShape, export_model,
};
use shared::{
    Channels, ColourOrder, ExtractionParams, Image, InputSpec, Model, OutputChannel, Probability, Scale,
    ScaleChoice, ScaleRule, Scaling, Scores,
};

const TILE: usize = 128;
const REACH: usize = 2;

/// A network of one convolution: the mean brightness of 5x5 pixels against a threshold, 0 to 1.
/// Another threshold is another file.
pub fn brightness_model(threshold: f32) -> Vec<u8> {
    let side = 2 * REACH + 1;
    let steep = 40.0;
    let weight = vec![steep / (3 * side * side) as f32; 2 * 3 * side * side];
    let convolution = Convolution {
        weight: Tensor4::new([2, 3, side, side], weight).unwrap(),
        bias: vec![-steep * threshold, -steep * (threshold + 0.2)],
        stride: 1,
        padding: REACH,
    };
    let mut builder = GraphBuilder::new(ValueShape::new(3, TILE, TILE).unwrap()).unwrap();
    let mean = builder.conv("mean", ValueId::INPUT, convolution).unwrap();
    let output = builder.sigmoid("sigmoid", mean).unwrap();
    let draft = draft("brightness of 5x5 pixels", TILE, 16);
    export_model(builder.finish(output).unwrap(), &draft, Encoding::F32, &discs(96, 96)).unwrap()
}

/// The manifest of a network that gives nucleus and interior for tiles of that side.
pub fn draft(architecture: &str, tile: usize, overlap: u32) -> ModelDraft {
    let probability = |value| Probability::try_from(value).unwrap();
    ModelDraft {
        architecture: architecture.into(),
        input: InputSpec {
            tile: tile as u32,
            overlap,
            colour: ColourOrder::Rgb,
            scaling: Scaling::STRETCH,
            scale: ScaleRule::Native,
        },
        outputs: vec![OutputChannel::Nucleus, OutputChannel::Interior],
        extraction: ExtractionParams::Watershed {
            nucleus_threshold: probability(0.5),
            seed_threshold: probability(0.5),
            distance_share: Probability::ZERO,
            min_seed_area: 8.0,
            min_area: 20.0,
            seed_levels: 1,
        },
        native_nucleus_px: 20.0,
        data_digest: "none".into(),
        scores: Scores { float: None, int8: None },
    }
}

/// The model with a comment of this many bytes: the file grows, the network does not.
pub fn padded(mut onnx: Vec<u8>, bytes: usize) -> Vec<u8> {
    const DOC_STRING: u8 = 6 << 3 | 2;
    onnx.push(DOC_STRING);
    let mut length = bytes;
    while length >= 0x80 {
        onnx.push(length as u8 | 0x80);
        length >>= 7;
    }
    onnx.push(length as u8);
    // Text without repetition, so that a misplaced chunk is detected.
    onnx.extend((0..bytes).map(|i| b'a' + (i / 4096 % 26) as u8));
    onnx
}

/// Bright discs of 20 pixels on a dark background, one in each square of 32.
pub fn discs(width: u32, height: u32) -> Image {
    let samples = (0..width * height)
        .map(|i| {
            let (dx, dy) = (f64::from(i % width % 32) - 15.5, f64::from(i / width % 32) - 15.5);
            if dx * dx + dy * dy < 100.0 { 180 } else { 12 }
        })
        .collect();
    Image::new(width, height, Channels::Grey, samples).unwrap()
}

#[test]
fn counts_discs() {
    let model = Model::load(&brightness_model(0.4), NonZeroUsize::MIN).unwrap();
    let picture = discs(320, 192);
    let found = model.into_segmenter().segment(&picture, ScaleChoice::Fixed(Scale::ONE)).unwrap();
    assert_eq!(found.labels.count(), 60);
}
