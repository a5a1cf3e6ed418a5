//! Measurements of every nucleus: size, position, shape and brightness.

use alloc::{vec, vec::Vec};
use core::f64::consts::{FRAC_1_SQRT_2, PI};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::image::Image;
use crate::label_image::LabelImage;

/// Why objects cannot be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MeasureError {
    /// Labels and image are not of one size.
    #[error(
        "the image has {image_width}x{image_height} pixels, but its labels have {labels_width}x{labels_height}"
    )]
    Size {
        /// Pixels across in the labels.
        labels_width: u32,
        /// Pixels down in the labels.
        labels_height: u32,
        /// Pixels across in the image.
        image_width: u32,
        /// Pixels down in the image.
        image_height: u32,
    },
}

/// A position in an image, in pixels; the center of the first pixel is (0, 0).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Pixels to the right.
    pub x: f32,
    /// Pixels down.
    pub y: f32,
}

/// The smallest upright rectangle that holds an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundingBox {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// Measurements of one nucleus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// Its label.
    pub label: u32,
    /// Its pixels.
    pub area_px: u32,
    /// Mean place of its pixels.
    pub centroid: Point,
    /// Diameter of the disc of the same area, 2 sqrt(A / π), in pixels.
    pub equivalent_diameter_px: f32,
    /// Length of its outline in pixels, after Crofton.
    ///
    /// P = π/8 (S + D / √2), where S and D are the sides and corners at which one of its
    /// pixels meets a pixel that is not its own: lines in four directions, each cut counted.
    /// Unbiased for discs; about 5 % short for an upright square. The image's edge
    /// is outline. Equals `perimeter_crofton(directions=4)` of scikit-image.
    pub perimeter_px: f32,
    /// 4πA / P²: 1 for a disc, less for any other shape; held to at most 1, which
    /// objects of a few pixels would exceed.
    pub circularity: f32,
    /// Mean luma of its pixels, in the units of the image's source: see [`Image::value_scale`].
    pub mean_intensity: f32,
    /// Where it lies.
    pub bounding_box: BoundingBox,
    /// Whether one of its pixels lies on the image's edge, so that the whole may be larger.
    pub touches_border: bool,
}

/// Diameter of the disc of `area_px` pixels.
pub fn equivalent_diameter_px(area_px: u32) -> f32 {
    (2.0 * libm::sqrt(f64::from(area_px) / PI)) as f32
}

/// Equivalent diameter, in pixels, at which half of all nucleus pixels belong to smaller nuclei.
///
/// Weighting by area keeps specks from deciding the scale. `areas` are those of the nuclei
/// alone; zeros are left out. `None` where there is no nucleus.
pub fn area_weighted_median_diameter(areas: &[u32]) -> Option<f32> {
    let mut sorted: Vec<u32> = areas.iter().copied().filter(|&area| area > 0).collect();
    sorted.sort_unstable();
    let total: u64 = sorted.iter().map(|&area| u64::from(area)).sum();
    let mut below = 0;
    sorted
        .into_iter()
        .find(|&area| {
            below += u64::from(area);
            2 * below >= total
        })
        .map(equivalent_diameter_px)
}

/// Measures every nucleus of `labels` in `image`, in the order of their labels, which may have gaps. Intensities
/// are in the units of the image's source.
///
/// # Errors
/// [`MeasureError::Size`] when the two are not of one size.
pub fn measure_objects(labels: &LabelImage, image: &Image) -> Result<Vec<Object>, MeasureError> {
    let (width, height) = (labels.width(), labels.height());
    if (width, height) != (image.width(), image.height()) {
        return Err(MeasureError::Size {
            labels_width: width,
            labels_height: height,
            image_width: image.width(),
            image_height: image.height(),
        });
    }
    let names = distinct_labels(labels);
    let mut tallies = vec![Tally::EMPTY; names.len()];
    let luma_hw = image.luma_hw();
    let stride = width as usize;
    let outside = vec![0; stride];
    let rows = || labels.labels_hw().chunks_exact(stride);
    let above = core::iter::once(outside.as_slice()).chain(rows());
    let below = rows().skip(1).chain(core::iter::once(outside.as_slice()));
    let luma = luma_hw.chunks_exact(stride);

    for (y, (((above, row), below), luma)) in (0..).zip(above.zip(rows()).zip(below).zip(luma)) {
        let mut current = (0, 0);
        for (x, &label) in row.iter().enumerate() {
            if label == 0 {
                continue;
            }
            if label != current.0 {
                // Every label of the image is in `names`.
                let Ok(index) = names.binary_search(&label) else { continue };
                current = (label, index);
            }
            let foreign = |row: &[u32], dx: isize| {
                u64::from(x.checked_add_signed(dx).and_then(|x| row.get(x)) != Some(&label))
            };
            let tally = &mut tallies[current.1];
            tally.sides += foreign(row, -1) + foreign(row, 1) + foreign(above, 0) + foreign(below, 0);
            tally.corners += foreign(above, -1) + foreign(above, 1) + foreign(below, -1) + foreign(below, 1);
            tally.add(x as u32, y, luma[x]);
        }
    }
    let object = |(label, tally): (u32, &Tally)| {
        let object = tally.object(label, width, height);
        Object { mean_intensity: image.value_scale().value(object.mean_intensity), ..object }
    };
    Ok(names.into_iter().zip(&tallies).map(object).collect())
}

