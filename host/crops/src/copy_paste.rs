//! Copy-paste augmentation: nuclei of a crop copied next to others so that they touch.
//!
//! Touching nuclei cost the score most, and are rare in many data sets.

use rand::Rng as _;
use rand::rngs::StdRng;

use super::targets::CropNuclei;

/// Nuclei repeated in a crop at most.
const REPEATS: usize = 4;
/// Minimum area of a copied nucleus, px.
const MIN_AREA: usize = 30;
/// Pixels about a nucleus that are taken with it: its blurred rim.
const RIM: i32 = 2;

/// Repeats up to [`REPEATS`] nuclei of `image_chw` `[3, side, side]` and of `nuclei`, each
/// moved towards another nucleus until they touch. The brighter pixel wins where nuclei are bright, the
/// darker one where they are dark; labels that are there stay.
pub(super) fn copy_paste(image_chw: &mut [f32], crop: &mut CropNuclei, side: usize, rng: &mut StdRng) {
    let nuclei = CutNucleus::of(&crop.labels_hw, side);
    let whole: Vec<&CutNucleus> = nuclei.iter().filter(|nucleus| nucleus.is_whole(side)).collect();
    if whole.is_empty() || nuclei.len() < 2 {
        return;
    }
    let bright = nuclei_are_bright(image_chw, &crop.labels_hw);
    for _ in 0..rng.random_range(1..=REPEATS) {
        let moved = whole[rng.random_range(0..whole.len())];
        let target = &nuclei[rng.random_range(0..nuclei.len())];
        if let Some(shift) = moved.shift_to_touch(target, &crop.labels_hw, side) {
            repeat(image_chw, crop, side, moved, shift, bright);
        }
    }
    crop.shorten(side);
}

struct CutNucleus {
    label: u32,
    pixels: Vec<[i32; 2]>,
    centre: [f32; 2],
}

impl CutNucleus {
    fn of(labels_hw: &[u32], side: usize) -> Vec<Self> {
        let most = labels_hw.iter().max().map_or(0, |&label| label as usize);
        let mut pixels = vec![Vec::new(); most + 1];
        for (at, &label) in labels_hw.iter().enumerate() {
            pixels[label as usize].push([(at % side) as i32, (at / side) as i32]);
        }
        let nuclei = pixels.into_iter().zip(0..).skip(1).filter(|(pixels, _)| pixels.len() >= MIN_AREA);
        nuclei
            .map(|(pixels, label)| {
                let mean = |axis: usize| {
                    pixels.iter().map(|pixel| pixel[axis] as f32).sum::<f32>() / pixels.len() as f32
                };
                Self { label, centre: [mean(0), mean(1)], pixels }
            })
            .collect()
    }

    /// Whether neither the nucleus nor its rim is cut by the crop.
    fn is_whole(&self, side: usize) -> bool {
        let inner = RIM..side as i32 - RIM;
        self.pixels.iter().all(|[x, y]| inner.contains(x) && inner.contains(y))
    }

    /// The first shift towards `target` at which this nucleus lies upon another, while most of it lies on
    /// free ground within the crop.
    fn shift_to_touch(&self, target: &Self, labels_hw: &[u32], side: usize) -> Option<[i32; 2]> {
        let [dx, dy] = [target.centre[0] - self.centre[0], target.centre[1] - self.centre[1]];
        let length = dx.hypot(dy);
        if target.label == self.label || length < 1.0 {
            return None;
        }
        (1..length as i32).find_map(|step| {
            let shift = [dx, dy].map(|d| (d / length * step as f32).round() as i32);
            let (mut own, mut others) = (0, 0);
            for &[x, y] in &self.pixels {
                let at = place([x + shift[0], y + shift[1]], side)?;
                own += usize::from(labels_hw[at] == self.label);
                others += usize::from(labels_hw[at] != 0 && labels_hw[at] != self.label);
            }
            (own == 0 && others > 0 && others * 4 < self.pixels.len()).then_some(shift)
        })
    }
}

fn place([x, y]: [i32; 2], side: usize) -> Option<usize> {
    let inside = 0..side as i32;
    (inside.contains(&x) && inside.contains(&y)).then(|| y as usize * side + x as usize)
}

