//! From probability maps to instance labels: threshold, components, seeded watershed, holes filled.

use alloc::borrow::Cow;
use alloc::{vec, vec::Vec};
use serde::{Deserialize, Serialize};

use crate::components::{Components, Run, components, neighbours};
use crate::holes::fill_holes;
use crate::label_image::keep_large;
use crate::units::Probability;

/// How nuclei are taken out of the network's maps. Areas are in pixels of the maps at the scale
/// that the network saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Extraction {
    /// Connected components of the thresholded nucleus map: touching nuclei become one.
    Components {
        /// Nucleus probability above which a pixel is a nucleus.
        nucleus_threshold: Probability,
        /// Least area of a nucleus.
        min_area: f32,
    },
    /// Seeds from the interior and distance maps, flooded over the nucleus map: touching nuclei stay apart.
    Watershed {
        /// Nucleus probability above which a pixel is a nucleus.
        nucleus_threshold: Probability,
        /// Value of the seed map above which a pixel is part of a seed.
        seed_threshold: Probability,
        /// Share of the distance map in the seed map, where the model has both; the interior map is the rest.
        #[serde(default = "none")]
        distance_share: Probability,
        /// Least area of a seed.
        min_seed_area: f32,
        /// Least area of a nucleus.
        min_area: f32,
    },
}

const fn none() -> Probability {
    Probability::ZERO
}

impl Extraction {
    /// The map that seeds are taken from, `[height, width]`, out of those that a model has; one of the two
    /// alone serves for both.
    ///
    /// # Panics
    /// When the maps differ in length.
    pub fn seed_map<'a>(
        self,
        interior_hw: Option<&'a [f32]>,
        distance_hw: Option<&'a [f32]>,
    ) -> Option<Cow<'a, [f32]>> {
        let (Some(interior_hw), Some(distance_hw)) = (interior_hw, distance_hw) else {
            return interior_hw.or(distance_hw).map(Cow::Borrowed);
        };
        assert_eq!(interior_hw.len(), distance_hw.len(), "maps of one size");
        let share = match self {
            Self::Components { .. } => 0.0,
            Self::Watershed { distance_share, .. } => distance_share.get(),
        };
        let mixed = interior_hw.iter().zip(distance_hw).map(|(&i, &d)| i + share * (d - i));
        Some(Cow::Owned(mixed.collect()))
    }

    /// Labels `[height, width]` from maps of the same layout; `area_factor` is the number of pixels
    /// here for one pixel at the scale that the network saw.
    ///
    /// # Panics
    /// When the maps differ in length or are not whole rows.
    pub fn labels(self, nucleus_hw: &[f32], seed_hw: &[f32], width: usize, area_factor: f32) -> Vec<u32> {
        assert_eq!(nucleus_hw.len(), seed_hw.len(), "maps of one size");
        assert_eq!(nucleus_hw.len() % width, 0, "whole rows");
        match self {
            Self::Components { nucleus_threshold, min_area } => {
                let mask = above(nucleus_hw, nucleus_threshold);
                let (mut labels_hw, _) = components(&mask, width);
                keep_large(&mut labels_hw, min_area * area_factor);
                labels_hw
            }
            Self::Watershed { nucleus_threshold, seed_threshold, min_seed_area, min_area, .. } => {
                let mask = above(nucleus_hw, nucleus_threshold);
                let seed_mask: Vec<bool> = seed_hw
                    .iter()
                    .zip(&mask)
                    .map(|(&seed, &inside)| inside && seed > seed_threshold.get())
                    .collect();
                let (mut seeds_hw, _) = components(&seed_mask, width);
                let seeds = keep_large(&mut seeds_hw, min_seed_area * area_factor);
                seed_the_rest(&mask, &mut seeds_hw, seeds, width);
                let height = |at: usize| (nucleus_hw[at] + seed_hw[at]) * 0.5;
                watershed(height, &mask, &mut seeds_hw, width);
                fill_holes(&mut seeds_hw, width);
                keep_large(&mut seeds_hw, min_area * area_factor);
                seeds_hw
            }
        }
    }
}

