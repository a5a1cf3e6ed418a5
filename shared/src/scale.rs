//! The scale of the network's input: from a second pass, or learned from previous frames.

use serde::{Deserialize, Serialize};

use crate::units::Scale;

/// How images are resized for the network.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum ScaleRule {
    /// At original scale, in tiles.
    Native,
    /// Such that the median nucleus has the diameter of the training data, in tiles.
    Nucleus {
        /// That diameter in pixels.
        target_px: f32,
        /// Least scale.
        min: Scale,
        /// Greatest scale.
        max: Scale,
    },
    /// To the network's input size, regardless of shape, as the classic tutorial does.
    Fit,
}

/// Scales closer than this factor count as equal, since a second pass would not pay off.
const SAME: f32 = 1.15;

impl ScaleRule {
    /// The scale for nuclei of this median diameter in the image's own pixels, and whether it is within the rule's
    /// limits. `None` without nuclei or without a rule.
    pub fn suggest(self, median_diameter_px: Option<f32>) -> Option<(Scale, ScaleFit)> {
        let (Self::Nucleus { target_px, min, max }, Some(diameter)) = (self, median_diameter_px) else {
            return None;
        };
        let wanted = target_px / diameter;
        let scale = Scale::try_from(wanted.clamp(min.get(), max.get())).ok()?;
        let far = wanted * SAME < min.get() || wanted > max.get() * SAME;
        Some((scale, if far { ScaleFit::Clamped } else { ScaleFit::WithinLimits }))
    }
}

/// Whether a scale was clamped to the rule's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleFit {
    /// It was: the nuclei are too small or too large for the model.
    Clamped,
    /// It was not.
    WithinLimits,
}

/// Whether two scales are close enough to count as equal.
pub fn same_scale(a: Scale, b: Scale) -> bool {
    let ratio = a.get() / b.get();
    ratio < SAME && ratio > 1.0 / SAME
}

/// Learns the scale of a stream of frames, so that each frame needs one pass.
///
/// The scale changes only when a frame's own estimate is far from it, and then immediately: the objective or the
/// specimen was changed.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScaleEstimator {
    scale: Option<Scale>,
}

impl ScaleEstimator {
    /// The scale learned so far.
    pub const fn scale(&self) -> Option<Scale> {
        self.scale
    }

    /// Updates the scale with a frame's estimate.
    pub fn learn(&mut self, suggested: Option<Scale>) {
        if let Some(suggested) = suggested
            && !self.scale.is_some_and(|scale| same_scale(scale, suggested))
        {
            self.scale = Some(if same_scale(Scale::ONE, suggested) { Scale::ONE } else { suggested });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: fn() -> ScaleRule = || ScaleRule::Nucleus {
        target_px: 24.0,
        min: Scale::try_from(0.25).unwrap(),
        max: Scale::try_from(3.0).unwrap(),
    };

    #[test]
    fn suggests_within_limits_and_says_when_cut() {
        let cases = [
            (24.0, 1.0, ScaleFit::WithinLimits),
            (48.0, 0.5, ScaleFit::WithinLimits),
            (4.0, 3.0, ScaleFit::Clamped),
        ];
        for (diameter, scale, scale_fit) in cases {
            let (suggested, was) = RULE().suggest(Some(diameter)).unwrap();
            assert_eq!((suggested.get(), was), (scale, scale_fit), "{diameter}");
        }
        assert_eq!(RULE().suggest(None), None);
        assert_eq!(ScaleRule::Native.suggest(Some(10.0)), None);
    }

    #[test]
    fn estimator_ignores_jitter_and_follows_change() {
        let scale = |value: f32| Scale::try_from(value).unwrap();
        let mut estimator = ScaleEstimator::default();
        for (suggested, held) in [(0.9, 1.0), (1.1, 1.0), (0.5, 0.5), (0.45, 0.5), (1.1, 1.0)] {
            estimator.learn(Some(scale(suggested)));
            assert_eq!(estimator.scale(), Some(scale(held)));
        }
        estimator.learn(None);
        assert_eq!(estimator.scale(), Some(Scale::ONE));
    }
}
