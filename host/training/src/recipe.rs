//! The training recipe: ours, or the classic tutorial's as a baseline.

use serde::{Deserialize, Serialize};
use shared::{ExtractionParams, OutputChannel, Probability, Scale, ScaleRule, Scaling, UnitError};

use super::unet::{Encoder, Skips, Stem, UnetConfig};

/// What a run trains, and how images are read and nuclei extracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipe {
    /// Crops at the nuclei's scale; nucleus, interior and distance; cross-entropy and Dice; a watershed.
    #[default]
    Nuclei,
    /// Whole images resized to the network's size, values divided by 255, one mask, cross-entropy, and connected
    /// components: the U-Net of the 2018 Data Science Bowl's most read notebook.
    Tutorial,
}

impl Recipe {
    /// What the network's output channels hold, in order.
    pub const fn outputs(self) -> &'static [OutputChannel] {
        match self {
            Self::Nuclei => &[OutputChannel::Nucleus, OutputChannel::Interior, OutputChannel::Distance],
            Self::Tutorial => &[OutputChannel::Nucleus],
        }
    }

    /// How many of them, from the first, Dice is taken over.
    pub const fn masks(self) -> usize {
        match self {
            Self::Nuclei => 2,
            Self::Tutorial => 0,
        }
    }

    /// How samples become network input.
    pub const fn scaling(self) -> Scaling {
        match self {
            // A higher quantile clips fewer nuclei: of the commonest fluorescence a ninth of their pixels at 0.995.
            Self::Nuclei => Scaling::Stretch { low: 0.005, high: 0.998, min_span: 16 },
            Self::Tutorial => Scaling::UnitRange,
        }
    }

    /// How images are resized; `nucleus_px` is the diameter of nuclei in training, px.
    ///
    /// # Errors
    /// [`UnitError`], never in practice: the limits are in range.
    pub fn scale_rule(self, nucleus_px: f32) -> Result<ScaleRule, UnitError> {
        Ok(match self {
            Self::Nuclei => ScaleRule::Nucleus {
                target_px: nucleus_px,
                min: Scale::try_from(0.2)?,
                max: Scale::try_from(3.0)?,
            },
            Self::Tutorial => ScaleRule::Fit,
        })
    }

    /// The extraction parameters before tuning.
    ///
    /// # Errors
    /// [`UnitError`], never in practice: the thresholds are in range.
    pub fn extraction(self) -> Result<ExtractionParams, UnitError> {
        let half = Probability::try_from(0.5)?;
        Ok(match self {
            Self::Nuclei => ExtractionParams::Watershed {
                nucleus_threshold: half,
                seed_threshold: half,
                distance_share: half,
                min_seed_area: 8.0,
                min_area: 20.0,
                seed_levels: 1,
            },
            Self::Tutorial => ExtractionParams::Components { nucleus_threshold: half, min_area: 0.0 },
        })
    }

    /// The tutorial's network: 16 to 256 channels at full resolution, 2 M weights.
    pub const TUTORIAL_UNET: UnetConfig = UnetConfig {
        encoder: Encoder::Plain,
        width: 16,
        depth: 5,
        stem: Stem::Full,
        skips: Skips::Concat,
        decoder_convolutions: 2,
        outputs: Self::Tutorial.outputs().len(),
    };
}
