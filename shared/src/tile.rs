//! Pictures of any size through a network of fixed size: overlapping tiles, blended.

use alloc::{vec, vec::Vec};

use crate::preprocess::Planes;

/// Where the tiles of a picture lie: all of one size, spread evenly, overlapping by at least `overlap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TilePlan {
    tile: usize,
    overlap: usize,
    lefts: Vec<usize>,
    tops: Vec<usize>,
}

impl TilePlan {
    /// Plans square tiles of `tile` pixels a side over a picture. A picture smaller than a tile is one
    /// tile, continued by reflection.
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

    /// Never: every picture has a tile.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Left and top of a tile, row by row.
    fn corner(&self, index: usize) -> (usize, usize) {
        (self.lefts[index % self.lefts.len()], self.tops[index / self.lefts.len()])
    }

    /// Copies a tile out of a picture as three planes, `[3, tile, tile]`; grey is repeated.
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

/// Puts tiles together: where they overlap, a weight that falls linearly to the edge blends them. Serves for one
/// picture after the other of the same plan.
#[derive(Debug)]
pub struct Blend {
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

impl Blend {
    /// A canvas of `planes` planes of the picture's size.
    pub fn new(plan: TilePlan, planes: usize, width: usize, height: usize) -> Self {
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

    /// Whether it serves for this plan and size.
    pub fn fits(&self, plan: &TilePlan, planes: usize, width: usize, height: usize) -> bool {
        self.plan == *plan
            && (self.sums.count(), self.sums.width(), self.sums.height()) == (planes, width, height)
    }

    /// Adds the next tile, `[planes, tile, tile]`: they come in the plan's order, and after the last one begins the
    /// next picture.
    pub fn add(&mut self, tile_chw: &[f32]) {
        let (left, top) = self.plan.corner(self.next);
        let (untouched_left, untouched_top) = self.plan.untouched(self.next);
        let (tile, width) = (self.plan.tile, self.sums.width());
        let columns = tile.min(width - left);
        let rows = tile.min(self.sums.height() - top);
        for y in 0..rows {
            let at = (top + y) * width + left;
            let ramp_y = self.ramp[y];
            // What lies beyond was put there for the picture before.
            let touched = if top + y < untouched_top { columns } else { untouched_left.saturating_sub(left) };
            for (channel, source) in tile_chw.chunks_exact(tile * tile).enumerate() {
                let source = &source[y * tile..][..columns];
                let target = &mut self.sums.plane_mut(channel)[at..][..columns];
                let (sums, firsts) = target.split_at_mut(touched);
                let (ramp_of_sums, ramp_of_firsts) = self.ramp.split_at(touched);
                for ((sum, value), ramp_x) in sums.iter_mut().zip(source).zip(ramp_of_sums) {
                    *sum += value * ramp_x * ramp_y;
                }
                for ((first, value), ramp_x) in firsts.iter_mut().zip(&source[touched..]).zip(ramp_of_firsts)
                {
                    *first = value * ramp_x * ramp_y;
                }
            }
        }
        self.next = (self.next + 1) % self.plan.len();
    }

    /// Ends a picture, all of whose tiles were added.
    pub fn finish(&mut self) -> &Planes {
        let width = self.sums.width();
        for (y, weights) in self.weights.chunks_exact(width).enumerate() {
            for index in 0..self.sums.count() {
                let row = &mut self.sums.plane_mut(index)[y * width..(y + 1) * width];
                for (values, weights) in row.chunks_mut(BLOCK).zip(weights.chunks(BLOCK)) {
                    // Most pixels lie in one tile alone, away from its edge.
                    if weights.iter().fold(false, |any, &weight| any | (weight != 1.0)) {
                        values.iter_mut().zip(weights).for_each(|(value, weight)| *value /= weight);
                    }
                }
            }
        }
        &self.sums
    }

    /// The planes of the picture that was ended last.
    pub fn into_planes(self) -> Planes {
        self.sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let mut blend = Blend::new(plan.clone(), 3, width, height);
            let mut tile = vec![0.0; 3 * 16 * 16];
            // The second picture must not show what is left of the first.
            for picture in [Planes::new(width, height, vec![1e6; width * height]), picture] {
                for index in 0..plan.len() {
                    plan.cut(&picture, index, &mut tile);
                    blend.add(&tile);
                }
                for (got, want) in blend.finish().plane(2).iter().zip(picture.plane(0)) {
                    assert!((got / want - 1.0).abs() < 1e-5, "{width}x{height}: {got} is not {want}");
                }
            }
        }
    }

    #[test]
    fn neighbours_blend_linearly_where_they_overlap() {
        // Two tiles of 16 over 28 pixels share columns 12 to 15.
        let plan = TilePlan::new(28, 16, 16, 4);
        assert_eq!(plan.len(), 2);
        let mut blend = Blend::new(plan, 1, 28, 16);
        blend.add(&[0.0; 256]);
        blend.add(&[1.0; 256]);
        let blended = blend.finish();
        for row in blended.plane(0).chunks_exact(28) {
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
