//! The metric: mean average precision over IoU thresholds, plus IoU, Dice and count error.
//!
//! A predicted nucleus matches a true one at threshold t when IoU > t. Masks of one label
//! image never overlap, so with t of one half or more a nucleus has at most one match and
//! no assignment has to be solved. AP(t) = TP / (TP + FP + FN), after the 2018 Data Science
//! Bowl (Caicedo et al., Nature Methods 16, 2019).

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::label_image::LabelImage;

/// Number of IoU thresholds.
pub const THRESHOLD_COUNT: usize = 10;
/// IoU thresholds in percent: 50, 55 .. 95.
pub const THRESHOLDS_PERCENT: [u8; THRESHOLD_COUNT] = [50, 55, 60, 65, 70, 75, 80, 85, 90, 95];

/// Runs gathered before equal ones are first merged.
const FIRST_COMPACTION: usize = 1 << 16;

/// Why two label images cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MetricError {
    /// The two are not of one size.
    #[error(
        "the prediction has {predicted_width}x{predicted_height} pixels, but the ground truth has \
             {true_width}x{true_height}"
    )]
    Size {
        /// Pixels across in the truth.
        true_width: u32,
        /// Pixels down in the truth.
        true_height: u32,
        /// Pixels across in the prediction.
        predicted_width: u32,
        /// Pixels down in the prediction.
        predicted_height: u32,
    },
}

/// True positives, false positives and false negatives at one threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MatchCounts {
    /// Predicted nuclei with a match.
    pub true_positives: u32,
    /// Predicted nuclei without one.
    pub false_positives: u32,
    /// True nuclei without one.
    pub false_negatives: u32,
}

impl MatchCounts {
    /// TP / (TP + FP + FN); 1 where there is nothing to find and nothing was found.
    pub fn average_precision(&self) -> f64 {
        let hits = u64::from(self.true_positives);
        ratio_or_one(hits, hits + u64::from(self.false_positives) + u64::from(self.false_negatives))
    }
}

/// Agreement of one prediction with its ground truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageScore {
    /// Matches at each of [`THRESHOLDS_PERCENT`].
    pub matches: [MatchCounts; THRESHOLD_COUNT],
    /// Nuclei in the truth.
    pub true_count: u32,
    /// Nuclei in the prediction.
    pub predicted_count: u32,
    /// Pixels that are nucleus in both.
    pub intersection: u64,
    /// Pixels that are nucleus in either.
    pub union: u64,
    /// Pixels that are nucleus in the truth.
    pub true_pixels: u64,
    /// Pixels that are nucleus in the prediction.
    pub predicted_pixels: u64,
}

impl ImageScore {
    /// AP at threshold `i` of [`THRESHOLDS_PERCENT`].
    ///
    /// # Panics
    /// When `i` is not below [`THRESHOLD_COUNT`].
    pub fn ap(&self, i: usize) -> f64 {
        self.matches[i].average_precision()
    }

    /// Mean AP over the ten thresholds, 0 to 1.
    pub fn mean_ap(&self) -> f64 {
        mean(self.matches.iter().map(MatchCounts::average_precision))
    }

    /// IoU of nuclei against background, 0 to 1; 1 where both are empty.
    pub fn iou(&self) -> f64 {
        ratio_or_one(self.intersection, self.union)
    }

    /// Dice of nucleus against background, 2I / (T + P), 0 to 1; 1 where both are empty.
    pub fn dice(&self) -> f64 {
        ratio_or_one(2 * self.intersection, self.true_pixels + self.predicted_pixels)
    }

    /// |predicted - true| / max(true, 1) of the counts.
    pub fn count_error(&self) -> f64 {
        f64::from(self.predicted_count.abs_diff(self.true_count)) / f64::from(self.true_count.max(1))
    }
}

/// Scores of a set of images: every number is the mean over the images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetScore {
    /// Images in the set.
    pub images: u32,
    /// Mean AP.
    pub mean_ap: f64,
    /// AP at each of [`THRESHOLDS_PERCENT`].
    pub ap: [f64; THRESHOLD_COUNT],
    /// IoU of nuclei against background.
    pub mean_iou: f64,
    /// Dice of nucleus against background.
    pub dice: f64,
    /// |predicted - true| / max(true, 1) of the counts.
    pub count_error: f64,
}

impl SetScore {
    /// The means over `scores`; `None` of no score at all.
    pub fn from_scores<'a>(scores: impl IntoIterator<Item = &'a ImageScore>) -> Option<Self> {
        let mut sum =
            Self { images: 0, mean_ap: 0.0, ap: [0.0; _], mean_iou: 0.0, dice: 0.0, count_error: 0.0 };
        for score in scores {
            sum.images += 1;
            sum.mean_ap += score.mean_ap();
            for (i, ap) in sum.ap.iter_mut().enumerate() {
                *ap += score.ap(i);
            }
            sum.mean_iou += score.iou();
            sum.dice += score.dice();
            sum.count_error += score.count_error();
        }
        if sum.images == 0 {
            return None;
        }
        let n = f64::from(sum.images);
        Some(Self {
            images: sum.images,
            mean_ap: sum.mean_ap / n,
            ap: sum.ap.map(|ap| ap / n),
            mean_iou: sum.mean_iou / n,
            dice: sum.dice / n,
            count_error: sum.count_error / n,
        })
    }
}

