//! Models for tests: the one that the station ships with, and variants of it.

use std::sync::LazyLock;

use prost::Message as _;
use shared::{Golden, LabelImage, MANIFEST_FORMAT, Manifest, Scale, ScaleRule};
use tract_onnx::pb;

use crate::update::FACTORY_MODEL;

/// A model that runs.
pub static MODEL: &[u8] = FACTORY_MODEL;

/// Another one.
pub static OTHER_MODEL: LazyLock<Vec<u8>> =
    LazyLock::new(|| edited(|manifest| manifest.architecture.push_str(" once more")));

/// A model whose golden labels are not what it finds.
pub static WRONG_MODEL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    edited(|manifest| {
        let picture = manifest.golden.picture().clone();
        let nothing = LabelImage::background(picture.width(), picture.height()).unwrap();
        manifest.golden = Golden::new(picture, nothing).unwrap();
    })
});

/// A model that is right about its golden frame and wants real ones enlarged beyond any limit.
pub static FAILING_MODEL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let largest = Scale::try_from(16.0).unwrap();
    let scale = ScaleRule::Nucleus { target_px: 1000.0, min: largest, max: largest };
    edited(|manifest| manifest.input.scale = scale)
});

/// A model with a future manifest format.
pub static LATER_MODEL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut proto = pb::ModelProto::decode(MODEL).unwrap();
    let value = &mut proto.metadata_props[0].value;
    *value = value.replacen(&format!("\"format\":{MANIFEST_FORMAT}"), "\"format\":999", 1);
    proto.encode_to_vec()
});

/// An ONNX file that says nothing about itself.
pub static BARE_MODEL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut proto = pb::ModelProto::decode(MODEL).unwrap();
    proto.metadata_props.clear();
    proto.encode_to_vec()
});

/// The model with another manifest.
fn edited(edit: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let mut proto = pb::ModelProto::decode(MODEL).unwrap();
    let entry = &mut proto.metadata_props[0];
    let mut manifest = Manifest::parse(&entry.value).unwrap();
    edit(&mut manifest);
    entry.value = manifest.to_json().unwrap();
    proto.encode_to_vec()
}
