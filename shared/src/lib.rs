//! What the nuclei station and its host must agree on.
//!
//! Code belongs here if a disagreement between the two would be a bug: images and labels, preprocessing, extraction,
//! the metric, object measurements, the label codec, the model's manifest, the wire protocol, the update slots, and
//! signatures. The crate is `no_std + alloc`, does no I/O, reads no clock and draws no random numbers. Its results are
//! identical on x86-64 and aarch64.
//!
//! Two features add pure computation that needs `std`: `tract` runs a model, `decode` turns PNG, TIFF and JPEG bytes
//! into an [`Image`] and back.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(feature = "tract", feature = "decode"))]
extern crate std;

mod components;
mod confidence;
#[cfg(feature = "decode")]
mod decode;
#[cfg(feature = "decode")]
mod encode;
mod evidence;
mod extraction;
mod extractor;
mod flat_field;
mod golden;
mod holes;
mod image;
mod label_codec;
mod label_image;
mod manifest;
mod metric;
#[cfg(feature = "tract")]
mod model;
#[cfg(feature = "tract")]
mod network;
mod objects;
mod parallel;
mod picture_path;
mod preprocess;
mod runs;
mod scale;
mod segmenter;
pub mod slots;

mod tile;
pub mod trust;
mod units;
mod watershed;
pub mod wire;

pub use components::components;
pub use confidence::soft_dice_confidence;
#[cfg(feature = "decode")]
pub use decode::{
    ChannelChoice, DecodeError, DecodedImage, ImageFileFormat, Mask, PlaneChoice, PlaneChoiceError,
    PlaneError, PlaneSelection, PlaneSummary, Proprietary, decode_image, decode_label_image, decode_mask,
    decode_plane,
};
#[cfg(feature = "decode")]
pub use encode::{ImageEncodeError, encode_jpeg, encode_label_png, encode_label_tiff, encode_picture_png};
pub use evidence::{Evidence, MAX_CONFLUENCE, MAX_SATURATED, MIN_CONFIDENCE, MIN_FOCUS};
pub use extraction::ExtractionParams;
pub use extractor::{Extractor, ProbabilityMaps, Segmentation};
pub use flat_field::{FlatField, FlatFieldError, FlatFieldOrigin, FrameSum};
pub use golden::{Golden, GoldenError, MAX_GOLDEN_PIXELS};
pub use image::{Channels, Image, MAX_PIXELS, MAX_SIDE, SizeError, ValueScale, checked_pixels};
#[cfg(feature = "tract")]
pub use inference_kernels::{peak_f32_macs, peak_int8_macs};
pub use label_codec::{LabelCodecError, decode_labels, encode_labels};
pub use label_image::LabelImage;
pub use manifest::{
    ColourOrder, INPUT_NAME, InputSpec, MANIFEST_FORMAT, MANIFEST_KEY, Manifest, ManifestError, OUTPUT_NAME,
    OutputChannel, Scores,
};
pub use metric::{
    ImageScore, MatchCounts, MetricError, SetScore, THRESHOLD_COUNT, THRESHOLDS_PERCENT, evaluate,
    matched_labels,
};
#[cfg(feature = "tract")]
pub use model::{Model, ModelError, read_manifest};
#[cfg(feature = "tract")]
pub use network::{Execution, Kernels, NetworkError, PlannedNode, TractNetwork};
pub use objects::{
    BoundingBox, MeasureError, Object, Point, area_weighted_median_diameter, equivalent_diameter_px,
    measure_objects,
};
pub use parallel::{ParallelFor, Sequential};
pub use picture_path::{
    bare_stem, is_image_file, is_image_folder, is_picture, is_truth_folder, picture_stem, truth_stem,
};
pub use preprocess::{Planes, Scaling, rgb_samples, scaled_side};
pub use scale::{ScaleEstimator, ScaleFit, ScaleRule, same_scale};
pub use segmenter::{Network, ScaleChoice, SegmentError, Segmenter, Stage};
pub use tile::TilePlan;
pub use units::{
    DutyCycle, IouThreshold, Microseconds, Milliseconds, PixelSize, Probability, Scale, UnitError,
};
