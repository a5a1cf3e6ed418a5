//! Training crops: a position in an image, rotated, mirrored and scaled, with its ground truth.
//!
//! Crop `i` of a run is a pure function of the images, the seed and `i`, so a resumed run sees the same crops as an
//! uninterrupted one.

use std::f32::consts::{PI, TAU};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng as _};
use serde::{Deserialize, Serialize};
use shared::{Image, LabelImage, Planes, Scaling, area_weighted_median_diameter};

use super::colour::{ColourAugmentation, augment_colour};
use super::crowding::crowd;
use super::truth::truth;

/// Augmentation of the crops of an image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Shift, rotation and mirroring.
    pub geometry: Switch,
    /// Minimum diameter to which the image's median nucleus is scaled, px.
    pub min_nucleus_px: f32,
    /// Maximum such diameter, px.
    pub max_nucleus_px: f32,
    /// Probability of an elastic deformation, 0 to 1.
    pub elastic: f64,
    /// Probability of copying nuclei next to others so that they touch, 0 to 1.
    pub touching: f64,
    /// Brightness, contrast, color, blur and noise.
    pub colour: ColourAugmentation,
}

impl Augmentation {
    /// None: a crop shows its image as a station does, with the median nucleus `nucleus_px` pixels across.
    pub const fn none(nucleus_px: f32) -> Self {
        Self {
            geometry: Switch::Off,
            min_nucleus_px: nucleus_px,
            max_nucleus_px: nucleus_px,
            elastic: 0.0,
            touching: 0.0,
            colour: ColourAugmentation::OFF,
        }
    }
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// An image prepared for cutting crops.
#[derive(Debug)]
pub struct TrainingPicture {
    /// Contrast-stretched as for the network, one or three planes, as an image pyramid.
    pyramid: Vec<Planes>,
    labels: LabelImage,
    median_diameter_px: f32,
}

/// Levels of the pyramid: images are halved while nuclei are larger than needed.
const LEVELS: usize = 4;
/// Assumed diameter of the median nucleus in an image without nuclei, px.
const UNKNOWN_DIAMETER_PX: f32 = 24.0;

impl TrainingPicture {
    /// Prepares an image with its true labels.
    pub fn new(image: &Image, labels: LabelImage, scaling: Scaling) -> Self {
        let median = area_weighted_median_diameter(&labels.areas()[1..]);
        let mut pyramid = vec![Planes::from_image(image, scaling)];
        let mut diameter = median.unwrap_or(UNKNOWN_DIAMETER_PX);
        while pyramid.len() < LEVELS && diameter > UNKNOWN_DIAMETER_PX {
            let last = &pyramid[pyramid.len() - 1];
            let (width, height) = (last.width().div_ceil(2), last.height().div_ceil(2));
            pyramid.push(last.resized(width, height));
            diameter /= 2.0;
        }
        Self { pyramid, labels, median_diameter_px: median.unwrap_or(UNKNOWN_DIAMETER_PX) }
    }
}

/// A crop with its targets; a training step uses `n` of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Crop {
    /// `[3, side, side]`, 0 to 1.
    pub image_chw: Vec<f32>,
    /// `[3, side, side]`: nucleus and interior, 0 or 1, and distance, 0 to 1.
    pub truth_chw: Vec<f32>,
    /// `[3, side, side]`: the weight of each pixel.
    pub weight_chw: Vec<f32>,
}

