//! Outlines of nuclei drawn over an image.

use shared::{Channels, Image, LabelImage, SizeError, rgb_samples};

/// The image in RGB with the outermost pixels of every nucleus in `colour`.
///
/// A nucleus has no outline along the image's border.
///
/// # Errors
/// [`SizeError::Samples`] when labels and image are not of one size.
pub fn draw_outlines(image: &Image, labels: &LabelImage, colour: [u8; 3]) -> Result<Image, SizeError> {
    let (width, height) = (labels.width() as usize, labels.height() as usize);
    let mut rgb_hwc = rgb_samples(image);
    if (image.width(), image.height()) != (labels.width(), labels.height()) {
        return Err(SizeError::Samples { expected: 3 * width * height, actual: rgb_hwc.len() });
    }
    let labels_hw = labels.labels_hw();
    for (at, pixel) in rgb_hwc.chunks_exact_mut(3).enumerate() {
        let (x, y, label) = (at % width, at / width, labels_hw[at]);
        let differs = |near: bool, other: usize| near && labels_hw[other] != label;
        if label != 0
            && (differs(x > 0, at.wrapping_sub(1))
                || differs(x + 1 < width, at + 1)
                || differs(y > 0, at.wrapping_sub(width))
                || differs(y + 1 < height, at + width))
        {
            pixel.copy_from_slice(&colour);
        }
    }
    Image::new(image.width(), image.height(), Channels::Rgb, rgb_hwc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlines_are_the_outermost_pixels_and_part_touching_nuclei() {
        let rows = ["0000000", "0111220", "0111220", "0111220", "0000000", "3300000", "3300000"];
        let drawn = [".......", ".#####.", ".#.###.", ".#####.", ".......", "##.....", ".#....."];
        let labels = rows.concat().bytes().map(|byte| u32::from(byte - b'0')).collect();
        let labels = LabelImage::new(7, 7, labels).unwrap();
        let image = Image::black(7, 7, Channels::Grey).unwrap();
        let overlay = draw_outlines(&image, &labels, [0, 255, 0]).unwrap();
        let found: String =
            overlay.samples_hwc().chunks_exact(3).map(|p| if p == [0, 255, 0] { '#' } else { '.' }).collect();
        assert_eq!(found, drawn.concat());
    }

    #[test]
    fn sizes_must_agree() {
        let image = Image::black(2, 3, Channels::Rgb).unwrap();
        let labels = LabelImage::background(3, 2).unwrap();
        assert!(draw_outlines(&image, &labels, [0; 3]).is_err());
    }
}
