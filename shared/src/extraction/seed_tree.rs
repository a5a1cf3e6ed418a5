//! Seeds of several thresholds: where a seed falls apart at a higher one, its parts are the seeds.

use alloc::{vec, vec::Vec};

use crate::components::{Components, Run};

/// Splits `seeds` where they fall apart into two or more parts of at least `min_area` pixels at one of the `higher`
/// thresholds, which are given in ascending order; each level's components lie within those of the level before.
pub(super) fn split(seeds: Components, higher: Vec<Components>, min_area: f32) -> Components {
    if higher.is_empty() {
        return seeds;
    }
    let levels: Vec<Components> = core::iter::once(seeds).chain(higher).collect();
    let parents: Vec<Vec<usize>> = levels.windows(2).map(|pair| parents(&pair[0], &pair[1])).collect();
    // From the top down to the lowest threshold: into how many seeds each component falls, and whether it falls apart.
    let mut parts: Vec<u32> = Vec::new();
    let mut falls_apart: Vec<Vec<bool>> = Vec::new();
    for (level, components) in levels.iter().enumerate().rev() {
        let mut own = vec![0; components.count as usize + 1];
        if let Some(parents) = parents.get(level) {
            for (part, &parent) in parts.iter().zip(parents).skip(1) {
                own[parent] += part;
            }
        }
        let apart: Vec<bool> = own.iter().map(|&parts| parts > 1).collect();
        for (parts, area) in own.iter_mut().zip(components.areas()).filter(|(parts, _)| **parts < 2) {
            *parts = u32::from(area as f32 >= min_area);
        }
        falls_apart.push(apart);
        parts = own;
    }
    falls_apart.reverse();
    // From the lowest threshold up: a component counts if all below it fall apart, and it does not itself.
    let mut open = vec![true; levels[0].count as usize + 1];
    let (mut runs, mut count) = (Vec::new(), 0);
    for (level, components) in levels.iter().enumerate() {
        let mut numbers = vec![0; open.len()];
        for component in 1..open.len() {
            if open[component] && !falls_apart[level][component] {
                count += 1;
                numbers[component] = count;
            }
        }
        let numbered = components.runs.iter().filter(|run| numbers[run.component as usize] != 0);
        runs.extend(numbered.map(|run| Run { component: numbers[run.component as usize], ..run.clone() }));
        if let Some(parents) = parents.get(level) {
            open = parents.iter().map(|&parent| open[parent] && falls_apart[level][parent]).collect();
        }
    }
    runs.sort_unstable_by_key(|run| run.pixels.start);
    Components { runs, count }
}

/// The component of `below` that each of `above` lies in, by its number; that of 0, which is unused, is 0.
fn parents(below: &Components, above: &Components) -> Vec<usize> {
    let mut parents = vec![0; above.count as usize + 1];
    let mut rest = below.runs.iter().peekable();
    for Run { pixels, component } in &above.runs {
        while rest.next_if(|run| run.pixels.end <= pixels.start).is_some() {}
        if let Some(run) = rest.peek() {
            parents[*component as usize] = run.component as usize;
        }
    }
    parents
}
