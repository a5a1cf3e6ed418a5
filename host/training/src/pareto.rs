//! Score against cost: the same recipe on networks of several sizes, and the classic tutorial.

use super::config::TrainConfig;
use super::recipe::Recipe;
use host_crops::Augmentation;
use shared::Scaling;
use training_kernels::Precision;

use super::unet::{Encoder, Skips, Stem, UnetConfig};

/// Channels of the first level of the networks compared, the station's own among them.
const WIDTHS: [usize; 4] = [8, 16, 24, 32];
/// Side to which the tutorial's images are resized, px.
const TUTORIAL_SIDE: usize = 256;

impl TrainConfig {
    /// The same run by the classic tutorial: its own network, whole images resized, one mask, no augmentation.
    #[must_use]
    pub fn tutorial(&self) -> Self {
        Self {
            recipe: Recipe::Tutorial,
            unet: Recipe::TUTORIAL_UNET,
            encoder_weights: None,
            from: None,
            scaling: Scaling::UnitRange,
            crop: TUTORIAL_SIDE,
            augmentation: Augmentation::none(self.nucleus_px),
            precision: Precision::F32,
            ..self.clone()
        }
    }

    /// The runs of the score-against-cost plot, each with its name: the tutorial, a plain U-Net at full resolution with
    /// concatenated skips, and lean ones of several widths. All see the same images equally often.
    pub fn pareto(&self) -> Vec<(String, Self)> {
        let lean = UnetConfig {
            encoder: Encoder::Plain,
            width: 0,
            depth: 4,
            stem: Stem::Half,
            skips: Skips::Add,
            decoder_convolutions: 1,
            outputs: Recipe::Nuclei.outputs().len(),
        };
        let plain =
            UnetConfig { width: 16, stem: Stem::Full, skips: Skips::Concat, decoder_convolutions: 2, ..lean };
        let ours = |unet: UnetConfig| {
            let precision = if unet.is_one_piece() { self.precision } else { Precision::F32 };
            Self { unet, precision, encoder_weights: None, from: None, ..self.clone() }
        };
        let lean = WIDTHS.map(|width| (format!("lean-{width}"), ours(UnetConfig { width, ..lean })));
        let others = [("tutorial".to_owned(), self.tutorial()), ("plain-16".to_owned(), ours(plain))];
        lean.into_iter().chain(others).collect()
    }
}
