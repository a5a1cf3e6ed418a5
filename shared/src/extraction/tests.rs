use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn labels(
    extraction: ExtractionParams,
    nucleus: &[f32],
    seed: &[f32],
    width: usize,
    area_factor: f32,
) -> Vec<u32> {
    let (labels, areas) =
        extraction.labels(nucleus, SeedMap::One(seed), width, area_factor, &mut Watershed::default());
    assert_eq!(areas, counted(&labels));
    labels
}

/// The areas of labels, pixel by pixel; those of the background are left out.
fn counted(labels: &[u32]) -> Vec<u32> {
    let mut areas = vec![0; labels.iter().copied().max().unwrap_or(0) as usize + 1];
    labels.iter().filter(|&&label| label != 0).for_each(|&label| areas[label as usize] += 1);
    areas
}

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
    let joined = ExtractionParams::Components { nucleus_threshold: probability(0.5), min_area: 10.0 };
    let apart = ExtractionParams::Watershed {
        nucleus_threshold: probability(0.5),
        seed_threshold: probability(0.5),
        distance_share: Probability::ZERO,
        min_seed_area: 5.0,
        min_area: 10.0,
        seed_levels: 1,
    };
    let count = |labels: Vec<u32>| labels.into_iter().max().unwrap();
    assert_eq!(count(labels(joined, &nucleus, &interior, width, 1.0)), 1);
    let labels = labels(apart, &nucleus, &interior, width, 1.0);
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
    let extraction = ExtractionParams::Components { nucleus_threshold: probability(0.5), min_area: 2.0 };
    assert_eq!(labels(extraction, &nucleus, &nucleus, 9, 1.0), [0, 0, 1, 1, 0, 2, 2, 2, 2]);
    assert_eq!(labels(extraction, &nucleus, &nucleus, 9, 2.0), [0, 0, 0, 0, 0, 1, 1, 1, 1]);
}

#[test]
fn a_nucleus_without_interior_still_counts() {
    let nucleus = [0.0, 0.9, 0.9, 0.0];
    let extraction = ExtractionParams::Watershed {
        nucleus_threshold: probability(0.5),
        seed_threshold: probability(0.5),
        distance_share: Probability::ZERO,
        min_seed_area: 1.0,
        min_area: 1.0,
        seed_levels: 1,
    };
    assert_eq!(labels(extraction, &nucleus, &[0.0; 4], 4, 1.0), [0, 1, 1, 0]);
}

#[test]
fn seeds_come_from_the_maps_that_there_are() {
    let of = |distance_share| ExtractionParams::Watershed {
        nucleus_threshold: probability(0.5),
        seed_threshold: probability(0.5),
        distance_share: probability(distance_share),
        min_seed_area: 1.0,
        min_area: 1.0,
        seed_levels: 1,
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
        for (pixel, expected) in expected.iter().flatten().enumerate() {
            let is_above = |threshold: f32| {
                let mut above = [false];
                map.unwrap().set_above(pixel..pixel + 1, threshold, &mut above);
                above[0]
            };
            assert!(is_above(expected - 1e-6) && !is_above(expected + 1e-6), "{share}: not {expected}");
        }
    }
}

/// What the rows and runs must equal: the whole map at once, pixel by pixel.
mod slow {
    use super::super::*;
    use crate::components::{components, neighbours};

    pub(super) fn labels(
        extraction: ExtractionParams,
        nucleus: &[f32],
        seed: &[f32],
        width: usize,
        area_factor: f32,
    ) -> Vec<u32> {
        match extraction {
            ExtractionParams::Components { nucleus_threshold, min_area } => {
                let mask: Vec<bool> = nucleus.iter().map(|&value| value > nucleus_threshold.get()).collect();
                let (mut labels, _) = components(&mask, width);
                keep_large(&mut labels, min_area * area_factor);
                labels
            }
            ExtractionParams::Watershed {
                nucleus_threshold,
                seed_threshold,
                min_seed_area,
                min_area,
                ..
            } => {
                let mask: Vec<bool> = nucleus.iter().map(|&value| value > nucleus_threshold.get()).collect();
                let seeds: Vec<bool> = seed
                    .iter()
                    .zip(&mask)
                    .map(|(&seed, &inside)| inside && seed > seed_threshold.get())
                    .collect();
                let (mut labels, _) = components(&seeds, width);
                let last = keep_large(&mut labels, min_seed_area * area_factor);
                seed_the_rest(&mask, &mut labels, last, width);
                flood(|at| (nucleus[at] + seed[at]) * 0.5, &mask, &mut labels, width);
                fill_holes(&mut labels, width);
                keep_large(&mut labels, min_area * area_factor);
                labels
            }
        }
    }

