//! Training crops: a place in a picture, turned, mirrored and scaled, with its targets.
//!
//! Crop `i` of a run is a pure function of the images, the seed and `i`, so a resumed run sees the same crops as an
//! uninterrupted one.

mod patch;

use std::f32::consts::{PI, TAU};

use host_modelling::ImageType;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng as _};
use serde::{Deserialize, Serialize};
use shared::{Image, LabelImage, Planes, Scaling, area_weighted_median_diameter};

use super::colour::{ColourAugmentation, Light, augment_colour, normal};
use super::copy_paste::copy_paste;
use super::targets::{CropNuclei, NucleusMaps};
use patch::{Patch, reflect};

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
    /// The crops that show nuclei as the last pass on a station does.
    #[serde(default)]
    pub focus: Focus,
    /// How often a crop is placed so that a nucleus is in it, 0 to 1; elsewhere it lies anywhere.
    #[serde(default)]
    pub on_nuclei: f64,
    /// How often a crop is bent, 0 to 1.
    pub elastic: f64,
    /// Probability of copying nuclei next to others so that they touch, 0 to 1.
    pub touching: f64,
    /// Brightness, contrast, color, blur and noise.
    pub colour: ColourAugmentation,
}

/// Crops whose scale lies about the one that the network is made for; the scales of the others are spread evenly
/// between the limits, as the first pass on a station meets them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Focus {
    /// Share of the crops, 0 to 1.
    pub share: f64,
    /// Diameter that the median nucleus is scaled to, px.
    pub nucleus_px: f32,
    /// Deviation of its logarithm.
    pub spread: f32,
}