/// Scores `predicted` against `truth`; labels may have gaps.
///
/// # Errors
/// [`MetricError::Size`] when the two are not of one size.
pub fn evaluate(truth: &LabelImage, predicted: &LabelImage) -> Result<ImageScore, MetricError> {
    let table = Contingency::of(truth, predicted)?;

    let mut hits = [0; THRESHOLD_COUNT];
    let mut intersection = 0;
    for overlap in table.of_nuclei() {
        let shared = u64::from(overlap.pixels);
        intersection += shared;
        let union = table.union(overlap);
        for (hit, percent) in hits.iter_mut().zip(THRESHOLDS_PERCENT) {
            *hit += u32::from(100 * shared > u64::from(percent) * union);
        }
    }

    let (true_count, true_pixels) = count_and_pixels(&table.true_areas);
    let (predicted_count, predicted_pixels) = count_and_pixels(&table.predicted_areas);
    Ok(ImageScore {
        matches: hits.map(|true_positives| MatchCounts {
            true_positives,
            false_positives: predicted_count - true_positives,
            false_negatives: true_count - true_positives,
        }),
        true_count,
        predicted_count,
        intersection,
        union: true_pixels + predicted_pixels - intersection,
        true_pixels,
        predicted_pixels,
    })
}

/// The matches at one of [`THRESHOLDS_PERCENT`] as pairs of labels, true and predicted, sorted.
///
/// # Errors
/// [`MetricError::Size`] when the two are not of one size.
///
/// # Panics
/// When `threshold_percent` is below 50, where a nucleus may have several matches.
pub fn matched_labels(
    truth: &LabelImage,
    predicted: &LabelImage,
    threshold_percent: u8,
) -> Result<Vec<(u32, u32)>, MetricError> {
    assert!(threshold_percent >= 50, "matches at {threshold_percent} % are not unique");
    let table = Contingency::of(truth, predicted)?;
    let is_match = |overlap: &&Overlap| {
        100 * u64::from(overlap.pixels) > u64::from(threshold_percent) * table.union(overlap)
    };
    Ok(table.of_nuclei().filter(is_match).map(|overlap| (overlap.truth, overlap.predicted)).collect())
}

/// Pixel counts of each true and each predicted nucleus, and of their intersections.
struct Contingency {
    overlaps: Vec<Overlap>,
    true_areas: Vec<(u32, u64)>,
    predicted_areas: Vec<(u32, u64)>,
}

impl Contingency {
    fn of(truth: &LabelImage, predicted: &LabelImage) -> Result<Self, MetricError> {
        if (truth.width(), truth.height()) != (predicted.width(), predicted.height()) {
            return Err(MetricError::Size {
                true_width: truth.width(),
                true_height: truth.height(),
                predicted_width: predicted.width(),
                predicted_height: predicted.height(),
            });
        }
        let overlaps = overlaps(truth.labels_hw(), predicted.labels_hw());
        let true_areas = areas(overlaps.iter().map(|o| (o.truth, o.pixels)));
        let mut by_prediction: Vec<(u32, u32)> = overlaps.iter().map(|o| (o.predicted, o.pixels)).collect();
        by_prediction.sort_unstable();
        let predicted_areas = areas(by_prediction);
        Ok(Self { overlaps, true_areas, predicted_areas })
    }

    /// The cells of two nuclei, sorted by labels.
    fn of_nuclei(&self) -> impl Iterator<Item = &Overlap> {
        self.overlaps.iter().filter(|o| o.truth != 0 && o.predicted != 0)
    }

    fn union(&self, cell: &Overlap) -> u64 {
        area_of(&self.true_areas, cell.truth) + area_of(&self.predicted_areas, cell.predicted)
            - u64::from(cell.pixels)
    }
}

/// A cell of the contingency table: pixels with this pair of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Overlap {
    truth: u32,
    predicted: u32,
    pixels: u32,
}

/// The contingency table's cells that are not zero, sorted by labels.
fn overlaps(truth: &[u32], predicted: &[u32]) -> Vec<Overlap> {
    let mut cells: Vec<Overlap> = Vec::new();
    let mut compact_at = FIRST_COMPACTION;
    for (&truth, &predicted) in truth.iter().zip(predicted) {
        match cells.last_mut() {
            Some(run) if run.truth == truth && run.predicted == predicted => run.pixels += 1,
            _ => {
                if cells.len() >= compact_at {
                    merge_equal(&mut cells);
                    compact_at = FIRST_COMPACTION.max(2 * cells.len());
                }
                cells.push(Overlap { truth, predicted, pixels: 1 });
            }
        }
    }
    merge_equal(&mut cells);
    cells
}

fn merge_equal(cells: &mut Vec<Overlap>) {
    cells.sort_unstable();
    cells.dedup_by(|next, kept| {
        let equal = (next.truth, next.predicted) == (kept.truth, kept.predicted);
        if equal {
            kept.pixels += next.pixels;
        }
        equal
    });
}

/// Sums the pixels of neighbors with one label; `cells` come sorted by label.
fn areas(cells: impl IntoIterator<Item = (u32, u32)>) -> Vec<(u32, u64)> {
    let mut areas: Vec<(u32, u64)> = Vec::new();
    for (label, pixels) in cells {
        match areas.last_mut() {
            Some((last, area)) if *last == label => *area += u64::from(pixels),
            _ => areas.push((label, u64::from(pixels))),
        }
    }
    areas
}

fn area_of(areas: &[(u32, u64)], label: u32) -> u64 {
    areas.binary_search_by_key(&label, |&(label, _)| label).map_or(0, |at| areas[at].1)
}

/// Number and pixels of all labels but the background.
fn count_and_pixels(areas: &[(u32, u64)]) -> (u32, u64) {
    areas
        .iter()
        .filter(|&&(label, _)| label != 0)
        .fold((0, 0), |(count, pixels), &(_, area)| (count + 1, pixels + area))
}

fn ratio_or_one(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

#[cfg(test)]
mod tests;
