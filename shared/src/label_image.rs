//! Instance labels: 0 is background, `1..=n` are nuclei.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use crate::image::{SizeError, checked_pixels};
use crate::runs::runs;

/// The nuclei of one image, `[height, width]`, row-major; 0 background, `1..=n` instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelImage {
    width: u32,
    height: u32,
    labels_hw: Vec<u32>,
}

impl LabelImage {
    /// Wraps labels laid out `[height, width]`.
    ///
    /// # Errors
    /// [`SizeError`] when the size is out of range or the buffer does not fit it.
    pub fn new(width: u32, height: u32, labels_hw: Vec<u32>) -> Result<Self, SizeError> {
        let expected = checked_pixels(width, height)?;
        if labels_hw.len() != expected {
            return Err(SizeError::Samples { expected, actual: labels_hw.len() });
        }
        Ok(Self { width, height, labels_hw })
    }

    /// A label image that is all background.
    ///
    /// # Errors
    /// [`SizeError`] when the size is out of range.
    pub fn background(width: u32, height: u32) -> Result<Self, SizeError> {
        Ok(Self { width, height, labels_hw: vec![0; checked_pixels(width, height)?] })
    }

    /// Pixels across.
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// Pixels down.
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// The labels, `[height, width]`.
    pub fn labels_hw(&self) -> &[u32] {
        &self.labels_hw
    }

    /// The labels, to write to.
    pub fn labels_hw_mut(&mut self) -> &mut [u32] {
        &mut self.labels_hw
    }

    /// The highest label; the number of nuclei where labels are consecutive.
    pub fn max_label(&self) -> u32 {
        self.labels_hw.iter().copied().max().unwrap_or(0)
    }

    /// Pixels of every label, indexed by label; index 0 is the background.
    pub fn areas(&self) -> Vec<u32> {
        let mut areas = vec![0];
        add_areas(&self.labels_hw, &mut areas);
        areas
    }

    /// Number of nuclei: labels that own at least one pixel.
    pub fn count(&self) -> u32 {
        self.areas().iter().skip(1).filter(|&&area| area > 0).count() as u32
    }

    /// Renumbers the labels to `1..=n`, keeping their order.
    pub fn make_consecutive(&mut self) {
        let all = 0..self.labels_hw.len();
        keep_large(&mut self.labels_hw, core::iter::once(all), 0.0);
    }
}

fn add_areas(labels_hw: &[u32], areas: &mut Vec<u32>) {
    for (run, label) in runs(labels_hw) {
        let label = label as usize;
        if label >= areas.len() {
            areas.resize(label + 1, 0);
        }
        areas[label] += run.len() as u32;
    }
}

/// Numbers the labels of at least `min_area` pixels `1..=n` in their order: for each label its number, 0 for the
/// others; and `n`.
pub(crate) fn number_large(areas: &[u32], min_area: f32) -> (Vec<u32>, u32) {
    let mut left = 0;
    let numbers = areas.iter().enumerate().map(|(label, &area)| {
        let keep = label != 0 && area > 0 && area as f32 >= min_area;
        left += u32::from(keep);
        if keep { left } else { 0 }
    });
    let numbers = numbers.collect();
    (numbers, left)
}

/// Erases labels of fewer than `min_area` pixels and renumbers the rest to `1..=n`, keeping their order. Every label
/// lies within the ranges of pixels. Gives the areas of those that are left, indexed by label; index 0 is of none.
pub(crate) fn keep_large(
    labels_hw: &mut [u32],
    within: impl Iterator<Item = Range<usize>> + Clone,
    min_area: f32,
) -> Vec<u32> {
    let mut areas = vec![0];
    for pixels in within.clone() {
        add_areas(&labels_hw[pixels], &mut areas);
    }
    let (numbers, _) = number_large(&areas, min_area);
    if numbers.iter().zip(0..).any(|(&number, label)| number != label) {
        for pixels in within {
            let mut rest = &mut labels_hw[pixels];
            loop {
                let next = runs(rest).next();
                let Some((run, label)) = next else { break };
                let (equal, after) = rest.split_at_mut(run.len());
                equal.fill(numbers[label as usize]);
                rest = after;
            }
        }
    }
    kept(&areas, &numbers)
}

/// The areas of those that got a number, indexed by it; index 0 is of none.
pub(crate) fn kept(areas: &[u32], numbers: &[u32]) -> Vec<u32> {
    let large = areas.iter().zip(numbers).filter(|&(_, &number)| number != 0);
    core::iter::once(0).chain(large.map(|(&area, _)| area)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_keeps_order_and_areas() {
        let mut labels = LabelImage::new(3, 2, vec![0, 7, 7, 3, 0, 9]).unwrap();
        assert_eq!(labels.count(), 3);
        labels.make_consecutive();
        assert_eq!(labels.labels_hw(), [0, 2, 2, 1, 0, 3]);
        assert_eq!(labels.areas(), [2, 1, 2, 1]);
    }
}
