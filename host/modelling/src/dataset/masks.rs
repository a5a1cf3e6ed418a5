//! Combines masks, one per nucleus, into a label image.

use shared::{LabelImage, Mask};

/// The pixels of one mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MaskPixels(Vec<u32>);

impl MaskPixels {
    /// The pixels inside, as indices of the image.
    pub(super) fn of(mask: &Mask) -> Self {
        Self((0..).zip(&mask.inside_hw).filter(|&(_, &inside)| inside).map(|(at, _)| at).collect())
    }
}

/// The result of combining masks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Merged {
    /// Pixels in more than one mask.
    pub(super) overlapping: u64,
    /// Indices of the masks without a pixel.
    pub(super) empty: Vec<usize>,
    /// Indices of the masks that are covered completely by others.
    pub(super) covered: Vec<usize>,
}

/// Draws masks into `labels`, numbered `1..=n` in order.
///
/// A pixel of several masks belongs to the smallest of them, so that none is lost in a larger one, and among masks of
/// equal size to the first. Masks without remaining pixels get no number.
///
/// # Panics
/// When a mask has pixels outside of `labels`.
pub(super) fn merge(masks: &[MaskPixels], labels: &mut LabelImage) -> Merged {
    let mut order: Vec<usize> = (0..masks.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse((masks[at].0.len(), at)));
    let labels_hw = labels.labels_hw_mut();
    let mut shared = vec![false; labels_hw.len()];
    for at in order {
        for &pixel in &masks[at].0 {
            let label = &mut labels_hw[pixel as usize];
            shared[pixel as usize] |= *label != 0;
            *label = at as u32 + 1;
        }
    }
    let areas = labels.areas();
    let (empty, lost): (Vec<usize>, Vec<usize>) = (0..masks.len())
        .filter(|at| areas.get(at + 1).is_none_or(|&area| area == 0))
        .partition(|&at| masks[at].0.is_empty());
    labels.make_consecutive();
    Merged { overlapping: shared.into_iter().filter(|&shared| shared).count() as u64, empty, covered: lost }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_pixel_goes_to_the_smallest_then_the_first() {
        struct Case {
            masks: &'static [&'static [u32]],
            labels: [u32; 6],
            merged: Merged,
        }
        let merged = |overlapping, empty: &[usize], covered: &[usize]| Merged {
            overlapping,
            empty: empty.to_vec(),
            covered: covered.to_vec(),
        };
        for case in [
            Case { masks: &[], labels: [0; 6], merged: merged(0, &[], &[]) },
            Case { masks: &[&[0, 1], &[3, 4]], labels: [1, 1, 0, 2, 2, 0], merged: merged(0, &[], &[]) },
            Case {
                masks: &[&[0, 1, 2, 3], &[3, 4]],
                labels: [1, 1, 1, 2, 2, 0],
                merged: merged(1, &[], &[]),
            },
            Case {
                masks: &[&[3, 4], &[0, 1, 2, 3]],
                labels: [2, 2, 2, 1, 1, 0],
                merged: merged(1, &[], &[]),
            },
            Case { masks: &[&[0, 1], &[1, 2]], labels: [1, 1, 2, 0, 0, 0], merged: merged(1, &[], &[]) },
            Case { masks: &[&[0, 1], &[0, 1]], labels: [1, 1, 0, 0, 0, 0], merged: merged(2, &[], &[1]) },
            Case { masks: &[&[], &[5]], labels: [0, 0, 0, 0, 0, 1], merged: merged(0, &[0], &[]) },
            Case {
                masks: &[&[0, 1, 2], &[0], &[1], &[2]],
                labels: [1, 2, 3, 0, 0, 0],
                merged: merged(3, &[], &[0]),
            },
        ] {
            let masks: Vec<MaskPixels> =
                case.masks.iter().map(|pixels| MaskPixels(pixels.to_vec())).collect();
            let mut labels = LabelImage::background(3, 2).unwrap();
            assert_eq!(merge(&masks, &mut labels), case.merged, "{:?}", case.masks);
            assert_eq!(labels.labels_hw(), case.labels, "{:?}", case.masks);
        }
    }
}
