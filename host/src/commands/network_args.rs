//! The network that a command is about, as flags.

use clap::Args;

use crate::failure::Failure;
use crate::train::{Recipe, Skips, Stem, UnetConfig};

/// The network, and what a step of its training sees.
#[derive(Debug, Clone, Copy, Args)]
pub struct NetworkArgs {
    /// Channels of the network's first level, a multiple of 4
    #[arg(long, default_value_t = 24)]
    pub width: usize,
    /// Levels of the network, 2 to 6
    #[arg(long, default_value_t = 4)]
    pub depth: usize,
    /// Resolution of the first level
    #[arg(long, value_enum, default_value = "half")]
    pub stem: Stem,
    /// How the encoder's maps join the decoder's
    #[arg(long, value_enum, default_value = "add")]
    pub skips: Skips,
    /// Convolutions of a decoder's level
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub decoder_convolutions: u8,
    /// Crops of a step
    #[arg(long, default_value_t = 16)]
    pub batch: usize,
    /// Side of a crop in pixels
    #[arg(long, default_value_t = 128)]
    pub crop: usize,
}

impl NetworkArgs {
    /// The network's form.
    ///
    /// # Errors
    /// [`Failure`] when a number is out of range or they do not fit each other.
    pub fn unet(&self) -> Result<UnetConfig, Failure> {
        let unet = UnetConfig {
            width: self.width,
            depth: self.depth,
            stem: self.stem,
            skips: self.skips,
            decoder_convolutions: self.decoder_convolutions.into(),
            outputs: Recipe::Nuclei.outputs().len(),
        };
        let multiple = unet.side_multiple();
        let problem = if unet.width == 0 || !unet.width.is_multiple_of(4) || unet.width > 256 {
            "--width must be a multiple of 4, at most 256"
        } else if !(2..=6).contains(&unet.depth) {
            "--depth must be 2 to 6"
        } else if self.batch == 0 || self.crop < 32 || !self.crop.is_multiple_of(multiple) {
            "--crop must be at least 32 and a multiple of the network's smallest grid, and --batch at least 1"
        } else {
            return Ok(unet);
        };
        Err(Failure::usage(problem, format!("see --help (the smallest grid is {multiple})")))
    }
}
