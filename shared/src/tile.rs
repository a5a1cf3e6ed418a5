//! Images of any size through a network of fixed size: overlapping tiles, blended.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use crate::parallel::ParallelFor;
use crate::preprocess::Planes;

/// The tile layout of an image: equal tiles, evenly spaced, overlapping by at least `overlap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TilePlan {
    tile: usize,
    overlap: usize,
    lefts: Vec<usize>,
    tops: Vec<usize>,
}

impl TilePlan {
    /// Plans square tiles of `tile` pixels per side over an image. An image smaller than a tile is one tile, extended
    /// by reflection.
    ///
    /// # Panics
    /// When the overlap is not under half of a tile.
    pub fn new(width: usize, height: usize, tile: usize, overlap: usize) -> Self {
        assert!(overlap * 2 < tile, "an overlap under half of the tile");
        Self { tile, overlap, lefts: starts(width, tile, overlap), tops: starts(height, tile, overlap) }
    }

    /// Number of tiles.
    pub fn len(&self) -> usize {
        self.lefts.len() * self.tops.len()
    }

    /// Never: every image has a tile.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Left and top of a tile, row by row.
    fn corner(&self, index: usize) -> (usize, usize) {
        (self.lefts[index % self.lefts.len()], self.tops[index / self.lefts.len()])
    }

    /// Copies a tile out of an image as three planes, `[3, tile, tile]`; gray is repeated.
    ///
    /// # Panics
    /// When `tile_chw` does not hold three planes of a tile.
    pub fn cut(&self, planes: &Planes, index: usize, tile_chw: &mut [f32]) {
        let (left, top) = self.corner(index);
        let area = self.tile * self.tile;
        let within = self.tile.min(planes.width() - left);
        for (channel, target) in tile_chw.chunks_exact_mut(area).enumerate() {
            let source = planes.plane(channel.min(planes.count() - 1));
            for (y, row) in target.chunks_exact_mut(self.tile).enumerate() {
                let source_row = &source[reflect(top + y, planes.height()) * planes.width()..];
                let (inside, beyond) = row.split_at_mut(within);
                inside.copy_from_slice(&source_row[left..left + within]);
                for (value, x) in beyond.iter_mut().zip(left + within..) {
                    *value = source_row[reflect(x, planes.width())];
                }
            }
        }
    }

    /// The rows of the image that tiles lie over.
    fn rows(&self, tiles: Range<usize>) -> Range<usize> {
        let top = |index: usize| self.corner(index).1;
        top(tiles.start)..top(tiles.end - 1) + self.tile
    }

    /// The last of the tiles that lie over a row.
    fn last_over(&self, y: usize) -> usize {
        self.tops.partition_point(|&top| top <= y) * self.lefts.len() - 1
    }

    /// The first column and row of a tile that no tile before it reaches.
    fn untouched(&self, index: usize) -> (usize, usize) {
        let after =
            |starts: &[usize], at: usize| at.checked_sub(1).map_or(0, |before| starts[before] + self.tile);
        (after(&self.lefts, index % self.lefts.len()), after(&self.tops, index / self.lefts.len()))
    }
}

/// First pixels of tiles along one side.
fn starts(side: usize, tile: usize, overlap: usize) -> Vec<usize> {
    if side <= tile {
        return vec![0];
    }
    let last = side - tile;
    let steps = last.div_ceil(tile - overlap);
    (0..=steps).map(|i| i * last / steps).collect()
}

/// Continues a row of `side` pixels by reflection about its edge pixels.
fn reflect(x: usize, side: usize) -> usize {
    if side == 1 {
        return 0;
    }
    let period = 2 * (side - 1);
    let x = x % period;
    if x < side { x } else { period - x }
}

/// Blends tiles with weights that fall linearly towards their edges. Reusable for images of the same plan.
#[derive(Debug)]
pub(crate) struct TileBlender {
    plan: TilePlan,
    sums: Planes,
    /// Sum of the tiles' weights at every pixel.
    weights: Vec<f32>,
    ramp: Vec<f32>,
    /// The tile that comes next.
    next: usize,
}

/// Pixels whose weights are looked at together.
const BLOCK: usize = 32;
/// Rows of an image that are blended together: few enough to stay in a core's cache.
const BAND: usize = 16;