    fn keep_large(labels: &mut [u32], min_area: f32) -> u32 {
        let most = labels.iter().copied().max().unwrap_or(0);
        let mut last = 0;
        for label in 1..=most {
            let area = labels.iter().filter(|&&other| other == label).count();
            let keep = area > 0 && area as f32 >= min_area;
            last += u32::from(keep);
            let number = if keep { last } else { 0 };
            labels.iter_mut().filter(|other| **other == label).for_each(|other| *other = number);
        }
        last
    }

    fn seed_the_rest(mask: &[bool], labels: &mut [u32], mut last: u32, width: usize) {
        let (pieces, count) = components(mask, width);
        for piece in 1..=count {
            let pixels: Vec<usize> = (0..pieces.len()).filter(|&at| pieces[at] == piece).collect();
            if pixels.iter().all(|&at| labels[at] == 0) {
                last += 1;
                pixels.into_iter().for_each(|at| labels[at] = last);
            }
        }
    }

    fn flood(height: impl Fn(usize) -> f32, mask: &[bool], labels: &mut [u32], width: usize) {
        let level = |at: usize| (height(at).clamp(0.0, 1.0) * 255.0) as usize;
        let mut queues: Vec<Vec<usize>> = vec![Vec::new(); 256];
        (0..labels.len()).filter(|&at| labels[at] != 0).for_each(|at| queues[level(at)].push(at));
        for current in (0..queues.len()).rev() {
            let mut head = 0;
            while head < queues[current].len() {
                let at = queues[current][head];
                head += 1;
                for near in neighbours(at, width, labels.len()) {
                    if mask[near] && labels[near] == 0 {
                        labels[near] = labels[at];
                        queues[level(near).min(current)].push(near);
                    }
                }
            }
        }
    }

    fn fill_holes(labels: &mut [u32], width: usize) {
        let ground: Vec<bool> = labels.iter().map(|&label| label == 0).collect();
        let (pieces, count) = components(&ground, width);
        for piece in 1..=count {
            let pixels: Vec<usize> = (0..pieces.len()).filter(|&at| pieces[at] == piece).collect();
            let is_at_edge = pixels.iter().any(|&at| neighbours(at, width, labels.len()).count() < 4);
            let mut around: Vec<u32> = pixels
                .iter()
                .flat_map(|&at| neighbours(at, width, labels.len()))
                .map(|near| labels[near])
                .filter(|&label| label != 0)
                .collect();
            around.sort_unstable();
            around.dedup();
            if let ([label], false) = (&around[..], is_at_edge) {
                pixels.into_iter().for_each(|at| labels[at] = *label);
            }
        }
    }
}

prop_compose! {
    /// Two maps of few different values, in squares: much is equal, much touches, and there are holes.
    fn maps()(width in 1usize..40, height in 1usize..30, square in 1usize..5)(
        values in vec((0u8..=20, 0u8..=20), width.div_ceil(square) * height.div_ceil(square)),
        width in Just(width),
        height in Just(height),
        square in Just(square),
    ) -> (Vec<f32>, Vec<f32>, usize) {
        let across = width.div_ceil(square);
        let at = |index: usize| values[index / width / square * across + index % width / square];
        let map = |value: fn((u8, u8)) -> u8| {
            (0..width * height).map(|index| f32::from(value(at(index))) / 20.0).collect()
        };
        (map(|values| values.0), map(|values| values.1), width)
    }
}

proptest! {
    #[test]
    fn labels_are_those_of_the_whole_map_pixel_by_pixel(
        all in vec(maps(), 1..4),
        nucleus_threshold in 0.0f32..0.8,
        seed_threshold in 0.0f32..0.9,
        (min_seed_area, min_area) in (0.0f32..12.0, 0.0f32..20.0),
        area_factor in 0.5f32..2.0,
    ) {
        let nucleus_threshold = probability(nucleus_threshold);
        let mut watershed = Watershed::default();
        for (nucleus, seed, width) in all {
            for extraction in [
                ExtractionParams::Components { nucleus_threshold, min_area },
                ExtractionParams::Watershed {
                    nucleus_threshold,
                    seed_threshold: probability(seed_threshold),
                    distance_share: Probability::ZERO,
                    min_seed_area,
                    min_area,
                    seed_levels: 1,
                },
            ] {
                let map = SeedMap::One(&seed);
                let (labels, areas) =
                    extraction.labels(&nucleus, map, width, area_factor, &mut watershed);
                prop_assert_eq!(&labels, &slow::labels(extraction, &nucleus, &seed, width, area_factor));
                prop_assert_eq!(areas, counted(&labels));
            }
        }
    }
}
