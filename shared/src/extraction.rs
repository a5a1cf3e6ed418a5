//! From probability maps to instance labels: threshold, components, seeded watershed, holes filled.

mod seed_tree;

use alloc::{vec, vec::Vec};
use core::ops::Range;
use serde::{Deserialize, Serialize};

use crate::components::{ComponentRows, Components, Run};
use crate::holes::fill_holes;
use crate::label_image::{keep_large, kept, number_large};
use crate::runs::runs;
use crate::units::Probability;
use crate::watershed::Watershed;
use seed_tree::split;

/// How nuclei are extracted from the network's maps. Areas are in pixels of the maps, at the network's scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum ExtractionParams {
    /// Connected components of the thresholded nucleus map: touching nuclei become one.
    Components {
        /// Nucleus probability above which a pixel is a nucleus.
        nucleus_threshold: Probability,
        /// Minimum area of a nucleus.
        min_area: f32,
    },
    /// Seeds from the interior and distance maps, flooded over the nucleus map: touching nuclei stay apart.
    Watershed {
        /// Nucleus probability above which a pixel is a nucleus.
        nucleus_threshold: Probability,
        /// Value of the seed map above which a pixel is part of a seed.
        seed_threshold: Probability,
        /// Weight of the distance map in the seed map if the model has both; the interior map has the rest.
        #[serde(default = "none")]
        distance_share: Probability,
        /// Minimum area of a seed.
        min_seed_area: f32,
        /// Minimum area of a nucleus.
        min_area: f32,
        /// Number of thresholds for seeds, evenly spaced from `seed_threshold` up to 1: a seed that falls apart at a
        /// higher one becomes several.
        #[serde(default = "one")]
        seed_levels: u8,
    },
}

const fn one() -> u8 {
    1
}

const fn none() -> Probability {
    Probability::ZERO
}

impl ExtractionParams {
    /// The map that seeds are taken from, out of those that a model has, `[height, width]`; one of the two alone
    /// serves for both.
    ///
    /// # Panics
    /// When the maps differ in length.
    pub(crate) fn seed_map<'a>(
        self,
        interior_hw: Option<&'a [f32]>,
        distance_hw: Option<&'a [f32]>,
    ) -> Option<SeedMap<'a>> {
        let (Some(interior_hw), Some(distance_hw)) = (interior_hw, distance_hw) else {
            return interior_hw.or(distance_hw).map(SeedMap::One);
        };
        assert_eq!(interior_hw.len(), distance_hw.len(), "maps of one size");
        let share = match self {
            Self::Components { .. } => 0.0,
            Self::Watershed { distance_share, .. } => distance_share.get(),
        };
        Some(SeedMap::Mixed { interior_hw, distance_hw, share })
    }

    /// Labels `[height, width]` from maps of the same layout, and the areas of each, indexed by label; `area_factor` is
    /// the number of pixels here for one pixel at the scale that the network saw.
    ///
    /// # Panics
    /// When the maps differ in length or have incomplete rows.
    pub(crate) fn labels(
        self,
        nucleus_hw: &[f32],
        seed_map: SeedMap<'_>,
        width: usize,
        area_factor: f32,
        watershed: &mut Watershed,
    ) -> (Vec<u32>, Vec<u32>) {
        assert_eq!(nucleus_hw.len(), seed_map.len(), "maps of one size");
        assert_eq!(nucleus_hw.len() % width, 0, "whole rows");
        let mut labels_hw = vec![0; nucleus_hw.len()];
        let areas = match self {
            Self::Components { nucleus_threshold, min_area } => {
                let mask = mask(nucleus_hw, width, nucleus_threshold);
                let areas = mask.areas();
                let (numbers, _) = number_large(&areas, min_area * area_factor);
                for Run { pixels, component } in mask.runs {
                    labels_hw[pixels].fill(numbers[component as usize]);
                }
                kept(&areas, &numbers)
            }
            Self::Watershed {
                nucleus_threshold,
                seed_threshold,
                min_seed_area,
                min_area,
                seed_levels,
                ..
            } => {
                let (mask, seeds) =
                    mask_and_seeds(nucleus_hw, seed_map, width, nucleus_threshold, seed_threshold);
                let higher = (1..seed_levels).map(|level| {
                    let low = seed_threshold.get();
                    seeds_above(
                        &seeds,
                        seed_map,
                        width,
                        low + (1.0 - low) * f32::from(level) / f32::from(seed_levels),
                    )
                });
                let higher: Vec<Components> = higher.collect();
                let seeds = split(seeds, higher, min_seed_area * area_factor);
                watershed.clear(width, nucleus_hw.len() / width);
                plant(watershed, &mask, &seeds, min_seed_area * area_factor);
                for Run { pixels, .. } in &mask.runs {
                    seed_map.raise(watershed, pixels, nucleus_hw);
                }
                watershed.flood(&mask.runs);
                for Run { pixels, .. } in &mask.runs {
                    labels_hw[pixels.clone()].copy_from_slice(watershed.labels(pixels));
                }
                let filled = fill_holes(&mut labels_hw, width, &mask.runs);
                let within = mask.runs.iter().map(|run| &run.pixels).chain(&filled).cloned();
                keep_large(&mut labels_hw, within, min_area * area_factor)
            }
        };
        (labels_hw, areas)
    }
}

/// The map that seeds are taken from, `[height, width]`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SeedMap<'a> {
    /// One of the model's.
    One(&'a [f32]),
    /// Two of them, the distance map by its share.
    Mixed { interior_hw: &'a [f32], distance_hw: &'a [f32], share: f32 },
}

