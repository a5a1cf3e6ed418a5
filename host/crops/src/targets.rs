//! What the network shall say about each pixel of a crop, and how much each pixel counts.
//!
//! All of it is measured on the whole nucleus in the full picture and then cut: the border of a crop is no outline,
//! and does not make a nucleus small.

use shared::LabelImage;

/// Width of the ring between outline and interior, px of the crop.
const RING_PX: f32 = 1.5;
/// The same where another nucleus touches: both together must show in features of half the resolution.
const SEAM_PX: f32 = 2.0;
/// Most of a nucleus's half width that its ring takes: the smallest nuclei keep an interior.
const MOST_RING: f32 = 0.5;
/// How far from another nucleus pixels count more, px of the crop.
const TOUCHING_PX: f32 = 2.5;
/// How much more than others such a pixel counts in the maps that seeds are taken from.
const TOUCHING_WEIGHT: f32 = 4.0;
/// Area of the nuclei whose pixels count once, px of the crop; those of smaller ones count more.
const COMMON_AREA: f32 = 450.0;
/// How much more than others the pixels of a small nucleus count at most.
const SMALL_WEIGHT: f32 = 3.0;

/// Where the outlines of a picture's nuclei lie, in pixels of the picture.
#[derive(Debug)]
pub(super) struct NucleusMaps {
    /// Thirds of a pixel from each pixel of a nucleus to the next one of another label, `[height, width]`; background
    /// is 0.
    outline_hw: Vec<u16>,
    /// The same to the next pixel of another nucleus, along this one; [`FAR`] where none touches.
    touching_hw: Vec<u16>,
    /// By label.
    nuclei: Vec<NucleusSize>,
    /// The middle of each nucleus, x and y, px.
    pub(super) centres: Vec<[f32; 2]>,
}

/// The size of a whole nucleus.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct NucleusSize {
    /// Pixels.
    area: f32,
    /// Greatest distance of one of its pixels to its outline, px.
    half_width: f32,
}

impl NucleusMaps {
    pub(super) fn new(labels: &LabelImage) -> Self {
        let (labels_hw, width) = (labels.labels_hw(), labels.width() as usize);
        let outline_hw = distances(labels_hw, width, |own, near| near != own);
        let touching_hw = distances(labels_hw, width, |own, near| near != own && near != 0);
        let most = labels_hw.iter().max().map_or(0, |&label| label as usize);
        let mut nuclei = vec![NucleusSize::default(); most + 1];
        let mut sums = vec![[0.0_f64; 2]; most + 1];
        for (at, (&label, &distance)) in labels_hw.iter().zip(&outline_hw).enumerate() {
            let size = &mut nuclei[label as usize];
            size.area += 1.0;
            size.half_width = size.half_width.max(pixels(distance));
            let sum = &mut sums[label as usize];
            *sum = [sum[0] + (at % width) as f64 + 0.5, sum[1] + (at / width) as f64 + 0.5];
        }
        let centres = nuclei.iter().zip(sums).skip(1).filter(|(size, _)| size.area > 0.0);
        let centres = centres.map(|(size, sum)| sum.map(|sum| sum as f32 / size.area)).collect();
        Self { outline_hw, touching_hw, nuclei, centres }
    }

    /// Distances of the pixel at `at` to the outline and to another nucleus, px.
    pub(super) fn distances(&self, at: usize) -> [f32; 2] {
        [self.outline_hw[at], self.touching_hw[at]].map(pixels)
    }

    /// The sizes in a crop that shows the picture at `1 / step` of its size, by label.
    pub(super) fn sizes(&self, step: f32) -> Vec<NucleusSize> {
        let scaled = |size: &NucleusSize| NucleusSize {
            area: size.area / (step * step),
            half_width: size.half_width / step,
        };
        self.nuclei.iter().map(scaled).collect()
    }
}

/// From a pixel's centre to an outline between pixels, of a distance between centres.
fn pixels(thirds: u16) -> f32 {
    (f32::from(thirds) / 3.0 - 0.5).max(0.0)
}

/// The nuclei of a crop of `side` pixels, with what is known of their outlines in the full picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CropNuclei {
    /// `[side, side]`.
    pub(super) labels_hw: Vec<u32>,
    /// Distance to the outline, px of the crop, `[side, side]`.
    pub(super) outline_hw: Vec<f32>,
    /// Distance to another nucleus, likewise.
    pub(super) touching_hw: Vec<f32>,
    /// Of the whole nuclei, px of the crop, by label.
    pub(super) sizes: Vec<NucleusSize>,
}

impl CropNuclei {
    /// Those of a crop that shows a whole picture at its own size.
    #[cfg(test)]
    pub(super) fn of_whole(labels_hw: &[u32], width: usize) -> Self {
        let height = labels_hw.len() / width;
        let maps =
            NucleusMaps::new(&LabelImage::new(width as u32, height as u32, labels_hw.to_vec()).unwrap());
        let distances = |which: usize| (0..labels_hw.len()).map(|at| maps.distances(at)[which]).collect();
        let [outline_hw, touching_hw] = [0, 1].map(distances);
        Self { labels_hw: labels_hw.to_vec(), outline_hw, touching_hw, sizes: maps.sizes(1.0) }
    }