/// A generator for the `index`th crop of the run of `seed`.
pub fn crop_rng(seed: u64, index: u64) -> StdRng {
    StdRng::seed_from_u64(seed ^ index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Cuts a crop of `side` pixels.
pub fn cut(picture: &TrainingPicture, side: usize, augmentation: &Augmentation, rng: &mut StdRng) -> Crop {
    let map = Placement::draw(picture, side, augmentation, rng);
    let mut image_chw = map.sample_image(picture, side);
    let mut labels_hw = map.sample_labels(&picture.labels, side);
    if rng.random_bool(augmentation.touching) {
        crowd(&mut image_chw, &mut labels_hw, side, rng);
    }
    augment_colour(&mut image_chw, side, &augmentation.colour, rng);
    let (truth_chw, weight_chw) = truth(&labels_hw, side);
    Crop { image_chw, truth_chw, weight_chw }
}

/// The whole image resized to `side` pixels per side regardless of its shape: the classic tutorial's only crop, with
/// the nucleus map only.
pub fn whole(picture: &TrainingPicture, side: usize) -> Crop {
    let area = side * side;
    let resized = picture.pyramid[0].resized(side, side);
    let image_chw =
        (0..3).flat_map(|channel| resized.plane(channel.min(resized.count() - 1)).to_vec()).collect();
    let (width, height) = (picture.labels.width() as usize, picture.labels.height() as usize);
    let nucleus = |at: usize| {
        let (x, y) = (at % side * width / side, at / side * height / side);
        if picture.labels.labels_hw()[y * width + x] == 0 { 0.0 } else { 1.0 }
    };
    Crop { image_chw, truth_chw: (0..area).map(nucleus).collect(), weight_chw: vec![1.0; area] }
}

/// The mapping from a crop's pixels to its image: `source = centre + matrix (pixel - middle)`.
struct Placement {
    centre: [f32; 2],
    /// Row-major, source pixels for one of the crop.
    matrix: [f32; 4],
    /// Source pixels for one of the crop.
    step: f32,
    bend: Bend,
}

/// How far the pixels of a crop are moved before they are placed: smooth waves along rows and columns,
/// each of which moves both coordinates (an elastic deformation of few terms).
#[derive(Debug, Default)]
struct Bend {
    /// For each column, x and y, px. Empty where nothing is bent.
    columns: Vec<[f32; 2]>,
    /// For each row, likewise.
    rows: Vec<[f32; 2]>,
}

impl Bend {
    fn draw(side: usize, rng: &mut StdRng) -> Self {
        let mut waves = || {
            let mut wave = || {
                let (length, amplitude) = (rng.random_range(30.0..120.0_f32), rng.random_range(-0.02..0.02));
                (TAU / length, amplitude * length, rng.random_range(0.0..TAU))
            };
            let waves = [wave(), wave()];
            (0..side)
                .map(|at| waves.map(|(turn, height, phase)| height * (at as f32 * turn + phase).sin()))
                .collect()
        };
        Self { columns: waves(), rows: waves() }
    }

    fn at(&self, column: usize, row: usize) -> [f32; 2] {
        match (self.columns.get(column), self.rows.get(row)) {
            (Some([a, b]), Some([c, d])) => [a + c, b + d],
            _ => [0.0; 2],
        }
    }
}

impl Placement {
    fn draw(picture: &TrainingPicture, side: usize, augmentation: &Augmentation, rng: &mut StdRng) -> Self {
        let (low, high) = (augmentation.min_nucleus_px.ln(), augmentation.max_nucleus_px.ln());
        let wanted = if low < high { rng.random_range(low..high).exp() } else { low.exp() };
        let step = (picture.median_diameter_px / wanted).clamp(1.0 / 6.0, 16.0);
        let (mut angle, mut mirror, mut stretch) = (0.0, 1.0, 1.0);
        if augmentation.geometry == Switch::On {
            // Half of the crops keep their pixel grid, because only those show the camera's own sharpness.
            angle = if rng.random_bool(0.5) {
                PI / 2.0 * rng.random_range(0..4) as f32
            } else {
                rng.random_range(0.0..TAU)
            };
            mirror = if rng.random_bool(0.5) { -1.0 } else { 1.0 };
            stretch = rng.random_range(-0.12_f32..0.12).exp();
        }
        let (sin, cos) = angle.sin_cos();
        let (across, down) = (step * stretch * mirror, step / stretch);
        let matrix = [cos * across, -sin * down, sin * across, cos * down];
        let reach = step * side as f32 / 2.0;
        let mut place = |length: u32| {
            let length = length as f32;
            if length > 2.0 * reach { rng.random_range(reach..length - reach) } else { length / 2.0 }
        };
        let centre = [place(picture.labels.width()), place(picture.labels.height())];
        let bent = rng.random_bool(augmentation.elastic);
        let bend = if bent { Bend::draw(side, rng) } else { Bend::default() };
        Self { centre, matrix, step, bend }
    }

    /// The source places of a crop's pixels, row by row, in pixels whose centers lie at half-integers.
    fn places(&self, side: usize) -> impl Iterator<Item = (f32, f32)> {
        let middle = side as f32 / 2.0;
        let ([cx, cy], [a, b, c, d]) = (self.centre, self.matrix);
        (0..side * side).map(move |i| {
            let [bend_u, bend_v] = self.bend.at(i % side, i / side);
            let u = (i % side) as f32 + 0.5 - middle + bend_u;
            let v = (i / side) as f32 + 0.5 - middle + bend_v;
            (cx + a * u + b * v, cy + c * u + d * v)
        })
    }

    fn sample_image(&self, picture: &TrainingPicture, side: usize) -> Vec<f32> {
        let level = (self.step.log2().round().max(0.0) as usize).min(picture.pyramid.len() - 1);
        let planes = &picture.pyramid[level];
        let (width, height) = (planes.width(), planes.height());
        let (fx, fy) =
            (width as f32 / picture.labels.width() as f32, height as f32 / picture.labels.height() as f32);
        let mut image_chw = vec![0.0; 3 * side * side];
        for (i, (x, y)) in self.places(side).enumerate() {
            let (x, y) = (x * fx - 0.5, y * fy - 0.5);
            let (x0, y0) = (x.floor(), y.floor());
            let (tx, ty) = (x - x0, y - y0);
            let (left, right) = (reflect(x0, width), reflect(x0 + 1.0, width));
            let (top, bottom) = (reflect(y0, height) * width, reflect(y0 + 1.0, height) * width);
            for channel in 0..3 {
                let plane = planes.plane(channel.min(planes.count() - 1));
                let upper = plane[top + left] * (1.0 - tx) + plane[top + right] * tx;
                let lower = plane[bottom + left] * (1.0 - tx) + plane[bottom + right] * tx;
                image_chw[channel * side * side + i] = upper * (1.0 - ty) + lower * ty;
            }
        }
        image_chw
    }

    fn sample_labels(&self, labels: &LabelImage, side: usize) -> Vec<u32> {
        let (width, height) = (labels.width() as usize, labels.height() as usize);
        let at = |(x, y): (f32, f32)| {
            labels.labels_hw()[reflect(y.floor(), height) * width + reflect(x.floor(), width)]
        };
        self.places(side).map(at).collect()
    }
}

/// The pixel that stands for `x` when a row of `side` pixels is continued by reflection.
fn reflect(x: f32, side: usize) -> usize {
    if side == 1 {
        return 0;
    }
    let period = 2 * (side as i64 - 1);
    let x = (x as i64).rem_euclid(period);
    (if x < side as i64 { x } else { period - x }) as usize
}

#[cfg(test)]
mod tests {
    use shared::Channels;

    use super::*;

    /// Bright squares of 24 pixels, every second one touching the next.
    fn squares() -> TrainingPicture {
        let (width, height) = (200, 160);
        let label = |i: u32| {
            let (x, y) = (i % width, i / width);
            let inside = y % 40 < 24 && x % 60 < 48;
            if inside { 1 + x / 60 * 2 + x % 60 / 24 + y / 40 * 10 } else { 0 }
        };
        let labels = LabelImage::new(width, height, (0..width * height).map(label).collect()).unwrap();
        let samples = labels.labels_hw().iter().map(|&label| if label == 0 { 10 } else { 200 }).collect();
        let image = Image::new(width, height, Channels::Grey, samples).unwrap();
        TrainingPicture::new(&image, labels, Scaling::STRETCH)
    }

    #[test]
    fn the_same_index_gives_the_same_crop_and_another_one_another() {
        let picture = squares();
        let moving = Augmentation {
            geometry: Switch::On,
            min_nucleus_px: 14.0,
            max_nucleus_px: 40.0,
            elastic: 0.5,
            touching: 0.5,
            colour: ColourAugmentation::DEFAULT,
        };
        let crop = |index| cut(&picture, 64, &moving, &mut crop_rng(3, index));
        assert_eq!(crop(5), crop(5));
        assert_ne!(crop(5), crop(6));
        assert!(crop(5).image_chw.iter().all(|v| (0.0..=1.0).contains(v)));
    }

    #[test]
    fn picture_and_truth_stay_together() {
        let picture = squares();
        let turning = Augmentation {
            geometry: Switch::On,
            min_nucleus_px: 12.0,
            max_nucleus_px: 48.0,
            ..Augmentation::none(24.0)
        };
        for index in 0..20 {
            let crop = cut(&picture, 96, &turning, &mut crop_rng(1, index));
            let (nucleus, interior) = crop.truth_chw.split_at(96 * 96);
            let off = crop.image_chw.iter().zip(nucleus).filter(|(v, t)| (**v > 0.5) != (**t > 0.5)).count();
            assert!(off < 96 * 96 / 20, "{off} pixels of crop {index} disagree");
            assert!(interior.iter().zip(nucleus).all(|(i, n)| i <= n));
        }
    }

    #[test]
    fn nuclei_come_out_at_the_size_asked_for() {
        let picture = squares();
        for diameter in [12.0, 24.0, 48.0] {
            let sized = Augmentation {
                min_nucleus_px: diameter,
                max_nucleus_px: diameter,
                ..Augmentation::none(24.0)
            };
            let crop = cut(&picture, 128, &sized, &mut crop_rng(1, 1));
            let share = crop.truth_chw[..128 * 128].iter().sum::<f32>() / (128.0 * 128.0);
            assert!((0.25..0.75).contains(&share), "{share}");
            let edges =
                crop.truth_chw[..128 * 128].windows(2).filter(|pair| pair[0] != pair[1]).count() as f32;
            let expected = 128.0 * 128.0 / (30.0 * diameter / 27.0) * 0.6;
            assert!((0.5..2.0).contains(&(edges / expected)), "{edges} edges, expected about {expected}");
        }
    }

    #[test]
    fn the_whole_picture_is_squeezed_with_its_nuclei() {
        let crop = whole(&squares(), 64);
        assert_eq!(
            [crop.image_chw.len(), crop.truth_chw.len(), crop.weight_chw.len()],
            [3 * 4096, 4096, 4096]
        );
        let agree = crop.truth_chw.iter().zip(&crop.image_chw).filter(|(t, v)| (**t > 0.5) == (**v > 0.5));
        assert!(agree.count() > 3900);
    }

    #[test]
    fn reflection_continues_both_ends() {
        let reflected: Vec<usize> = (-3..6).map(|x| reflect(x as f32, 3)).collect();
        assert_eq!(reflected, [1, 2, 1, 0, 1, 2, 1, 0, 1]);
    }
}
