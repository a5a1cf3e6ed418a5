//! How a command reads images and ground truth.

use std::convert::Infallible;

use clap::Args;
use host_modelling::BinaryMasks;
use shared::{ChannelChoice, PlaneChoice, PlaneSelection};

/// Options of a command that reads images.
#[derive(Debug, Clone, Args)]
pub struct PlaneArgs {
    /// Plane of a stack: its number from 1, or max for the maximum projection [default: the first]
    #[arg(long, value_name = "N|max")]
    plane: Option<PlaneChoice>,
    /// Channel of an image with several: its number from 1, or its name [default: the first]
    #[arg(long, value_name = "N|NAME", value_parser = channel)]
    channel: Option<ChannelChoice>,
}

fn channel(text: &str) -> Result<ChannelChoice, Infallible> {
    Ok(text.into())
}

/// The value of `--split-components`.
pub const fn binary_masks(split: bool) -> BinaryMasks {
    if split { BinaryMasks::SplitComponents } else { BinaryMasks::Refuse }
}

impl PlaneArgs {
    /// The selected planes.
    pub fn selection(&self) -> PlaneSelection {
        PlaneSelection { plane: self.plane.unwrap_or_default(), channel: self.channel.clone() }
    }
}
