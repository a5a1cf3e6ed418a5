//! Models for tests: one convolution that finds what is bright, with all that a real file has.

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use prost::Message as _;
use shared::{
    Channels, ColourOrder, Extraction, Golden, INPUT_NAME, Image, InputSpec, LabelImage, MANIFEST_FORMAT,
    MANIFEST_KEY, Manifest, Model, OUTPUT_NAME, OutputChannel, Probability, Scale, ScaleChoice, ScaleRule,
    Scaling, Scores,
};
use tract_onnx::pb;

/// A model that runs.
pub static MODEL: LazyLock<Vec<u8>> = LazyLock::new(|| with_golden(true_golden(), "a"));

/// Another one.
pub static OTHER_MODEL: LazyLock<Vec<u8>> = LazyLock::new(|| with_golden(true_golden(), "b"));

/// A model whose golden labels are not what it finds.
pub static WRONG_MODEL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let nothing = LabelImage::background(SIDE, SIDE).unwrap();
    with_golden(Golden::new(discs(), nothing).unwrap(), "wrong")
});

/// A model that is right about its golden frame and wants real ones enlarged beyond any limit.
pub static FAILING_MODEL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let largest = Scale::try_from(16.0).unwrap();
    let scale = ScaleRule::Nucleus { target_px: 1000.0, min: largest, max: largest };
    edited(&MODEL, |manifest| manifest.input.scale = scale)
});

/// A model of a manifest format to come.
pub static LATER_MODEL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut proto = pb::ModelProto::decode(MODEL.as_slice()).unwrap();
    let value = &mut proto.metadata_props[0].value;
    *value = value.replacen(&format!("\"format\":{MANIFEST_FORMAT}"), "\"format\":999", 1);
    proto.encode_to_vec()
});

/// A model file with another manifest.
fn edited(onnx: &[u8], edit: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let mut proto = pb::ModelProto::decode(onnx).unwrap();
    let entry = &mut proto.metadata_props[0];
    let mut manifest = Manifest::parse(&entry.value).unwrap();
    edit(&mut manifest);
    entry.value = manifest.to_json().unwrap();
    proto.encode_to_vec()
}

/// An ONNX file that says nothing about itself.
pub static BARE_MODEL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut proto = pb::ModelProto::decode(MODEL.as_slice()).unwrap();
    proto.metadata_props.clear();
    proto.encode_to_vec()
});

const SIDE: u32 = 128;
const KERNEL: usize = 9;
/// Steepness of the step from background to nucleus.
const GAIN: f32 = 30.0;

fn true_golden() -> Golden {
    let nothing = LabelImage::background(SIDE, SIDE).unwrap();
    let unchecked = with_golden(Golden::new(discs(), nothing).unwrap(), "unchecked");
    let model = Model::load(&unchecked, NonZeroUsize::MIN).unwrap();
    let found = model.into_segmenter().segment(&discs(), ScaleChoice::PerPicture).unwrap();
    assert_eq!(found.labels.count(), 4);
    Golden::new(discs(), found.labels).unwrap()
}

fn discs() -> Image {
    let samples = (0..SIDE * SIDE).map(|i| {
        let (x, y) = ((i % SIDE % 64) as f32 - 32.0, (i / SIDE % 64) as f32 - 32.0);
        if x * x + y * y < 144.0 { 180 } else { 20 }
    });
    Image::new(SIDE, SIDE, Channels::Grey, samples.collect()).unwrap()
}

fn with_golden(golden: Golden, name: &str) -> Vec<u8> {
    let half = Probability::try_from(0.5).unwrap();
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        architecture: format!("bright {name}"),
        input: InputSpec {
            tile: SIDE,
            overlap: 16,
            colour: ColourOrder::Rgb,
            scaling: Scaling::STRETCH,
            scale: ScaleRule::Native,
        },
        outputs: vec![OutputChannel::Nucleus, OutputChannel::Interior],
        extraction: Extraction::Watershed {
            nucleus_threshold: half,
            seed_threshold: half,
            distance_share: Probability::ZERO,
            min_seed_area: 20.0,
            min_area: 40.0,
        },
        native_nucleus_px: 24.0,
        data_digest: String::new(),
        scores: Scores { float: None, int8: None },
        gmac: 0.008,
        golden,
    };
    let conv = pb::NodeProto {
        input: [INPUT_NAME, "weight", "bias"].map(str::to_owned).to_vec(),
        output: vec!["logits".to_owned()],
        name: "conv".to_owned(),
        op_type: "Conv".to_owned(),
        attribute: vec![pb::AttributeProto {
            name: "pads".to_owned(),
            r#type: pb::attribute_proto::AttributeType::Ints as i32,
            ints: vec![KERNEL as i64 / 2; 4],
            ..Default::default()
        }],
        ..Default::default()
    };
    let sigmoid = pb::NodeProto {
        input: vec!["logits".to_owned()],
        output: vec![OUTPUT_NAME.to_owned()],
        name: "sigmoid".to_owned(),
        op_type: "Sigmoid".to_owned(),
        ..Default::default()
    };
    let graph = pb::GraphProto {
        node: vec![conv, sigmoid],
        name: "bright".to_owned(),
        initializer: vec![
            tensor("weight", &[2, 3, KERNEL as i64, KERNEL as i64], [3, KERNEL].map(mean).concat()),
            tensor("bias", &[2], [0.3, 0.6].map(|level| -GAIN * level).to_vec()),
        ],
        input: vec![value(INPUT_NAME, 3)],
        output: vec![value(OUTPUT_NAME, 2)],
        ..Default::default()
    };
    let proto = pb::ModelProto {
        ir_version: 8,
        opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(graph),
        metadata_props: vec![pb::StringStringEntryProto {
            key: MANIFEST_KEY.to_owned(),
            value: manifest.to_json().unwrap(),
        }],
        ..Default::default()
    };
    proto.encode_to_vec()
}

/// Weights `[3, KERNEL, KERNEL]` of the mean over a window of `side` pixels, times the gain.
fn mean(side: usize) -> Vec<f32> {
    let inside = |i: usize| i.abs_diff(KERNEL / 2) <= side / 2;
    let tap = GAIN / (3 * side * side) as f32;
    (0..3 * KERNEL * KERNEL)
        .map(|i| if inside(i % KERNEL) && inside(i / KERNEL % KERNEL) { tap } else { 0.0 })
        .collect()
}

fn tensor(name: &str, dims: &[i64], float_data: Vec<f32>) -> pb::TensorProto {
    pb::TensorProto {
        dims: dims.to_vec(),
        data_type: pb::tensor_proto::DataType::Float as i32,
        float_data,
        name: name.to_owned(),
        ..Default::default()
    }
}

fn value(name: &str, channels: i64) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let side = i64::from(SIDE);
    let dim = [1, channels, side, side]
        .map(|length| Dimension { value: Some(Value::DimValue(length)), ..Default::default() });
    let tensor = pb::type_proto::Tensor {
        elem_type: pb::tensor_proto::DataType::Float as i32,
        shape: Some(pb::TensorShapeProto { dim: dim.to_vec() }),
    };
    pb::ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(pb::TypeProto {
            value: Some(pb::type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}