impl TileBlender {
    /// A canvas of `planes` planes of the picture's size.
    pub(crate) fn new(plan: TilePlan, planes: usize, width: usize, height: usize) -> Self {
        let reach = plan.overlap + 1;
        let ramp: Vec<f32> =
            (0..plan.tile).map(|i| (i + 1).min(plan.tile - i).min(reach) as f32 / reach as f32).collect();
        let mut weights = vec![0.0; width * height];
        for index in 0..plan.len() {
            let (left, top) = plan.corner(index);
            let columns = plan.tile.min(width - left);
            for (y, ramp_y) in (top..height).zip(&ramp) {
                for (weight, ramp_x) in weights[y * width + left..][..columns].iter_mut().zip(&ramp) {
                    *weight += ramp_x * ramp_y;
                }
            }
        }
        Self { plan, sums: Planes::zeros(planes, width, height), weights, ramp, next: 0 }
    }

    /// Whether it fits this plan and size.
    pub(crate) fn fits(&self, plan: &TilePlan, planes: usize, width: usize, height: usize) -> bool {
        self.plan == *plan
            && (self.sums.count(), self.sums.width(), self.sums.height()) == (planes, width, height)
    }

    /// Adds the next tiles, `[n, planes, tile, tile]`: they come in the plan's order, and after the last one begins
    /// the next image.
    ///
    /// # Panics
    /// When they are more than are left of the picture.
    pub(crate) fn add(&mut self, tiles_nchw: &[f32], threads: &impl ParallelFor) {
        let Self { plan, sums, weights, ramp, next } = self;
        let tile_values = sums.count() * plan.tile * plan.tile;
        let tiles = *next..*next + tiles_nchw.len() / tile_values;
        assert!(tiles.end <= plan.len(), "no more tiles than the plan has");
        let rows = plan.rows(tiles.clone());
        let width = sums.width();
        let mut bands: Vec<Band<'_>> = (0..)
            .step_by(BAND)
            .zip(weights.chunks(BAND * width))
            .map(|(top, weights)| Band { top, width, weights, planes: Vec::new() })
            .collect();
        for plane in sums.planes_mut() {
            for (band, values) in bands.iter_mut().zip(plane.chunks_mut(BAND * width)) {
                band.planes.push(values);
            }
        }
        bands.retain(|band| band.top < rows.end && band.bottom() > rows.start);
        *next = tiles.end % plan.len();
        threads.for_each(bands, |mut band| {
            for (index, tile_chw) in tiles.clone().zip(tiles_nchw.chunks_exact(tile_values)) {
                band.add(plan, ramp, index, tile_chw);
            }
            band.finish(plan, &tiles);
        });
    }

    /// The planes of the image whose tiles were added last.
    pub(crate) const fn planes(&self) -> &Planes {
        &self.sums
    }

    /// The same, for good.
    pub(crate) fn into_planes(self) -> Planes {
        self.sums
    }
}

/// Some rows of the canvas.
struct Band<'a> {
    top: usize,
    width: usize,
    weights: &'a [f32],
    /// The rows' values in each plane.
    planes: Vec<&'a mut [f32]>,
}