impl SeedMap<'_> {
    const fn len(&self) -> usize {
        match self {
            Self::One(map_hw) => map_hw.len(),
            Self::Mixed { interior_hw, .. } => interior_hw.len(),
        }
    }

    /// Gives pixels of one row of the mask the heights that they are flooded by.
    fn raise(&self, watershed: &mut Watershed, pixels: &Range<usize>, nucleus_hw: &[f32]) {
        let nucleus = nucleus_hw[pixels.clone()].iter();
        let height = |(nucleus, seed): (&f32, f32)| (nucleus + seed) * 0.5;
        match self {
            Self::One(map_hw) => {
                watershed.raise(pixels, nucleus.zip(map_hw[pixels.clone()].iter().copied()).map(height));
            }
            Self::Mixed { interior_hw, distance_hw, share } => {
                let maps = interior_hw[pixels.clone()].iter().zip(&distance_hw[pixels.clone()]);
                let seeds = maps.map(|(&interior, &distance)| mix(interior, distance, *share));
                watershed.raise(pixels, nucleus.zip(seeds).map(height));
            }
        }
    }

    /// Sets those of some pixels whose value is above a threshold.
    fn set_above(&self, pixels: Range<usize>, threshold: f32, row: &mut [bool]) {
        match self {
            Self::One(map_hw) => set_above(&map_hw[pixels], threshold, row),
            Self::Mixed { interior_hw, distance_hw, share } => {
                let values = interior_hw[pixels.clone()].iter().zip(&distance_hw[pixels]);
                for (is_set, (&interior, &distance)) in row.iter_mut().zip(values) {
                    *is_set = mix(interior, distance, *share) > threshold;
                }
            }
        }
    }
}

fn mix(interior: f32, distance: f32, share: f32) -> f32 {
    interior + share * (distance - interior)
}

/// The components of the thresholded nucleus map.
fn mask(nucleus_hw: &[f32], width: usize, threshold: Probability) -> Components {
    let mut mask = ComponentRows::new(width);
    let mut row = vec![false; width];
    for nucleus in nucleus_hw.chunks_exact(width) {
        set_above(nucleus, threshold.get(), &mut row);
        drop(mask.push(&row));
    }
    mask.finish()
}

/// The same, and those of the thresholded seed map within it.
fn mask_and_seeds(
    nucleus_hw: &[f32],
    seed_map: SeedMap<'_>,
    width: usize,
    nucleus_threshold: Probability,
    seed_threshold: Probability,
) -> (Components, Components) {
    let (mut mask, mut seeds) = (ComponentRows::new(width), ComponentRows::new(width));
    let (mut row, mut seed_runs) = (vec![false; width], Vec::new());
    for (nucleus, start) in nucleus_hw.chunks_exact(width).zip((0..).step_by(width)) {
        set_above(nucleus, nucleus_threshold.get(), &mut row);
        for Range { start: left, end } in mask.push(&row) {
            let is_seed = &mut row[left..end];
            seed_map.set_above(start + left..start + end, seed_threshold.get(), is_seed);
            let within = runs(is_seed).filter(|&(_, is_seed)| is_seed);
            seed_runs.extend(within.map(|(run, _)| left + run.start..left + run.end));
        }
        seeds.push_runs(seed_runs.drain(..));
    }
    (mask.finish(), seeds.finish())
}

/// The components of a higher threshold of the seed map within those of a lower one.
fn seeds_above(within: &Components, seed_map: SeedMap<'_>, width: usize, threshold: f32) -> Components {
    let mut seeds = ComponentRows::new(width);
    let (mut row, mut seed_runs) = (vec![false; width], Vec::new());
    let mut rest = within.runs.iter().peekable();
    for start in (0..seed_map.len()).step_by(width) {
        while let Some(Run { pixels, .. }) = rest.next_if(|run| run.pixels.start < start + width) {
            let left = pixels.start - start;
            let is_seed = &mut row[left..pixels.end - start];
            seed_map.set_above(pixels.clone(), threshold, is_seed);
            let within = runs(is_seed).filter(|&(_, is_seed)| is_seed);
            seed_runs.extend(within.map(|(run, _)| left + run.start..left + run.end));
        }
        seeds.push_runs(seed_runs.drain(..));
    }
    seeds.finish()
}

fn set_above(values: &[f32], threshold: f32, row: &mut [bool]) {
    for (is_set, &value) in row.iter_mut().zip(values) {
        *is_set = value > threshold;
    }
}

/// Labels the seeds of at least `min_area` pixels, `1..=n`, and then every component of the mask without a seed.
fn plant(watershed: &mut Watershed, mask: &Components, seeds: &Components, min_area: f32) {
    let (numbers, mut last) = number_large(&seeds.areas(), min_area);
    let number = |seed: &Run| numbers[seed.component as usize];
    let mut seeded = vec![false; mask.count as usize + 1];
    let mut rest = seeds.runs.iter().peekable();
    for run in &mask.runs {
        // Seeds lie within the mask: the next ones that begin before this run ends are its own.
        while let Some(seed) = rest.next_if(|seed| seed.pixels.start < run.pixels.end) {
            seeded[run.component as usize] |= number(seed) != 0;
        }
    }
    let own = seeded.iter().enumerate().map(|(component, &has_seed)| {
        let is_seed = component != 0 && !has_seed;
        last += u32::from(is_seed);
        if is_seed { last } else { 0 }
    });
    let own: Vec<u32> = own.collect();
    for Run { pixels, component } in &mask.runs {
        watershed.label(pixels, own[*component as usize]);
    }
    for seed in seeds.runs.iter().filter(|&seed| number(seed) != 0) {
        watershed.label(&seed.pixels, number(seed));
    }
}

#[cfg(test)]
mod tests;
