//! Fills holes in instances, since nuclei have none and annotators draw none.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use crate::components::{ComponentRows, Components, Run};

/// What is known of a region of background.
#[derive(Clone, Copy, PartialEq)]
enum BackgroundRegion {
    /// Nothing yet.
    Unknown,
    /// Every neighbor so far has this label.
    Within(u32),
    /// It reaches the image's edge, or lies between instances.
    Open,
}

impl BackgroundRegion {
    /// What is known with these neighbours as well.
    fn beside(self, labels: &[u32]) -> Self {
        labels.iter().fold(self, |region, &near| match region {
            Self::Unknown if near != 0 => Self::Within(near),
            Self::Within(label) if near != 0 && near != label => Self::Open,
            known => known,
        })
    }
}

/// Gives every 4-connected region of background that one instance alone surrounds to that instance, in
/// labels `[height, width]` whose instances are the runs of `mask`; gives the pixels of those regions. What reaches the
/// picture's edge stays background.
pub(crate) fn fill_holes(labels_hw: &mut [u32], width: usize, mask: &[Run]) -> Vec<Range<usize>> {
    let mut rows = ComponentRows::new(width);
    let mut rest = mask.iter().map(|run| run.pixels.clone()).peekable();
    for row_start in (0..labels_hw.len()).step_by(width) {
        let row_end = row_start + width;
        let mut next = row_start;
        rows.push_runs(core::iter::from_fn(|| {
            loop {
                let run = rest.next_if(|run| run.start < row_end);
                let (start, end) = run.map_or((row_end, row_end + 1), |run| (run.start, run.end));
                let ground = next - row_start..start - row_start;
                if next > row_end {
                    return None;
                }
                next = end;
                if !ground.is_empty() {
                    return Some(ground);
                }
            }
        }));
    }
    let Components { runs, count } = rows.finish();
    let mut regions = vec![BackgroundRegion::Unknown; count as usize + 1];
    for Run { pixels: Range { start, end }, component } in &runs {
        let is_at_edge = start % width == 0 || end % width == 0;
        if is_at_edge || *start < width || end + width > labels_hw.len() {
            regions[*component as usize] = BackgroundRegion::Open;
        }
    }
    for Run { pixels: Range { start, end }, component } in runs.iter().cloned() {
        let region = &mut regions[component as usize];
        if *region != BackgroundRegion::Open {
            *region = region
                .beside(&[labels_hw[start - 1], labels_hw[end]])
                .beside(&labels_hw[start - width..end - width])
                .beside(&labels_hw[start + width..end + width]);
        }
    }
    let mut filled = Vec::new();
    for Run { pixels, component } in runs {
        if let BackgroundRegion::Within(instance) = regions[component as usize] {
            labels_hw[pixels.clone()].fill(instance);
            filled.push(pixels);
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::runs;

    #[test]
    fn only_what_one_instance_surrounds_is_filled() {
        let filled = |rows: &[&str]| -> Vec<u32> {
            let width = rows[0].len();
            let mut labels: Vec<u32> = rows.concat().bytes().map(|digit| u32::from(digit - b'0')).collect();
            let mut mask = Vec::new();
            for start in (0..labels.len()).step_by(width) {
                let row = runs(&labels[start..start + width]).filter(|&(_, label)| label != 0);
                mask.extend(
                    row.map(|(run, _)| Run { pixels: start + run.start..start + run.end, component: 1 }),
                );
            }
            let before = labels.clone();
            let filled = fill_holes(&mut labels, width, &mask);
            let changed = (0..labels.len()).filter(|&at| labels[at] != before[at]);
            assert!(filled.into_iter().flatten().eq(changed), "{rows:?}");
            labels
        };
        let cases: [(&[&str], &[&str]); 4] = [
            (&["1111", "1001", "1111"], &["1111", "1111", "1111"]),
            (&["1111", "1002", "1111"], &["1111", "1002", "1111"]),
            (&["1111", "1001", "1101"], &["1111", "1001", "1101"]),
            (&["0000", "0110", "0000"], &["0000", "0110", "0000"]),
        ];
        for (rows, expected) in cases {
            let expected: Vec<u32> = expected.concat().bytes().map(|digit| u32::from(digit - b'0')).collect();
            assert_eq!(filled(rows), expected, "{rows:?}");
        }
    }
}