    /// Adds a nucleus as large as `model`, and gives its label.
    pub(super) fn push_like(&mut self, model: u32) -> u32 {
        let label = self.sizes.len() as u32;
        self.sizes.push(self.sizes[model as usize]);
        label
    }

    /// Measures again, once nuclei were added: where the crop shows a nearer outline, that one counts.
    pub(super) fn shorten(&mut self, side: usize) {
        let outline = distances(&self.labels_hw, side, |own, near| near != own);
        let touching = distances(&self.labels_hw, side, |own, near| near != own && near != 0);
        let nearer = |old: &mut f32, new: u16| *old = old.min(pixels(new));
        self.outline_hw.iter_mut().zip(outline).for_each(|(old, new)| nearer(old, new));
        self.touching_hw.iter_mut().zip(touching).for_each(|(old, new)| nearer(old, new));
    }

    /// Nucleus, interior and distance maps, and the pixels' weights, each `[3, side, side]`.
    ///
    /// The interior is a nucleus without its ring. The distance is that to the outline, as a share of the greatest in
    /// the whole nucleus. All pixels count alike in the nucleus map, since weights would move its outline; in the
    /// others those of small nuclei and of seams count more.
    pub(super) fn targets(&self) -> (Vec<f32>, Vec<f32>) {
        let area = self.labels_hw.len();
        let (mut targets_chw, mut weight_chw) = (vec![0.0; 3 * area], vec![1.0; 3 * area]);
        for (at, &label) in self.labels_hw.iter().enumerate().filter(|&(_, &label)| label != 0) {
            let size = self.sizes[label as usize];
            let (outline, touching) = (self.outline_hw[at], self.touching_hw[at]);
            let most = MOST_RING * size.half_width;
            let inside = outline >= RING_PX.min(most) && touching >= SEAM_PX.min(most);
            targets_chw[at] = 1.0;
            targets_chw[area + at] = if inside { 1.0 } else { 0.0 };
            targets_chw[2 * area + at] = (outline / size.half_width.max(f32::EPSILON)).min(1.0);
            let small = (COMMON_AREA / size.area).sqrt().clamp(1.0, SMALL_WEIGHT);
            let weight = if touching < TOUCHING_PX { small.max(TOUCHING_WEIGHT) } else { small };
            weight_chw[area + at] = weight;
            weight_chw[2 * area + at] = weight;
        }
        (targets_chw, weight_chw)
    }
}

/// Thirds of a pixel: beyond what any picture holds.
const FAR: u16 = 30_000;

/// Distance from each pixel of a nucleus to the next one that `is_other` says so of, the path lying within the nucleus,
/// in thirds of a pixel: the 3-4 chamfer distance (Borgefors, "Distance transformations in digital images", 1986), in
/// two passes. `is_other` is given the labels of a pixel and of one beside it. What lies beyond the border counts as
/// more of the same.
fn distances(labels_hw: &[u32], width: usize, is_other: fn(u32, u32) -> bool) -> Vec<u16> {
    let height = labels_hw.len() / width.max(1);
    let mut thirds = vec![FAR; labels_hw.len()];
    let mut relax = |at: usize, [dx, dy]: [isize; 2]| {
        let (x, y) = ((at % width).checked_add_signed(dx), (at / width).checked_add_signed(dy));
        let (Some(x), Some(y)) = (x.filter(|&x| x < width), y.filter(|&y| y < height)) else {
            return;
        };
        let near = y * width + x;
        let step = if dx == 0 || dy == 0 { 3 } else { 4 };
        let from = if is_other(labels_hw[at], labels_hw[near]) {
            0
        } else if labels_hw[near] == labels_hw[at] {
            thirds[near]
        } else {
            FAR
        };
        thirds[at] = thirds[at].min(from.saturating_add(step));
    };
    let back = [[-1, 0], [-1, -1], [0, -1], [1, -1]];
    let forth = back.map(|[dx, dy]| [-dx, -dy]);
    // In either pass a pixel also looks at the neighbours of the other one: those of another label are known at once.
    let all: Vec<[isize; 2]> = back.into_iter().chain(forth).collect();
    let nuclei: Vec<usize> = (0..labels_hw.len()).filter(|&at| labels_hw[at] != 0).collect();
    nuclei.iter().for_each(|&at| all.iter().for_each(|&step| relax(at, step)));
    nuclei.iter().rev().for_each(|&at| all.iter().for_each(|&step| relax(at, step)));
    for (value, &label) in thirds.iter_mut().zip(labels_hw) {
        *value = if label == 0 { 0 } else { (*value).min(FAR) };
    }
    thirds
}

#[cfg(test)]
mod tests;
