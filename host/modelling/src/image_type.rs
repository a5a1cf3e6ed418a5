//! Classifies the kind of microscopy of an image by its color.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};
use shared::{Channels, Image};

/// The image types that training balances and scoring reports separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageType {
    /// Light nuclei on a dark background, gray or in false color.
    Fluorescence,
    /// Stained tissue that fills the image with color: purple on purple, or pink.
    PurpleSaturated,
    /// Stained nuclei on a pale background.
    PurpleOnPale,
    /// Dark nuclei on a light gray background.
    GreyBrightfield,
}

/// Median HSV value above which an image is bright, in 255ths.
const BRIGHT: usize = 119;
/// Mean HSV saturation above which a bright image is in color, in 255ths.
const COLOURED: u64 = 7;
/// Median HSV saturation above which the background of an image is stained, in 255ths.
const STAINED: usize = 43;

impl ImageType {
    /// Every type, in the order of tables.
    pub const ALL: [Self; 4] =
        [Self::Fluorescence, Self::PurpleSaturated, Self::PurpleOnPale, Self::GreyBrightfield];

    /// The type of an image, from the brightness and saturation of its median pixel.
    ///
    /// The limits are in the middle of the gaps between the k-means clusters of the median HSV colors of the training
    /// images of the 2018 Data Science Bowl.
    pub fn of(image: &Image) -> Self {
        let mut values = [0u64; 256];
        let mut saturations = [0u64; 256];
        for pixel in image.samples_hwc().chunks_exact(image.channels().count()) {
            let (value, saturation) = match (image.channels(), pixel) {
                (Channels::Rgb, &[r, g, b]) => {
                    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
                    let chroma = 255 * u32::from(most - least);
                    (most, (chroma / u32::from(most.max(1))) as u8)
                }
                _ => (pixel[0], 0),
            };
            values[usize::from(value)] += 1;
            saturations[usize::from(saturation)] += 1;
        }
        let pixels: u64 = saturations.iter().sum();
        let total: u64 = (0..).zip(&saturations).map(|(saturation, count)| saturation * count).sum();
        if median(&values) < BRIGHT {
            Self::Fluorescence
        } else if total < COLOURED * pixels {
            Self::GreyBrightfield
        } else if median(&saturations) < STAINED {
            Self::PurpleOnPale
        } else {
            Self::PurpleSaturated
        }
    }

    /// The type's name in tables and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fluorescence => "fluorescence",
            Self::PurpleSaturated => "purple_saturated",
            Self::PurpleOnPale => "purple_on_pale",
            Self::GreyBrightfield => "grey_brightfield",
        }
    }
}

impl Display for ImageType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The lower median of a histogram.
fn median(histogram: &[u64; 256]) -> usize {
    let total: u64 = histogram.iter().sum();
    let mut below = 0;
    histogram
        .iter()
        .position(|count| {
            below += count;
            2 * below >= total
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image with `ground` on six pixels and `nuclei` on four.
    fn picture(ground: [u8; 3], nuclei: [u8; 3]) -> Image {
        let samples = (0..10).flat_map(|at| if at < 6 { ground } else { nuclei }).collect();
        Image::new(5, 2, Channels::Rgb, samples).unwrap()
    }

    #[test]
    fn recognizes_every_type() {
        for (ground, nuclei, expected) in [
            ([0, 0, 0], [30, 30, 30], ImageType::Fluorescence),
            ([10, 8, 40], [60, 80, 250], ImageType::Fluorescence),
            ([44, 44, 44], [255, 255, 255], ImageType::Fluorescence),
            ([180, 160, 205], [90, 50, 170], ImageType::PurpleSaturated),
            ([230, 120, 180], [120, 60, 140], ImageType::PurpleSaturated),
            ([215, 215, 222], [100, 50, 140], ImageType::PurpleOnPale),
            ([228, 228, 228], [120, 120, 120], ImageType::GreyBrightfield),
            ([228, 230, 228], [120, 120, 122], ImageType::GreyBrightfield),
        ] {
            assert_eq!(ImageType::of(&picture(ground, nuclei)), expected, "{nuclei:?} on {ground:?}");
        }
    }

    #[test]
    fn grey_pictures_need_no_colour() {
        for (brightness, expected) in [(20, ImageType::Fluorescence), (228, ImageType::GreyBrightfield)] {
            let image = Image::new(2, 1, Channels::Grey, vec![brightness; 2]).unwrap();
            assert_eq!(ImageType::of(&image), expected);
        }
    }

    #[test]
    fn names_are_those_of_json() {
        for image_type in ImageType::ALL {
            let json = serde_json::to_string(&image_type).unwrap();
            assert_eq!(json, format!("\"{image_type}\""));
        }
    }
}
