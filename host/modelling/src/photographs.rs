//! Finds images of a data set that were cut from the same photograph, by their pixels.
//!
//! Images of one photograph share stain, light and focus, and often halves of the same nucleus, so a network trained on
//! one of them has seen the others. An honest split keeps them together.

use std::collections::HashMap;

use shared::Image;

/// Minimum correlation of two edges that continue each other, without slow changes.
const LEAST_CORRELATION: f32 = 0.8;
/// Maximum difference of two such edges, relative to that of neighboring lines within the images.
const MOST_STEP: f32 = 1.6;
/// Pixels to either side whose mean counts as a slow change.
const SLOW: usize = 12;
/// Minimum deviation of an informative edge, in sample values of 0 to 255.
const LEAST_DEVIATION: f32 = 1.0;

/// For each image the number of its photograph, counted from 0 in the order of first images.
///
/// Two images of equal size belong together if an edge of one continues an edge of the other, each the other's best
/// match, or if they are equal. Edges with only flat background are ignored.
pub fn photographs(images: &[&Image]) -> Vec<usize> {
    let mut groups = Groups((0..images.len()).collect());
    let mut by_form: HashMap<(u32, u32, usize), Vec<usize>> = HashMap::new();
    for (at, image) in images.iter().enumerate() {
        by_form.entry((image.width(), image.height(), image.channels().count())).or_default().push(at);
    }
    for members in by_form.values() {
        let mut seen: HashMap<&[u8], usize> = HashMap::new();
        for &at in members {
            let first = *seen.entry(images[at].samples_hwc()).or_insert(at);
            groups.join(first, at);
        }
        for (end, start) in [(Side::Right, Side::Left), (Side::Bottom, Side::Top)] {
            let edges = |side| members.iter().map(|&at| Edge::of(images[at], side)).collect::<Vec<_>>();
            for (a, b) in continued(&edges(end), &edges(start)) {
                groups.join(members[a], members[b]);
            }
        }
    }
    groups.numbered()
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Left,
    Right,
    Top,
    Bottom,
}

/// The outermost line of an image's side.
#[derive(Debug)]
struct Edge {
    /// Unchanged, all channels.
    line: Vec<f32>,
    /// Without slow changes, with mean 0 and length 1; empty if the line is flat.
    pattern: Vec<f32>,
    /// Mean difference from the next line within the image.
    step: f32,
}

impl Edge {
    fn of(image: &Image, side: Side) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let channels = image.channels().count();
        let samples = image.samples_hwc();
        let line = |depth: usize| -> Vec<Vec<f32>> {
            let place = |along: usize| match side {
                Side::Left => along * width + depth.min(width - 1),
                Side::Right => along * width + width - 1 - depth.min(width - 1),
                Side::Top => depth.min(height - 1) * width + along,
                Side::Bottom => (height - 1 - depth.min(height - 1)) * width + along,
            };
            let length = match side {
                Side::Left | Side::Right => height,
                Side::Top | Side::Bottom => width,
            };
            let sample = |along, channel| f32::from(samples[place(along) * channels + channel]);
            (0..channels).map(|channel| (0..length).map(|along| sample(along, channel)).collect()).collect()
        };
        let (outer, inner) = (line(0), line(1));
        let mut pattern: Vec<f32> = outer.iter().flat_map(|line| without_slow(line)).collect();
        let line = outer.concat();
        let step = difference(&line, &inner.concat());
        let norm = pattern.iter().map(|v| v * v).sum::<f32>().sqrt();
        if norm < LEAST_DEVIATION * (pattern.len() as f32).sqrt() {
            pattern.clear();
        }
        pattern.iter_mut().for_each(|v| *v /= norm);
        Self { line, pattern, step }
    }

    fn correlation(&self, other: &Self) -> f32 {
        self.pattern.iter().zip(&other.pattern).map(|(a, b)| a * b).sum()
    }
}

/// A line without its slow changes.
fn without_slow(line: &[f32]) -> impl Iterator<Item = f32> {
    (0..line.len()).map(|at| {
        let near = &line[at.saturating_sub(SLOW)..(at + SLOW + 1).min(line.len())];
        line[at] - near.iter().sum::<f32>() / near.len() as f32
    })
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len().max(1) as f32
}

/// Pairs of an end and the start that continues it, each the other's best match.
fn continued(ends: &[Edge], starts: &[Edge]) -> Vec<(usize, usize)> {
    let best = |edge: &Edge, others: &[Edge], own: usize| {
        (0..others.len())
            .filter(|&other| other != own)
            .map(|other| (other, edge.correlation(&others[other])))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    };
    let back: Vec<_> = starts.iter().enumerate().map(|(at, start)| best(start, ends, at)).collect();
    (0..ends.len())
        .filter_map(|a| {
            let (b, correlation) = best(&ends[a], starts, a)?;
            let mutual = back[b].is_some_and(|(back, _)| back == a);
            let step = (ends[a].step + starts[b].step) / 2.0;
            let continues = difference(&ends[a].line, &starts[b].line) <= MOST_STEP * step;
            (mutual && continues && correlation >= LEAST_CORRELATION).then_some((a, b))
        })
        .collect()
}

/// Disjoint sets: for each element the index of another element nearer to the first of its set.
struct Groups(Vec<usize>);

impl Groups {
    fn first(&self, mut at: usize) -> usize {
        while self.0[at] != at {
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.first(a), self.first(b));
        self.0[a.max(b)] = a.min(b);
    }

    fn numbered(&self) -> Vec<usize> {
        let mut numbers = HashMap::new();
        (0..self.0.len())
            .map(|at| {
                let next = numbers.len();
                *numbers.entry(self.first(at)).or_insert(next)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
