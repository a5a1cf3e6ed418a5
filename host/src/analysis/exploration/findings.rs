//! Problems of a data set, file by file.

use std::collections::BTreeMap;

use host_console::one_line;
use host_modelling::{Sample, SampleError, SampleWarning};
use serde::Serialize;
use shared::{LabelImage, components};

use super::picture::PictureFacts;

/// A problem of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatasetFinding {
    /// The file.
    pub file: String,
    /// Whether the file can still be used.
    pub severity: Severity,
    /// What is wrong.
    pub problem: String,
    /// Its effect on training or scores.
    pub effect: &'static str,
    /// What to do about it.
    pub next: String,
}

/// Whether a file can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It cannot.
    Unusable,
    /// It can, but may do harm.
    Odd,
}

/// Nuclei with fewer pixels are specks.
const SPECK_PX: u32 = 10;

impl DatasetFinding {
    /// An image that cannot be used.
    pub(super) fn unusable(file: String, error: &SampleError) -> Self {
        Self {
            file,
            severity: Severity::Unusable,
            problem: one_line(error),
            effect: "training and scoring refuse the data set",
            next: error.next_step().to_owned(),
        }
    }

    fn odd(file: &str, problem: String, effect: &'static str, next: &str) -> Self {
        Self { file: file.to_owned(), severity: Severity::Odd, problem, effect, next: next.to_owned() }
    }
}

/// Problems of a readable image.
pub(super) fn of_sample(file: &str, sample: &Sample) -> Vec<DatasetFinding> {
    let mut found: Vec<DatasetFinding> = sample
        .warnings
        .iter()
        .map(|warning| {
            let (effect, next) = match warning {
                SampleWarning::Planes { .. } => {
                    ("only what it names is read", "choose with --plane and --channel")
                }
                _ => ("some pixels or masks are not used as drawn", "draw these masks again"),
            };
            DatasetFinding::odd(file, warning.to_string(), effect, next)
        })
        .collect();
    let Some(labels) = &sample.labels else {
        let (effect, next) = ("it cannot be used for training or scoring", "put its masks next to it");
        found.push(DatasetFinding::odd(file, "the image has no ground truth".to_owned(), effect, next));
        return found;
    };
    let areas: Vec<u32> = labels.areas().into_iter().skip(1).filter(|&area| area > 0).collect();
    if areas.is_empty() {
        let effect = "it counts as an image without nuclei";
        let next = "check that this is intended";
        found.push(DatasetFinding::odd(
            file,
            "the ground truth contains no nucleus".to_owned(),
            effect,
            next,
        ));
    }
    let specks = areas.iter().filter(|&&area| area < SPECK_PX).count();
    if specks > 0 {
        let problem = format!("{specks} nuclei have fewer than {SPECK_PX} pixels");
        let effect = "no model can match them, so they lower every score";
        found.push(DatasetFinding::odd(file, problem, effect, "erase stray marks"));
    }
    let scattered = scattered(labels);
    if scattered > 0 {
        let problem = format!("{scattered} nuclei consist of several parts");
        let effect = "the parts count as one nucleus, but a model finds several";
        found.push(DatasetFinding::odd(file, problem, effect, "give each part its own mask"));
    }
    found
}

