//! What a network is trained on: crops of labelled images, changed at random, with the targets of each pixel.
//!
//! A crate of its own, because it computes for every crop and is fully optimized, while the training crate is not.

mod colour;
mod copy_paste;
mod crops;
mod targets;

pub use colour::ColourAugmentation;
pub use crops::{Augmentation, Crop, Focus, Switch, TrainingPicture, crop_rng, cut, whole};