impl Band<'_> {
    const fn bottom(&self) -> usize {
        self.top + self.weights.len() / self.width
    }

    /// Adds what of a tile lies in the band.
    fn add(&mut self, plan: &TilePlan, ramp: &[f32], index: usize, tile_chw: &[f32]) {
        let (tile, width) = (plan.tile, self.width);
        let (left, top) = plan.corner(index);
        let (untouched_left, untouched_top) = plan.untouched(index);
        let columns = tile.min(width - left);
        for y in top.max(self.top)..(top + tile).min(self.bottom()) {
            let at = (y - self.top) * width + left;
            let ramp_y = ramp[y - top];
            // What lies beyond was put there for the image before.
            let touched = if y < untouched_top { columns } else { untouched_left.saturating_sub(left) };
            for (plane, source) in self.planes.iter_mut().zip(tile_chw.chunks_exact(tile * tile)) {
                let source = &source[(y - top) * tile..][..columns];
                let (sums, firsts) = plane[at..][..columns].split_at_mut(touched);
                let (ramp_of_sums, ramp_of_firsts) = ramp.split_at(touched);
                for ((sum, value), ramp_x) in sums.iter_mut().zip(source).zip(ramp_of_sums) {
                    *sum += value * ramp_x * ramp_y;
                }
                for ((first, value), ramp_x) in firsts.iter_mut().zip(&source[touched..]).zip(ramp_of_firsts)
                {
                    *first = value * ramp_x * ramp_y;
                }
            }
        }
    }

    /// Takes the weights out of the rows whose last tile is one of these.
    fn finish(&mut self, plan: &TilePlan, tiles: &Range<usize>) {
        for (y, weights) in (self.top..).zip(self.weights.chunks_exact(self.width)) {
            if !tiles.contains(&plan.last_over(y)) {
                continue;
            }
            let at = (y - self.top) * self.width;
            for (block, weights) in (at..).step_by(BLOCK).zip(weights.chunks(BLOCK)) {
                // Most pixels are in a single tile, away from its edge.
                if weights.iter().fold(false, |any, &weight| any | (weight != 1.0)) {
                    for plane in &mut self.planes {
                        let values = &mut plane[block..][..weights.len()];
                        values.iter_mut().zip(weights).for_each(|(value, weight)| *value /= weight);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::Sequential;

    #[test]
    fn tiles_cover_with_overlap() {
        for (side, expected) in [(1, 1), (256, 1), (257, 2), (480, 2), (481, 3), (640, 3), (20_000, 90)] {
            let starts = starts(side, 256, 32);
            assert_eq!(starts.len(), expected, "{side}");
            assert_eq!(starts.last().unwrap() + 256, side.max(256), "{side}");
            assert!(starts.windows(2).all(|pair| pair[1] - pair[0] <= 224), "{side}");
        }
    }

    #[test]
    fn cutting_and_blending_gives_the_picture_back() {
        for (width, height) in [(1, 1), (5, 40), (16, 16), (33, 17), (50, 61)] {
            let values: Vec<f32> = (0..width * height).map(|i| (1 + i * 7919 % 101) as f32).collect();
            let picture = Planes::new(width, height, values);
            let plan = TilePlan::new(width, height, 16, 4);
            let mut blend = TileBlender::new(plan.clone(), 3, width, height);
            let mut tile = vec![0.0; 3 * 16 * 16];
            // The second image must not show what is left of the first.
            for picture in [Planes::new(width, height, vec![1e6; width * height]), picture] {
                for index in 0..plan.len() {
                    plan.cut(&picture, index, &mut tile);
                    blend.add(&tile, &Sequential);
                }
                for (got, want) in blend.planes().plane(2).iter().zip(picture.plane(0)) {
                    assert!((got / want - 1.0).abs() < 1e-5, "{width}x{height}: {got} is not {want}");
                }
            }
        }
    }

    /// Does the parts from the last to the first.
    struct Backwards;

    impl ParallelFor for Backwards {
        fn for_each<T: Send>(&self, parts: Vec<T>, work: impl Fn(T) + Send + Sync) {
            parts.into_iter().rev().for_each(work);
        }
    }

    #[test]
    fn however_many_tiles_come_at_once_the_bits_are_those_of_tile_by_tile() {
        let (width, height) = (61, 50);
        let plan = TilePlan::new(width, height, 16, 4);
        let area = 2 * 16 * 16;
        let tiles: Vec<f32> = (0..plan.len() * area).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect();
        // The definition: every tile times its weights, in their order, over the sum of weights.
        let mut expected = Planes::zeros(2, width, height);
        let canvas = TileBlender::new(plan.clone(), 2, width, height);
        for plane in 0..2 {
            for (index, tile) in tiles.chunks_exact(area).enumerate() {
                let (left, top) = plan.corner(index);
                for (at, value) in tile[plane * 256..][..256].iter().enumerate() {
                    let (x, y) = (at % 16, at / 16);
                    expected.plane_mut(plane)[(top + y) * width + left + x] +=
                        value * canvas.ramp[x] * canvas.ramp[y];
                }
            }
            expected
                .plane_mut(plane)
                .iter_mut()
                .zip(&canvas.weights)
                .for_each(|(sum, weight)| *sum /= weight);
        }
        for at_once in [1, 3, plan.len()] {
            let mut blend = TileBlender::new(plan.clone(), 2, width, height);
            tiles.chunks(at_once * area).for_each(|tiles| blend.add(tiles, &Backwards));
            assert_eq!(blend.into_planes(), expected, "{at_once} at once");
        }
    }

    #[test]
    fn neighbours_blend_linearly_where_they_overlap() {
        // Two tiles of 16 over 28 pixels share columns 12 to 15.
        let plan = TilePlan::new(28, 16, 16, 4);
        assert_eq!(plan.len(), 2);
        let mut blend = TileBlender::new(plan, 1, 28, 16);
        blend.add(&[0.0; 256], &Sequential);
        blend.add(&[1.0; 256], &Sequential);
        for row in blend.planes().plane(0).chunks_exact(28) {
            for (x, &value) in row.iter().enumerate() {
                let expected = (x as f32 - 11.0).clamp(0.0, 5.0) / 5.0;
                assert!((value - expected).abs() < 1e-6, "column {x}: {value} is not {expected}");
            }
        }
    }

    #[test]
    fn reflection_does_not_repeat_the_edge() {
        let reflected: Vec<usize> = (0..7).map(|x| reflect(x, 3)).collect();
        assert_eq!(reflected, [0, 1, 2, 1, 0, 1, 2]);
    }
}
