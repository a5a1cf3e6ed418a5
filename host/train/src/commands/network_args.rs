//! The network architecture as flags.

use clap::Args;
use host_console::Failure;
use host_training::{Encoder, Recipe, Skips, Stem, UnetConfig};

/// The network, and the batch of a training step.
#[derive(Debug, Clone, Copy, Args)]
pub struct NetworkArgs {
    /// Encoder architecture
    #[arg(long, value_enum, default_value = "plain")]
    pub encoder: Encoder,
    /// Channels of the first level, a multiple of 4
    #[arg(long, default_value_t = 24)]
    pub width: usize,
    /// Number of levels, 2 to 6 [default: 4]
    #[arg(long)]
    pub depth: Option<usize>,
    /// Resolution of the first level [default: half]
    #[arg(long, value_enum)]
    pub stem: Option<Stem>,
    /// How encoder features join the decoder [default: add]
    #[arg(long, value_enum)]
    pub skips: Option<Skips>,
    /// Convolutions per decoder level
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub decoder_convolutions: u8,
    /// Crops per step
    #[arg(long, default_value_t = 16)]
    pub batch: usize,
    /// Crop size in pixels
    #[arg(long, default_value_t = 160)]
    pub crop: usize,
}

impl NetworkArgs {
    /// The network's form.
    ///
    /// # Errors
    /// [`Failure`] when a number is out of range or they do not fit each other.
    pub fn unet(&self) -> Result<UnetConfig, Failure> {
        let (depth, stem, skips) = match self.encoder {
            Encoder::Plain => (4, Stem::Half, Skips::Add),
            Encoder::Resnet50 if self.depth.is_none() && self.stem.is_none() && self.skips.is_none() => {
                (5, Stem::Half, Skips::Concat)
            }
            Encoder::Resnet50 => {
                let problem = "a ResNet-50 has five levels, half resolution and concatenated skips";
                return Err(Failure::usage(problem, "omit --depth, --stem and --skips"));
            }
        };
        let unet = UnetConfig {
            encoder: self.encoder,
            width: self.width,
            depth: self.depth.unwrap_or(depth),
            stem: self.stem.unwrap_or(stem),
            skips: self.skips.unwrap_or(skips),
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
