//! The accuracy check: whether a quantized model may replace the float one.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::ImageScore;

use crate::image_type::ImageType;

/// Maximum loss in mean AP over all images.
const MEAN_AP_LOST: f64 = 0.010;
/// Maximum loss in AP of any image.
const PICTURE_AP_LOST: f64 = 0.10;
/// Maximum relative change of the number of nuclei found in all images.
const COUNT_BIAS: f64 = 0.01;

/// The loss of one image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PictureLoss {
    /// Its name.
    pub name: String,
    /// Mean AP of the float model.
    pub float: f64,
    /// Mean AP of the quantized model.
    pub rounded: f64,
}

impl PictureLoss {
    /// Mean AP lost.
    pub fn lost(&self) -> f64 {
        self.float - self.rounded
    }
}

/// The loss of the images of one type.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TypeLoss {
    /// Their number.
    pub pictures: usize,
    /// Mean AP of the float model.
    pub float: f64,
    /// Mean AP of the quantized model.
    pub rounded: f64,
}

/// The loss on the held-back images, and whether it is within the limits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AccuracyVerdict {
    /// Loss in mean AP over all images.
    pub mean_ap_lost: f64,
    /// The image that loses most.
    pub worst: PictureLoss,
    /// Relative change of the number of nuclei found in all images.
    pub count_bias: f64,
    /// By image type.
    pub types: BTreeMap<&'static str, TypeLoss>,
    /// The exceeded limits, as text; empty if the check passed.
    pub misses: Vec<String>,
}

/// One image's scores, float and quantized.
pub type Pair<'a> = (&'a str, ImageType, &'a ImageScore, &'a ImageScore);

impl AccuracyVerdict {
    /// Compares scores of the same images; `None` without any.
    pub fn of(pairs: &[Pair<'_>]) -> Option<Self> {
        let loss = |&(name, _, float, rounded): &Pair<'_>| PictureLoss {
            name: name.to_owned(),
            float: float.mean_ap(),
            rounded: rounded.mean_ap(),
        };
        let worst = pairs.iter().map(loss).max_by(|a, b| a.lost().total_cmp(&b.lost()))?;
        let mean_ap_lost = pairs.iter().map(|pair| loss(pair).lost()).sum::<f64>() / pairs.len() as f64;
        let found =
            |count: fn(&Pair<'_>) -> u32| pairs.iter().map(|pair| f64::from(count(pair))).sum::<f64>();
        let (before, after) = (found(|pair| pair.2.predicted_count), found(|pair| pair.3.predicted_count));
        let count_bias = (after - before) / before.max(1.0);
        let mut types: BTreeMap<&'static str, TypeLoss> = BTreeMap::new();
        for (_, image_type, float, rounded) in pairs {
            let sums =
                types.entry(image_type.name()).or_insert(TypeLoss { pictures: 0, float: 0.0, rounded: 0.0 });
            sums.pictures += 1;
            sums.float += float.mean_ap();
            sums.rounded += rounded.mean_ap();
        }
        for TypeLoss { pictures, float, rounded } in types.values_mut() {
            *float /= *pictures as f64;
            *rounded /= *pictures as f64;
        }
        let mut misses = Vec::new();
        if mean_ap_lost > MEAN_AP_LOST {
            misses.push(format!("mean AP drops by {mean_ap_lost:.4}, more than {MEAN_AP_LOST}"));
        }
        if worst.lost() > PICTURE_AP_LOST {
            misses.push(format!("{} loses {:.3}, more than {PICTURE_AP_LOST}", worst.name, worst.lost()));
        }
        if count_bias.abs() > COUNT_BIAS {
            let limit = 100.0 * COUNT_BIAS;
            misses.push(format!("the count changes by {:+.2} %, more than {limit} %", 100.0 * count_bias));
        }
        Some(Self { mean_ap_lost, worst, count_bias, types, misses })
    }

    /// Whether the rounded model may take the float one's place.
    pub fn passed(&self) -> bool {
        self.misses.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use shared::{LabelImage, evaluate};

    use super::*;

    /// The score of a row of `nuclei` single pixels of which the first `found` are found.
    fn score(nuclei: u32, found: u32) -> ImageScore {
        let row = |count: u32| {
            LabelImage::new(
                2 * nuclei,
                1,
                (0..2 * nuclei).map(|x| if x % 2 == 0 && x / 2 < count { 1 + x / 2 } else { 0 }).collect(),
            )
            .unwrap()
        };
        evaluate(&row(nuclei), &row(found)).unwrap()
    }

    fn verdict(pairs: &[(u32, u32, u32)]) -> AccuracyVerdict {
        let scores: Vec<_> = pairs
            .iter()
            .map(|&(nuclei, float, rounded)| (score(nuclei, float), score(nuclei, rounded)))
            .collect();
        let pairs: Vec<Pair<'_>> =
            scores.iter().map(|(float, rounded)| ("p", ImageType::Fluorescence, float, rounded)).collect();
        AccuracyVerdict::of(&pairs).unwrap()
    }

    #[test]
    fn each_limit_is_kept_by_itself() {
        assert!(verdict(&[(1000, 1000, 1000)]).passed());
        assert!(verdict(&[(1000, 1000, 995)]).passed());
        // Mean AP and count.
        assert_eq!(verdict(&[(1000, 1000, 985)]).misses.len(), 2);
        // One image of many.
        let mut many = vec![(1000, 1000, 1000); 30];
        many.push((5, 5, 4));
        let found = verdict(&many);
        assert_eq!(found.misses.len(), 1, "{found:?}");
        assert!(found.misses[0].contains("loses 0.200"), "{found:?}");
        // The count alone: as many wrong as right ones appear.
        let gained = verdict(&[(1000, 980, 1000)]);
        assert!(gained.mean_ap_lost < 0.0);
        assert_eq!(gained.misses.len(), 1, "{gained:?}");
    }

    #[test]
    fn types_are_judged_separately_and_nothing_is_no_verdict() {
        let (all, half) = (score(10, 10), score(10, 5));
        let pairs =
            [("a", ImageType::Fluorescence, &all, &all), ("b", ImageType::GreyBrightfield, &all, &half)];
        let verdict = AccuracyVerdict::of(&pairs).unwrap();
        assert_eq!(verdict.worst.name, "b");
        let lost = |name: &str| verdict.types[name].float - verdict.types[name].rounded;
        assert_eq!(lost(ImageType::Fluorescence.name()), 0.0);
        assert_eq!(lost(ImageType::GreyBrightfield.name()), 0.5);
        assert_eq!(AccuracyVerdict::of(&[]), None);
    }
}