fn nuclei_are_bright(image_chw: &[f32], labels_hw: &[u32]) -> bool {
    let (mut sums, mut counts) = ([0.0; 2], [0.0; 2]);
    for plane in image_chw.chunks_exact(labels_hw.len()) {
        for (&value, &label) in plane.iter().zip(labels_hw) {
            sums[usize::from(label != 0)] += value;
            counts[usize::from(label != 0)] += 1.0;
        }
    }
    sums[1] * counts[0] > sums[0] * counts[1]
}

fn repeat(
    image_chw: &mut [f32],
    crop: &mut CropNuclei,
    side: usize,
    nucleus: &CutNucleus,
    shift: [i32; 2],
    bright: bool,
) {
    let label = crop.push_like(nucleus.label);
    let source = image_chw.to_vec();
    for &[x, y] in &nucleus.pixels {
        for (near_x, near_y) in (x - RIM..=x + RIM).flat_map(|x| (y - RIM..=y + RIM).map(move |y| (x, y))) {
            let to = place([near_x + shift[0], near_y + shift[1]], side);
            let (Some(from), Some(to)) = (place([near_x, near_y], side), to) else {
                continue;
            };
            for (plane, source) in
                image_chw.chunks_exact_mut(side * side).zip(source.chunks_exact(side * side))
            {
                plane[to] = if bright { plane[to].max(source[from]) } else { plane[to].min(source[from]) };
            }
        }
        let [from, to] = [place([x, y], side), place([x + shift[0], y + shift[1]], side)];
        if let (Some(from), Some(to)) = (from, to)
            && crop.labels_hw[to] == 0
        {
            crop.labels_hw[to] = label;
            crop.outline_hw[to] = crop.outline_hw[from];
            crop.touching_hw[to] = crop.touching_hw[from];
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    /// Three bright discs of nine pixels across, far from each other.
    fn discs(side: usize) -> (Vec<f32>, Vec<u32>) {
        let centres = [[12.0, 12.0], [50.0, 14.0], [30.0, 48.0_f32]];
        let labels: Vec<u32> = (0..side * side)
            .map(|at| {
                let near = |[x, y]: [f32; 2]| ((at % side) as f32 - x).hypot((at / side) as f32 - y) <= 4.5;
                centres.iter().position(|&centre| near(centre)).map_or(0, |index| index as u32 + 1)
            })
            .collect();
        let image = [0.1_f32, 0.2, 0.3]
            .iter()
            .flat_map(|&ground| labels.iter().map(move |&label| if label == 0 { ground } else { 0.9 }))
            .collect();
        (image, labels)
    }

    #[test]
    fn repeated_nuclei_touch_others_and_look_like_nuclei() {
        let side = 64;
        let mut crowded = 0;
        for seed in 0..20 {
            let (mut image, mut labels) = discs(side);
            let before = labels.clone();
            let mut crop = CropNuclei::of_whole(&labels, side);
            copy_paste(&mut image, &mut crop, side, &mut StdRng::seed_from_u64(seed));
            labels = crop.labels_hw;
            let added: Vec<usize> = (0..labels.len()).filter(|&at| labels[at] != before[at]).collect();
            if added.is_empty() {
                // Every draw moved a nucleus towards itself.
                continue;
            }
            crowded += 1;
            assert!(added.iter().all(|&at| before[at] == 0 && labels[at] > 3), "old labels stay");
            assert!(added.iter().all(|&at| image[at] == 0.9), "what is labelled is bright");
            let touch = added.iter().any(|&at| {
                [at - 1, at + 1, at - side, at + side].iter().any(|&near| (1..=3).contains(&labels[near]))
            });
            assert!(touch, "seed {seed}");
        }
        assert!(crowded >= 12, "{crowded} of 20 crops were crowded");
    }

    #[test]
    fn dark_nuclei_stay_dark() {
        let (mut image, labels) = discs(64);
        image.iter_mut().for_each(|v| *v = 1.0 - *v);
        let mut crop = CropNuclei::of_whole(&labels, 64);
        copy_paste(&mut image, &mut crop, 64, &mut StdRng::seed_from_u64(3));
        let labelled = (0..labels.len()).filter(|&at| crop.labels_hw[at] != 0);
        assert!(labelled.into_iter().all(|at| image[at] < 0.2));
    }
}
