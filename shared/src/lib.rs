//! What the nuclei station and its host must agree on.
//!
//! If the two disagreed about a line, and that would be a bug, the line lives here:
//! pictures and labels, preprocessing, extraction, the metric, object measures, the
//! mask codec, the model's manifest, the wire, and the slots of the update. The crate
//! is `no_std + alloc`, does no I/O, reads no clock and draws no random number: what it
//! computes is the same on x86-64 and aarch64.
//!
//! Two features add what needs `std` and is still pure computation: `tract` runs a
//! model, `decode` turns PNG, TIFF and JPEG bytes into an [`Image`].
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod image;
mod label_image;
pub mod slots;
mod units;
pub mod wire;

pub use image::{Channels, Image, MAX_PIXELS, MAX_SIDE, SizeError, checked_pixels};
pub use label_image::LabelImage;
pub use units::{
    DutyCycle, IouThreshold, Microseconds, Milliseconds, PixelSize, Probability, Scale, UnitError,
};