/// Nuclei whose pixels are not connected, where corners count as contact.
fn scattered(labels: &LabelImage) -> usize {
    let (width, height) = (labels.width() as usize, labels.height() as usize);
    let labels_hw = labels.labels_hw();
    let mut boxes = vec![[usize::MAX, usize::MAX, 0, 0]; labels.max_label() as usize + 1];
    for (at, &label) in labels_hw.iter().enumerate() {
        let [left, top, right, bottom] = &mut boxes[label as usize];
        (*left, *right) = ((*left).min(at % width), (*right).max(at % width));
        (*top, *bottom) = ((*top).min(at / width), (*bottom).max(at / width));
    }
    boxes
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, [left, ..])| *left != usize::MAX)
        .filter(|&(label, &[left, top, right, bottom])| {
            // Doubling the grid and filling diagonal steps makes corners contacts for 4-connected pieces.
            let across = 2 * (right - left + 1) + 1;
            let down = 2 * (bottom - top + 1) + 1;
            let inside =
                |x: usize, y: usize| x < width && y < height && labels_hw[y * width + x] as usize == label;
            let mask: Vec<bool> = (0..across * down)
                .map(|at| {
                    let (x, y) = (at % across, at / across);
                    [
                        (x.wrapping_sub(1), y.wrapping_sub(1)),
                        (x.wrapping_sub(1), y),
                        (x, y.wrapping_sub(1)),
                        (x, y),
                    ]
                    .iter()
                    .any(|&(x, y)| x < across && y < down && inside(left + x / 2, top + y / 2))
                })
                .collect();
            components(&mask, across).1 > 1
        })
        .count()
}

/// Images with the same pixels as an earlier one.
pub(super) fn duplicates(pictures: &[PictureFacts]) -> Vec<DatasetFinding> {
    let mut first: BTreeMap<[u8; 32], &PictureFacts> = BTreeMap::new();
    let mut found = Vec::new();
    for picture in pictures {
        match first.get(&picture.digest) {
            Some(earlier) => {
                let problem = format!("the image is a duplicate of {}", earlier.file);
                let effect = "a duplicate in training and validation inflates the score";
                found.push(DatasetFinding::odd(&picture.file, problem, effect, "keep only one"));
            }
            None => {
                first.insert(picture.digest, picture);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use shared::{Channels, Image};

    use super::*;

    fn sample(width: u32, labels: &[u32]) -> Sample {
        let height = labels.len() as u32 / width;
        Sample {
            name: "a".to_owned(),
            image: Image::black(width, height, Channels::Grey).unwrap(),
            labels: Some(LabelImage::new(width, height, labels.to_vec()).unwrap()),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn each_oddity_is_found_once() {
        let whole = [1; 36];
        let mut apart = whole;
        apart[12..24].fill(0);
        let cases: [(&str, Vec<u32>, &[&str]); 4] = [
            ("one nucleus", whole.to_vec(), &[]),
            ("nothing", vec![0; 36], &["no nucleus"]),
            ("a speck", [vec![1, 1], vec![0; 34]].concat(), &["fewer than"]),
            ("two pieces", apart.to_vec(), &["several parts"]),
        ];
        for (what, labels, expected) in cases {
            let found = of_sample("f", &sample(6, &labels));
            assert_eq!(found.len(), expected.len(), "{what}: {found:?}");
            assert!(found.iter().zip(expected).all(|(found, text)| found.problem.contains(text)), "{what}");
        }
        let untold = Sample { labels: None, ..sample(1, &[0]) };
        assert!(of_sample("f", &untold)[0].problem.contains("no ground truth"));
    }

    #[test]
    fn corners_hold_a_nucleus_together() {
        let labels = |rows: [u32; 9]| LabelImage::new(3, 3, rows.to_vec()).unwrap();
        assert_eq!(scattered(&labels([1, 0, 0, 0, 1, 0, 0, 0, 1])), 0);
        assert_eq!(scattered(&labels([0, 0, 2, 0, 2, 0, 2, 0, 0])), 0);
        assert_eq!(scattered(&labels([1, 0, 1, 0, 0, 0, 2, 2, 2])), 1);
    }

    #[test]
    fn copies_are_named() {
        let facts = |index, grey| {
            let image = Image::new(2, 2, Channels::Grey, vec![grey; 4]).unwrap();
            let sample = Sample { image, labels: None, ..sample(1, &[0]) };
            PictureFacts::new(index, &format!("{index}.png"), &sample)
        };
        let found = duplicates(&[facts(0, 5), facts(1, 6), facts(2, 5)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].file, "2.png");
        assert!(found[0].problem.contains("0.png"));
    }
}
