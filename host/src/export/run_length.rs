//! Masks as runs of pixels in column-major order, which Kaggle and COCO write differently.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use host_console::csv;
use shared::LabelImage;

/// Runs of one nucleus's pixels as `(first, length)`, ascending. Pixels are numbered down the columns from 0:
/// that at column x and row y is `x * height + y`.
pub type Runs = Vec<(u64, u64)>;

/// The runs of every nucleus by its label.
pub fn runs(labels: &LabelImage) -> BTreeMap<u32, Runs> {
    let (width, height) = (labels.width() as usize, labels.height() as usize);
    let mut found: BTreeMap<u32, Runs> = BTreeMap::new();
    let down_columns = (0..width).flat_map(|x| (0..height).map(move |y| y * width + x));
    for (at, pixel) in (0_u64..).zip(down_columns) {
        let label = labels.labels_hw()[pixel];
        if label == 0 {
            continue;
        }
        let runs = found.entry(label).or_default();
        match runs.last_mut() {
            Some((first, length)) if *first + *length == at => *length += 1,
            _ => runs.push((at, 1)),
        }
    }
    found
}

/// Lengths of background and nucleus by turns, beginning with background: COCO's uncompressed run lengths.
pub fn coco_counts(runs: &Runs, pixels: u64) -> Vec<u64> {
    let mut counts = Vec::with_capacity(2 * runs.len() + 1);
    let mut end = 0;
    for &(first, length) in runs {
        counts.extend([first - end, length]);
        end = first + length;
    }
    if end < pixels {
        counts.push(pixels - end);
    }
    counts
}

/// The table of the Data Science Bowl 2018: `ImageId,EncodedPixels`, one row per nucleus, pixels from 1. An image
/// without nuclei has one row with only its name.
#[derive(Debug)]
pub struct KaggleCsv(String);

impl KaggleCsv {
    pub fn new() -> Self {
        Self("ImageId,EncodedPixels\n".to_owned())
    }

    pub fn add(&mut self, picture: &str, labels: &LabelImage) {
        let (picture, nuclei) = (csv::field(picture), runs(labels));
        if nuclei.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(self.0, "{picture},");
        }
        for runs in nuclei.values() {
            let words: Vec<String> =
                runs.iter().map(|(first, length)| format!("{} {length}", first + 1)).collect();
            let _ = writeln!(self.0, "{picture},{}", words.join(" "));
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn runs_go_down_the_columns_and_over_their_ends() {
        // 1 1 0
        // 1 0 2
        let labels = LabelImage::new(3, 2, vec![1, 1, 0, 1, 0, 2]).unwrap();
        let found = runs(&labels);
        assert_eq!(found, BTreeMap::from([(1, vec![(0, 3)]), (2, vec![(5, 1)])]));
        assert_eq!(coco_counts(&found[&1], 6), [0, 3, 3]);
        assert_eq!(coco_counts(&found[&2], 6), [5, 1]);
        let mut table = KaggleCsv::new();
        table.add("a,b", &labels);
        table.add("none", &LabelImage::background(2, 2).unwrap());
        let text = String::from_utf8(table.as_bytes().to_vec()).unwrap();
        assert_eq!(text, "ImageId,EncodedPixels\n\"a,b\",1 3\n\"a,b\",6 1\nnone,\n");
    }

    proptest! {
        #[test]
        fn runs_and_counts_give_every_pixel_back(
            (width, values) in (1..9_u32).prop_flat_map(|width| {
                (Just(width), proptest::collection::vec(0..4_u32, width as usize * 7))
            })
        ) {
            let labels = LabelImage::new(width, 7, values.clone()).unwrap();
            let mut seen = vec![0; values.len()];
            for (label, runs) in runs(&labels) {
                let of_counts: Vec<bool> = coco_counts(&runs, values.len() as u64)
                    .iter()
                    .enumerate()
                    .flat_map(|(turn, &length)| std::iter::repeat_n(turn % 2 == 1, length as usize))
                    .collect();
                prop_assert_eq!(of_counts.len(), values.len());
                let mut of_runs = vec![false; values.len()];
                for (first, length) in runs {
                    of_runs[first as usize..(first + length) as usize].fill(true);
                }
                prop_assert_eq!(&of_runs, &of_counts);
                for (at, _) in of_runs.iter().enumerate().filter(|(_, inside)| **inside) {
                    seen[at % 7 * width as usize + at / 7] = label;
                }
            }
            prop_assert_eq!(seen, values);
        }
    }
}