impl Augmentation {
    /// None: a crop shows its image as a station does, with the median nucleus `nucleus_px` pixels across.
    pub const fn none(nucleus_px: f32) -> Self {
        Self {
            geometry: Switch::Off,
            min_nucleus_px: nucleus_px,
            max_nucleus_px: nucleus_px,
            focus: Focus { share: 0.0, nucleus_px, spread: 0.0 },
            on_nuclei: 0.0,
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
    /// Stretched as the network sees it, one or three planes.
    planes: Planes,
    labels: LabelImage,
    maps: NucleusMaps,
    light: Light,
    median_diameter_px: f32,
}

/// What the median nucleus of a picture without any is taken to be, px.
const UNKNOWN_DIAMETER_PX: f32 = 24.0;
/// How much larger than in its picture a crop shows nuclei at most: the limit of a station, about.
const MOST_ENLARGED: f32 = 3.2;
/// How much smaller.
const MOST_SHRUNK: f32 = 8.0;
/// How far from the middle of a crop the nucleus lies at most that it is placed on, as a share of its side.
const MOST_OFF_CENTRE: f32 = 0.45;

impl TrainingPicture {
    /// Prepares an image with its true labels.
    pub fn new(image: &Image, labels: LabelImage, scaling: Scaling) -> Self {
        let median = area_weighted_median_diameter(&labels.areas()[1..]);
        let light = match ImageType::of(image) {
            ImageType::Fluorescence => Light::Emitted,
            ImageType::PurpleSaturated | ImageType::PurpleOnPale | ImageType::GreyBrightfield => {
                Light::Transmitted
            }
        };
        Self {
            planes: Planes::from_image(image, scaling),
            maps: NucleusMaps::new(&labels),
            labels,
            light,
            median_diameter_px: median.unwrap_or(UNKNOWN_DIAMETER_PX),
        }
    }

    /// Width and height, px.
    pub const fn size(&self) -> [u32; 2] {
        [self.labels.width(), self.labels.height()]
    }
}

/// A crop with its targets: what one step of training sees `n` of.
#[derive(Debug, Clone, PartialEq)]
pub struct Crop {
    /// `[3, side, side]`, 0 to 1.
    pub image_chw: Vec<f32>,
    /// `[3, side, side]`: nucleus and interior, 0 or 1, and distance, 0 to 1.
    pub targets_chw: Vec<f32>,
    /// `[3, side, side]`: how much each pixel counts.
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
    let mut nuclei = map.sample_nuclei(picture, side);
    if rng.random_bool(augmentation.touching) {
        copy_paste(&mut image_chw, &mut nuclei, side, rng);
    }
    augment_colour(&mut image_chw, side, picture.light, &augmentation.colour, rng);
    let (targets_chw, weight_chw) = nuclei.targets();
    Crop { image_chw, targets_chw, weight_chw }
}

/// The whole image resized to `side` pixels per side regardless of its shape: the classic tutorial's only crop, with
/// the nucleus map only.
pub fn whole(picture: &TrainingPicture, side: usize) -> Crop {
    let area = side * side;
    let resized = picture.planes.resized(side, side);
    let image_chw =
        (0..3).flat_map(|channel| resized.plane(channel.min(resized.count() - 1)).to_vec()).collect();
    let (width, height) = (picture.labels.width() as usize, picture.labels.height() as usize);
    let nucleus = |at: usize| {
        let (x, y) = (at % side * width / side, at / side * height / side);
        if picture.labels.labels_hw()[y * width + x] == 0 { 0.0 } else { 1.0 }
    };
    Crop { image_chw, targets_chw: (0..area).map(nucleus).collect(), weight_chw: vec![1.0; area] }
}

/// Where the pixels of a crop lie in its picture: `source = centre + step (turn (pixel - middle + elastic))`.
struct Placement {
    centre: [f32; 2],
    /// Source pixels for one of the crop, along the picture's x and y.
    step: [f32; 2],
    /// Rotation and mirroring, row-major.
    turn: [f32; 4],
    elastic: ElasticDeformation,
}

/// How far the pixels of a crop are moved before they are placed: smooth waves along rows and columns,
/// each of which moves both coordinates (an elastic deformation of few terms).
#[derive(Debug, Default)]
struct ElasticDeformation {
    /// For each column, x and y, px. Empty where nothing is bent.
    columns: Vec<[f32; 2]>,
    /// For each row, likewise.
    rows: Vec<[f32; 2]>,
}

impl ElasticDeformation {
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
        let step = picture.median_diameter_px / augmentation.draw_nucleus_px(rng);
        let step = step.clamp(1.0 / MOST_ENLARGED, MOST_SHRUNK);
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
        // A quarter turn's cosine is not quite 0, and would blur what needs no interpolation.
        let [sin, cos] = [sin, cos].map(|part| if part.abs() < 1e-5 { 0.0 } else { part });
        let turn = [cos * mirror, -sin, sin * mirror, cos];
        let step = [step * stretch, step / stretch];
        let centre = draw_centre(picture, side, step, augmentation.on_nuclei, rng);
        let bent = rng.random_bool(augmentation.elastic);
        let elastic = if bent { ElasticDeformation::draw(side, rng) } else { ElasticDeformation::default() };
        Self { centre, step, turn, elastic }
    }

    /// The places of a crop's pixels, row by row, in pixels of the crop before it was turned and bent, the middle
    /// being 0.
    fn places(&self, side: usize) -> impl Iterator<Item = [f32; 2]> {
        let middle = side as f32 / 2.0;
        let [a, b, c, d] = self.turn;
        (0..side * side).map(move |i| {
            let [bend_u, bend_v] = self.elastic.at(i % side, i / side);
            let u = (i % side) as f32 + 0.5 - middle + bend_u;
            let v = (i / side) as f32 + 0.5 - middle + bend_v;
            [a * u + b * v, c * u + d * v]
        })
    }

    /// The picture as a station resizes it, and then turned.
    fn sample_image(&self, picture: &TrainingPicture, side: usize) -> Vec<f32> {
        let reach = self.places(side).flatten().fold(0.0_f32, |most, place| most.max(place.abs()));
        let patch = Patch::cut(&picture.planes, self.centre, self.step, reach);
        let mut image_chw = vec![0.0; 3 * side * side];
        for (i, place) in self.places(side).enumerate() {
            let around = patch.around(place);
            for channel in 0..3 {
                image_chw[channel * side * side + i] = patch.sample(channel, around);
            }
        }
        image_chw
    }

    fn sample_nuclei(&self, picture: &TrainingPicture, side: usize) -> CropNuclei {
        let TrainingPicture { labels, maps, .. } = picture;
        let (width, height) = (labels.width() as usize, labels.height() as usize);
        let place = |x: f32, y: f32| reflect(y.floor(), height) * width + reflect(x.floor(), width);
        let step = (self.step[0] * self.step[1]).sqrt();
        let mut nuclei = CropNuclei {
            labels_hw: Vec::with_capacity(side * side),
            outline_hw: Vec::with_capacity(side * side),
            touching_hw: Vec::with_capacity(side * side),
            sizes: maps.sizes(step),
        };
        for [u, v] in self.places(side) {
            let (x, y) = (self.centre[0] + self.step[0] * u, self.centre[1] + self.step[1] * v);
            let at = place(x, y);
            let label = labels.labels_hw()[at];
            nuclei.labels_hw.push(label);
            let [mut outline, touching] = maps.distances(at);
            if label != 0 {
                // Between pixels distances change evenly, down to none where another label begins.
                let (left, top) = ((x - 0.5).floor(), (y - 0.5).floor());
                let (tx, ty) = (x - 0.5 - left, y - 0.5 - top);
                let corners = [
                    ((1.0 - tx) * (1.0 - ty), place(left, top)),
                    (tx * (1.0 - ty), place(left + 1.0, top)),
                    ((1.0 - tx) * ty, place(left, top + 1.0)),
                    (tx * ty, place(left + 1.0, top + 1.0)),
                ];
                let known = corners.iter().filter(|&&(_, corner)| labels.labels_hw()[corner] == label);
                outline = known.map(|&(share, corner)| share * maps.distances(corner)[0]).sum();
            }
            nuclei.outline_hw.push(outline / step);
            nuclei.touching_hw.push(touching / step);
        }
        nuclei
    }
}

impl Augmentation {
    /// The diameter that a crop's median nucleus is scaled to, px.
    fn draw_nucleus_px(&self, rng: &mut StdRng) -> f32 {
        let Focus { share, nucleus_px, spread } = self.focus;
        if rng.random_bool(share) {
            return nucleus_px * (spread * normal(rng)).exp();
        }
        let (low, high) = (self.min_nucleus_px.ln(), self.max_nucleus_px.ln());
        if low < high { rng.random_range(low..high).exp() } else { low.exp() }
    }
}

/// The middle of a crop: near a nucleus, as often as asked for, else anywhere; within the picture where it fits.
fn draw_centre(
    picture: &TrainingPicture,
    side: usize,
    step: [f32; 2],
    on_nuclei: f64,
    rng: &mut StdRng,
) -> [f32; 2] {
    let centres = &picture.maps.centres;
    let aimed = (rng.random_bool(on_nuclei) && !centres.is_empty())
        .then(|| centres[rng.random_range(0..centres.len())]);
    std::array::from_fn(|axis| {
        let (length, reach) = (picture.size()[axis] as f32, step[axis] * side as f32 / 2.0);
        let off = rng.random_range(-1.0..1.0_f32);
        if length <= 2.0 * reach {
            return length / 2.0;
        }
        match aimed {
            Some(centre) => {
                let off = 2.0 * MOST_OFF_CENTRE * reach * off;
                (centre[axis] + off).clamp(reach, length - reach)
            }
            None => length / 2.0 + off * (length / 2.0 - reach),
        }
    })
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
            focus: Focus { share: 0.5, nucleus_px: 24.0, spread: 0.2 },
            on_nuclei: 0.9,
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
            on_nuclei: 0.5,
            ..Augmentation::none(24.0)
        };
        for index in 0..20 {
            let crop = cut(&picture, 96, &turning, &mut crop_rng(1, index));
            let (nucleus, interior) = crop.targets_chw.split_at(96 * 96);
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
            let share = crop.targets_chw[..128 * 128].iter().sum::<f32>() / (128.0 * 128.0);
            assert!((0.25..0.75).contains(&share), "{share}");
            let edges =
                crop.targets_chw[..128 * 128].windows(2).filter(|pair| pair[0] != pair[1]).count() as f32;
            let expected = 128.0 * 128.0 / (30.0 * diameter / 27.0) * 0.6;
            assert!((0.5..2.0).contains(&(edges / expected)), "{edges} edges, expected about {expected}");
        }
    }

    #[test]
    fn the_whole_picture_is_squeezed_with_its_nuclei() {
        let crop = whole(&squares(), 64);
        assert_eq!(
            [crop.image_chw.len(), crop.targets_chw.len(), crop.weight_chw.len()],
            [3 * 4096, 4096, 4096]
        );
        let agree = crop.targets_chw.iter().zip(&crop.image_chw).filter(|(t, v)| (**t > 0.5) == (**v > 0.5));
        assert!(agree.count() > 3900);
    }
}
