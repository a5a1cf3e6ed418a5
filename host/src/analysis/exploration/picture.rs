//! The properties of one image.

use host_modelling::{ImageType, Sample};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use shared::{Channels, LabelImage};

/// The properties of one image.
#[derive(Debug, Clone, Serialize)]
pub struct PictureFacts {
    /// Its index in the data set.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: String,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Its type, from this image only.
    pub image_type: ImageType,
    /// What k-means sorts by: median value, mean saturation, and cosine and sine of the mean hue, weighted by
    /// saturation; each 0 to 1 or -1 to 1.
    pub colour: [f64; 4],
    /// Mean gray value, 0 to 255.
    pub brightness: f64,
    /// Areas of its nuclei, px; empty without ground truth.
    pub areas_px: Option<Vec<u32>>,
    /// Nuclei that touch another.
    pub touching: usize,
    /// SHA-256 of size and pixels: equal for equal images.
    #[serde(skip)]
    pub digest: [u8; 32],
}

impl PictureFacts {
    /// Measures an image.
    pub(super) fn new(index: usize, file: &str, sample: &Sample) -> Self {
        let image = &sample.image;
        let luma_hw = image.luma_hw();
        let mut hasher = Sha256::new();
        hasher.update(image.width().to_le_bytes());
        hasher.update(image.height().to_le_bytes());
        hasher.update(image.samples_hwc());
        Self {
            index,
            name: sample.name.clone(),
            file: file.to_owned(),
            width: image.width(),
            height: image.height(),
            image_type: ImageType::of(image),
            colour: colour(image.samples_hwc(), image.channels()),
            brightness: luma_hw.iter().map(|&v| f64::from(v)).sum::<f64>() / luma_hw.len() as f64,
            areas_px: sample
                .labels
                .as_ref()
                .map(|labels| labels.areas().into_iter().skip(1).filter(|&area| area > 0).collect()),
            touching: sample.labels.as_ref().map_or(0, touching),
            digest: hasher.finalize().into(),
        }
    }
}

/// Median value, mean saturation, and the mean hue as a point of the color circle, drawn towards its middle
/// where there is little color.
fn colour(samples_hwc: &[u8], channels: Channels) -> [f64; 4] {
    let mut values = [0u64; 256];
    let (mut saturation, mut cosine, mut sine) = (0.0, 0.0, 0.0);
    let pixels = samples_hwc.chunks_exact(channels.count());
    let count = pixels.len() as f64;
    for pixel in pixels {
        let [r, g, b] = match *pixel {
            [r, g, b] => [r, g, b].map(f64::from),
            _ => [f64::from(pixel[0]); 3],
        };
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        values[most as usize] += 1;
        let chroma = most - least;
        if chroma > 0.0 {
            let sector = if most == r {
                (g - b) / chroma
            } else if most == g {
                2.0 + (b - r) / chroma
            } else {
                4.0 + (r - g) / chroma
            };
            let (s, c) = (sector * std::f64::consts::PI / 3.0).sin_cos();
            saturation += chroma / most;
            cosine += c * chroma / most;
            sine += s * chroma / most;
        }
    }
    let mut below = 0;
    let median = values.iter().position(|&n| {
        below += n;
        2 * below as usize >= count as usize
    });
    [median.unwrap_or(0) as f64 / 255.0, saturation / count, cosine / count, sine / count]
}

/// Nuclei with a pixel beside, above or below one of another nucleus.
fn touching(labels: &LabelImage) -> usize {
    let width = labels.width() as usize;
    let labels_hw = labels.labels_hw();
    let mut touches = vec![false; labels.max_label() as usize + 1];
    for (at, &label) in labels_hw.iter().enumerate() {
        let right = ((at + 1) % width != 0).then(|| labels_hw[at + 1]);
        let below = labels_hw.get(at + width).copied();
        for near in right.into_iter().chain(below) {
            if near != label && near != 0 && label != 0 {
                touches[near as usize] = true;
                touches[label as usize] = true;
            }
        }
    }
    touches.into_iter().filter(|&touches| touches).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_lie_where_hsv_says() {
        let cases: [(&[u8], Channels, [f64; 4]); 4] = [
            (&[51], Channels::Grey, [0.2, 0.0, 0.0, 0.0]),
            (&[255, 0, 0], Channels::Rgb, [1.0, 1.0, 1.0, 0.0]),
            (&[0, 255, 255], Channels::Rgb, [1.0, 1.0, -1.0, 0.0]),
            (&[204, 102, 204], Channels::Rgb, [0.8, 0.5, 0.25, -0.433]),
        ];
        for (samples, channels, expected) in cases {
            let found = colour(samples, channels);
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3), "{found:?}");
        }
    }

    #[test]
    fn touching_nuclei_are_counted_once_and_corners_do_not_touch() {
        for (labels, expected) in [
            ([1, 1, 0, 3, 2, 0, 4, 0, 0], 4),
            ([1, 0, 0, 0, 2, 0, 3, 2, 0], 2),
            ([1, 0, 2, 0, 0, 0, 3, 0, 4], 0),
        ] {
            assert_eq!(touching(&LabelImage::new(3, 3, labels.to_vec()).unwrap()), expected, "{labels:?}");
        }
    }
}