/// Every label but the background, ascending.
fn distinct_labels(labels: &LabelImage) -> Vec<u32> {
    let mut names = Vec::new();
    let mut last = 0;
    for &label in labels.labels_hw() {
        if label != last && label != 0 {
            names.push(label);
        }
        last = label;
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// What one pass gathers of an object.
#[derive(Clone)]
struct Tally {
    area: u32,
    sum_x: u64,
    sum_y: u64,
    sum_luma: u64,
    sides: u64,
    corners: u64,
    min_x: u32,
    max_x: u32,
    min_y: u32,
    max_y: u32,
}

impl Tally {
    const EMPTY: Self = Self {
        area: 0,
        sum_x: 0,
        sum_y: 0,
        sum_luma: 0,
        sides: 0,
        corners: 0,
        min_x: u32::MAX,
        max_x: 0,
        min_y: u32::MAX,
        max_y: 0,
    };

    fn add(&mut self, x: u32, y: u32, luma: u8) {
        self.area += 1;
        self.sum_x += u64::from(x);
        self.sum_y += u64::from(y);
        self.sum_luma += u64::from(luma);
        self.min_x = self.min_x.min(x);
        self.max_x = self.max_x.max(x);
        self.min_y = self.min_y.min(y);
        self.max_y = self.max_y.max(y);
    }

    fn object(&self, label: u32, width: u32, height: u32) -> Object {
        let area = f64::from(self.area);
        let perimeter = PI / 8.0 * (self.sides as f64 + self.corners as f64 * FRAC_1_SQRT_2);
        Object {
            label,
            area_px: self.area,
            centroid: Point { x: (self.sum_x as f64 / area) as f32, y: (self.sum_y as f64 / area) as f32 },
            equivalent_diameter_px: equivalent_diameter_px(self.area),
            perimeter_px: perimeter as f32,
            circularity: (4.0 * PI * area / (perimeter * perimeter)).min(1.0) as f32,
            mean_intensity: (self.sum_luma as f64 / area) as f32,
            bounding_box: BoundingBox {
                x: self.min_x,
                y: self.min_y,
                width: self.max_x - self.min_x + 1,
                height: self.max_y - self.min_y + 1,
            },
            touches_border: self.min_x == 0
                || self.min_y == 0
                || self.max_x + 1 == width
                || self.max_y + 1 == height,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Channels;

    fn drawn(width: u32, height: u32, label: impl Fn(i32, i32) -> u32) -> LabelImage {
        let labels = (0..height as i32).flat_map(|y| (0..width as i32).map(move |x| (x, y)));
        LabelImage::new(width, height, labels.map(|(x, y)| label(x, y)).collect()).unwrap()
    }

    fn measured(labels: &LabelImage) -> Vec<Object> {
        let image = Image::black(labels.width(), labels.height(), Channels::Grey).unwrap();
        measure_objects(labels, &image).unwrap()
    }

    fn disc(radius: f32) -> LabelImage {
        let r = |v: i32| (v - 40) as f32;
        drawn(81, 81, |x, y| u32::from(r(x) * r(x) + r(y) * r(y) <= radius * radius))
    }

    #[test]
    fn shape_of_discs_and_squares() {
        struct Case {
            labels: LabelImage,
            perimeter: f32,
            circularity: f32,
            tolerance: f32,
        }
        let square = |side: i32| {
            drawn(80, 80, |x, y| u32::from((5..5 + side).contains(&x) && (5..5 + side).contains(&y)))
        };
        let tau = core::f32::consts::TAU;
        for case in [
            Case { labels: disc(6.0), perimeter: 6.0 * tau, circularity: 1.0, tolerance: 0.06 },
            Case { labels: disc(15.0), perimeter: 15.0 * tau, circularity: 1.0, tolerance: 0.03 },
            Case { labels: disc(35.0), perimeter: 35.0 * tau, circularity: 1.0, tolerance: 0.02 },
            Case { labels: square(20), perimeter: 80.0 * 0.948, circularity: 0.874, tolerance: 0.03 },
            Case { labels: square(60), perimeter: 240.0 * 0.948, circularity: 0.874, tolerance: 0.01 },
        ] {
            let [object] = measured(&case.labels).try_into().unwrap();
            let error = (object.perimeter_px / case.perimeter - 1.0).abs();
            assert!(error < case.tolerance, "{} for {}", object.perimeter_px, case.perimeter);
            let error = (object.circularity - case.circularity).abs();
            assert!(error < 2.0 * case.tolerance, "{} for {}", object.circularity, case.circularity);
        }
    }

    #[test]
    fn perimeter_equals_scikit_image() {
        // skimage.measure.perimeter_crofton(image, directions=4), by its table of 2x2 windows.
        let (s, d) = (core::f64::consts::FRAC_PI_4, core::f64::consts::FRAC_PI_4 * FRAC_1_SQRT_2);
        let table = [0.0, s + d, d, 2.0 * d, 0.0, s + d, 0.0, d, s, 2.0 * s, d, d, s, 2.0 * s, 0.0, 0.0];
        let shapes: [LabelImage; 4] = [
            drawn(1, 1, |_, _| 1),
            drawn(9, 7, |x, y| u32::from((x * y + x) % 3 == 0)),
            drawn(30, 20, |x, y| u32::from((x - 14).pow(2) + 2 * (y - 9).pow(2) < 120)),
            disc(11.0),
        ];
        for labels in shapes {
            let (width, height) = (labels.width() as i32, labels.height() as i32);
            let inside = |x: i32, y: i32| {
                let within = (0..width).contains(&x) && (0..height).contains(&y);
                usize::from(within && labels.labels_hw()[(y * width + x) as usize] == 1)
            };
            let mut expected = 0.0;
            for y in 0..=height {
                for x in 0..=width {
                    let window =
                        inside(x, y) + 2 * inside(x, y - 1) + 4 * inside(x - 1, y) + 8 * inside(x - 1, y - 1);
                    expected += table[window];
                }
            }
            let perimeter = f64::from(measured(&labels)[0].perimeter_px);
            assert!((perimeter / expected - 1.0).abs() < 1e-6, "{perimeter} for {expected}");
        }
    }

    #[test]
    fn places_brightness_and_border() {
        // 0 0 9 9
        // 0 4 9 9
        // 4 4 0 0
        let labels = LabelImage::new(4, 3, vec![0, 0, 9, 9, 0, 4, 9, 9, 4, 4, 0, 0]).unwrap();
        let image = Image::new(4, 3, Channels::Grey, (0..12).map(|i| 10 * i).collect()).unwrap();
        let [low, high] = measure_objects(&labels, &image).unwrap().try_into().unwrap();
        assert_eq!((low.label, low.area_px, high.label, high.area_px), (4, 3, 9, 4));
        assert_eq!(low.centroid, Point { x: 2.0 / 3.0, y: 5.0 / 3.0 });
        assert_eq!(high.centroid, Point { x: 2.5, y: 0.5 });
        assert_eq!(low.bounding_box, BoundingBox { x: 0, y: 1, width: 2, height: 2 });
        assert_eq!(low.mean_intensity, (50.0 + 80.0 + 90.0) / 3.0);
        assert_eq!(low.circularity, 1.0);
        assert!(low.touches_border && high.touches_border);
        assert!(!measured(&disc(5.0))[0].touches_border);
    }

    #[test]
    fn no_object_and_sparse_labels() {
        assert_eq!(measured(&LabelImage::background(3, 3).unwrap()), []);
        let labels = LabelImage::new(3, 1, vec![u32::MAX, 0, 1]).unwrap();
        let names: Vec<u32> = measured(&labels).iter().map(|o| o.label).collect();
        assert_eq!(names, [1, u32::MAX]);
        let image = Image::black(2, 1, Channels::Rgb).unwrap();
        assert!(matches!(measure_objects(&labels, &image), Err(MeasureError::Size { .. })));
    }

    #[test]
    fn median_diameter_is_weighted_by_area() {
        let diameter = |area: f32| 2.0 * (area / core::f32::consts::PI).sqrt();
        assert_eq!(area_weighted_median_diameter(&[]), None);
        assert_eq!(area_weighted_median_diameter(&[0, 0]), None);
        for (areas, median) in [
            (&[100][..], 100.0),
            (&[1, 1, 1, 1, 1, 100], 100.0),
            (&[300, 100, 200], 200.0),
            (&[50, 0, 50, 400, 300], 300.0),
        ] {
            let found = area_weighted_median_diameter(areas).unwrap();
            assert!((found - diameter(median)).abs() < 1e-4, "{areas:?}: {found}");
        }
    }
}
