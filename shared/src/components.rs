//! Connected components of a mask.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use crate::runs::runs;

/// A run of consecutive pixels of a mask in one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// Their indices.
    pub(crate) pixels: Range<usize>,
    /// Their component, from 1.
    pub(crate) component: u32,
}

/// The 4-connected components of a mask as pixel runs, of which there are far fewer than pixels.
#[derive(Debug)]
pub(crate) struct Components {
    /// In raster order.
    pub(crate) runs: Vec<Run>,
    /// How many components there are, numbered in raster order of their first pixel.
    pub(crate) count: u32,
}

impl Components {
    /// Pixels of every component, indexed by component; index 0 is unused.
    pub(crate) fn areas(&self) -> Vec<u32> {
        let mut areas = vec![0; self.count as usize + 1];
        for run in &self.runs {
            areas[run.component as usize] += run.pixels.len() as u32;
        }
        areas
    }
}

/// Finds the components of a mask, row by row.
#[derive(Debug)]
pub(crate) struct ComponentRows {
    width: usize,
    /// Pixels of the rows so far.
    pixels: usize,
    /// Until they are numbered, `component` is the index of a run that a run is joined to, never a later one.
    runs: Vec<Run>,
    /// The runs of the last row.
    above: Range<usize>,
}

impl ComponentRows {
    pub(crate) const fn new(width: usize) -> Self {
        Self { width, pixels: 0, runs: Vec::new(), above: 0..0 }
    }

    /// Adds the next row of the mask; returns the columns of its runs.
    pub(crate) fn push<'a>(&'a mut self, row: &[bool]) -> impl Iterator<Item = Range<usize>> + use<'a> {
        self.push_runs(runs(row).filter_map(|(run, is_set)| is_set.then_some(run)));
        let start = self.pixels - self.width;
        self.runs[self.above.clone()]
            .iter()
            .map(move |Run { pixels, .. }| pixels.start - start..pixels.end - start)
    }

    /// Adds the next row's runs as column ranges, from left to right, not touching.
    pub(crate) fn push_runs(&mut self, row: impl Iterator<Item = Range<usize>>) {
        let Self { width, pixels, runs, above } = self;
        let first = runs.len();
        for Range { start, end } in row {
            let component = runs.len() as u32;
            runs.push(Run { pixels: *pixels + start..*pixels + end, component });
        }
        let mut near = above.start;
        for here in first..runs.len() {
            let (from, to) = (runs[here].pixels.start, runs[here].pixels.end);
            while near < above.end && runs[near].pixels.end + *width <= from {
                near += 1;
            }
            // The last of those that touch this run may touch the next one, too.
            let touching = (near..above.end).take_while(|&at| runs[at].pixels.start + *width < to).count();
            for at in near..near + touching {
                join(runs, at, here);
            }
        }
        *above = first..runs.len();
        *pixels += *width;
    }

    /// The components, numbered.
    pub(crate) fn finish(self) -> Components {
        let Self { mut runs, .. } = self;
        let mut count = 0;
        for at in 0..runs.len() {
            let joined = runs[at].component as usize;
            runs[at].component = if joined == at {
                count += 1;
                count
            } else {
                runs[joined].component
            };
        }
        Components { runs, count }
    }
}

fn join(runs: &mut [Run], a: usize, b: usize) {
    let (a, b) = (first_of(runs, a), first_of(runs, b));
    runs[a.max(b)].component = a.min(b) as u32;
}

/// The first run that a run is joined to, by way of others; the way becomes shorter.
fn first_of(runs: &mut [Run], mut at: usize) -> usize {
    loop {
        let joined = runs[at].component as usize;
        if joined == at {
            return at;
        }
        runs[at].component = runs[joined].component;
        at = joined;
    }
}

/// Numbers the 4-connected components of a mask `[height, width]` as `1..=n` in raster order of their first pixel;
/// returns the labels and `n`.
pub fn components(mask_hw: &[bool], width: usize) -> (Vec<u32>, u32) {
    let mut rows = ComponentRows::new(width);
    mask_hw.chunks_exact(width).for_each(|row| drop(rows.push(row)));
    let Components { runs, count } = rows.finish();
    let mut labels_hw = vec![0u32; mask_hw.len()];
    for Run { pixels, component } in runs {
        labels_hw[pixels].fill(component);
    }
    (labels_hw, count)
}

/// Indices of the four neighbors inside an image of `pixels` pixels.
#[cfg(test)]
pub(crate) fn neighbours(at: usize, width: usize, pixels: usize) -> impl Iterator<Item = usize> {
    let x = at % width;
    [
        (at >= width).then(|| at - width),
        (x > 0).then(|| at - 1),
        (x + 1 < width).then(|| at + 1),
        (at + width < pixels).then(|| at + width),
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn diagonal_neighbours_are_apart() {
        let mask = [1, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0, 0].map(|m| m == 1);
        let (labels, count) = components(&mask, 4);
        assert_eq!(count, 3);
        assert_eq!(labels, [1, 1, 0, 2, 0, 0, 2, 2, 0, 3, 0, 0]);
    }

    /// Pixel by pixel, as the definition says.
    fn flooded(mask_hw: &[bool], width: usize) -> (Vec<u32>, u32) {
        let mut labels_hw = vec![0; mask_hw.len()];
        let mut count = 0;
        for start in 0..mask_hw.len() {
            if !mask_hw[start] || labels_hw[start] != 0 {
                continue;
            }
            count += 1;
            let mut stack = vec![start];
            while let Some(at) = stack.pop() {
                if core::mem::replace(&mut labels_hw[at], count) == 0 {
                    let near = neighbours(at, width, mask_hw.len());
                    stack.extend(near.filter(|&near| mask_hw[near] && labels_hw[near] == 0));
                }
            }
        }
        (labels_hw, count)
    }

    proptest::proptest! {
        #[test]
        fn runs_are_joined_as_pixels_would_be(
            (mask, width) in (1usize..14, 0usize..12).prop_flat_map(|(width, height)| {
                (proptest::collection::vec(proptest::bool::weighted(0.6), width * height), Just(width))
            })
        ) {
            prop_assert_eq!(components(&mask, width), flooded(&mask, width));
        }
    }

    #[test]
    fn rows_do_not_wrap() {
        let (labels, count) = components(&[false, false, true, true, false, false], 3);
        assert_eq!((labels, count), (vec![0, 0, 1, 2, 0, 0], 2));
    }
}