fn above(map_hw: &[f32], threshold: Probability) -> Vec<bool> {
    map_hw.iter().map(|&value| value > threshold.get()).collect()
}

/// Makes every component of the mask without a seed a seed of its own, numbered after the `seeds` that there are.
fn seed_the_rest(mask_hw: &[bool], seeds_hw: &mut [u32], seeds: u32, width: usize) {
    let Components { runs, count } = Components::of(mask_hw, width);
    let mut seeded = vec![false; count as usize + 1];
    for Run { pixels, component } in &runs {
        seeded[*component as usize] |= seeds_hw[pixels.clone()].iter().any(|&seed| seed != 0);
    }
    let mut next = seeds;
    let labels: Vec<u32> = seeded
        .iter()
        .enumerate()
        .map(|(component, &has_seed)| {
            if component == 0 || has_seed {
                0
            } else {
                next += 1;
                next
            }
        })
        .collect();
    for Run { pixels, component } in runs {
        let label = labels[component as usize];
        if label != 0 {
            seeds_hw[pixels].fill(label);
        }
    }
}

/// Levels of the flood: finer steps change no label in practice, coarser ones do.
const LEVELS: usize = 256;

/// Seeded watershed: seeds grow over the mask from high to low `height` of a pixel (0 to 1), breadth first
/// within a level, so that neighbours meet where the map is lowest.
///
/// Meyer, "Un algorithme optimal pour la ligne de partage des eaux", 1991, with a queue per level
/// and no line between basins.
///
/// # Panics
/// When the slices differ in length.
pub fn watershed(height: impl Fn(usize) -> f32, mask_hw: &[bool], labels_hw: &mut [u32], width: usize) {
    assert_eq!(mask_hw.len(), labels_hw.len(), "one size");
    let level = |at: usize| ((height(at).clamp(0.0, 1.0) * (LEVELS - 1) as f32) as usize).min(LEVELS - 1);
    let mut queues: Vec<Vec<usize>> = vec![Vec::new(); LEVELS];
    for at in 0..labels_hw.len() {
        // A pixel floods nothing whose neighbours are taken.
        let is_free = |near: usize| mask_hw[near] && labels_hw[near] == 0;
        if labels_hw[at] != 0 && neighbours(at, width, labels_hw.len()).any(is_free) {
            queues[level(at)].push(at);
        }
    }
    for current in (0..LEVELS).rev() {
        let mut queue = core::mem::take(&mut queues[current]);
        let mut head = 0;
        while head < queue.len() {
            let at = queue[head];
            head += 1;
            for neighbour in neighbours(at, width, labels_hw.len()) {
                if mask_hw[neighbour] && labels_hw[neighbour] == 0 {
                    labels_hw[neighbour] = labels_hw[at];
                    let lower = level(neighbour).min(current);
                    if lower == current {
                        queue.push(neighbour);
                    } else {
                        queues[lower].push(neighbour);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probability(value: f32) -> Probability {
        Probability::try_from(value).unwrap()
    }

    /// Two discs that overlap by two columns, with an interior map that dips between them.
    fn touching_discs() -> (Vec<f32>, Vec<f32>, usize) {
        let width = 40;
        let mut nucleus = vec![0.0; width * 20];
        let mut interior = nucleus.clone();
        for y in 0..20 {
            for x in 0..width {
                let distance = |cx: f32| libm::hypotf(x as f32 - cx, y as f32 - 10.0);
                let nearest = distance(11.0).min(distance(27.0));
                nucleus[y * width + x] = if nearest <= 8.5 { 0.95 } else { 0.05 };
                interior[y * width + x] = if nearest <= 7.0 { 0.9 } else { 0.1 };
            }
        }
        (nucleus, interior, width)
    }

    #[test]
    fn watershed_separates_what_components_join() {
        let (nucleus, interior, width) = touching_discs();
        let joined = Extraction::Components { nucleus_threshold: probability(0.5), min_area: 10.0 };
        let apart = Extraction::Watershed {
            nucleus_threshold: probability(0.5),
            seed_threshold: probability(0.5),
            distance_share: Probability::ZERO,
            min_seed_area: 5.0,
            min_area: 10.0,
        };
        let count = |labels: Vec<u32>| labels.into_iter().max().unwrap();
        assert_eq!(count(joined.labels(&nucleus, &interior, width, 1.0)), 1);
        let labels = apart.labels(&nucleus, &interior, width, 1.0);
        assert_eq!(labels[10 * width + 5], 1);
        assert_eq!(labels[10 * width + 33], 2);
        let covered = labels.iter().filter(|&&label| label != 0).count();
        assert_eq!(covered, nucleus.iter().filter(|&&n| n > 0.5).count());
        let (one, two) = (
            labels.iter().filter(|&&label| label == 1).count(),
            labels.iter().filter(|&&label| label == 2).count(),
        );
        assert!(one.abs_diff(two) <= 20, "{one} and {two} pixels");
    }

    #[test]
    fn small_things_go_and_areas_follow_the_scale() {
        let nucleus = [0.9, 0.0, 0.9, 0.9, 0.0, 0.9, 0.9, 0.9, 0.9];
        let extraction = Extraction::Components { nucleus_threshold: probability(0.5), min_area: 2.0 };
        assert_eq!(extraction.labels(&nucleus, &nucleus, 9, 1.0), [0, 0, 1, 1, 0, 2, 2, 2, 2]);
        assert_eq!(extraction.labels(&nucleus, &nucleus, 9, 2.0), [0, 0, 0, 0, 0, 1, 1, 1, 1]);
    }

    #[test]
    fn a_nucleus_without_interior_still_counts() {
        let nucleus = [0.0, 0.9, 0.9, 0.0];
        let extraction = Extraction::Watershed {
            nucleus_threshold: probability(0.5),
            seed_threshold: probability(0.5),
            distance_share: Probability::ZERO,
            min_seed_area: 1.0,
            min_area: 1.0,
        };
        assert_eq!(extraction.labels(&nucleus, &[0.0; 4], 4, 1.0), [0, 1, 1, 0]);
    }

    #[test]
    fn seeds_come_from_the_maps_that_there_are() {
        let of = |distance_share| Extraction::Watershed {
            nucleus_threshold: probability(0.5),
            seed_threshold: probability(0.5),
            distance_share: probability(distance_share),
            min_seed_area: 1.0,
            min_area: 1.0,
        };
        let (interior, distance) = ([0.2, 0.8], [0.6, 0.4]);
        for (share, interior, distance, expected) in [
            (0.0, Some(&interior[..]), Some(&distance[..]), Some([0.2, 0.8])),
            (0.5, Some(&interior), Some(&distance), Some([0.4, 0.6])),
            (1.0, Some(&interior), Some(&distance), Some([0.6, 0.4])),
            (0.5, Some(&interior), None, Some(interior)),
            (0.5, None, Some(&distance), Some(distance)),
            (0.5, None, None, None),
        ] {
            let map = of(share).seed_map(interior, distance);
            assert_eq!(map.is_some(), expected.is_some());
            for (got, expected) in map.iter().flat_map(|map| map.iter()).zip(expected.iter().flatten()) {
                assert!((got - expected).abs() < 1e-6, "{share}: {got} is not {expected}");
            }
        }
    }

    #[test]
    fn basins_meet_at_the_valley() {
        let height = [0.9, 0.8, 0.3, 0.7, 0.6, 0.9];
        let mut labels = [1, 0, 0, 0, 0, 2];
        watershed(|at| height[at], &[true; 6], &mut labels, 6);
        assert_eq!(labels, [1, 1, 1, 2, 2, 2]);
    }
}
