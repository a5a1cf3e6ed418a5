//! Which files are images, and which are their ground truth, judged by path only.

use std::collections::{HashMap, HashSet};

use shared::{
    bare_stem, is_image_file, is_image_folder, is_picture, is_truth_folder, picture_stem, truth_stem,
};

/// The files of an image's ground truth, as indices of paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Truth {
    /// Nowhere.
    None,
    /// One label image.
    Labels(usize),
    /// One mask per nucleus.
    Masks(Vec<usize>),
}

/// An image and its ground truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Stem of the file, without an ending such as `_img`.
    pub(super) name: String,
    /// Index of the image's path.
    pub(super) picture: usize,
    /// Its truth.
    pub(super) truth: Truth,
}

/// Finds images and their truth among `paths`, which are sorted and relative, with `/` between parts.
/// `empty` are folders of truth without a file. Gives the images sorted by name.
///
/// Image and truth belong together when their stems are equal but for endings such as `_masks`, and their
/// folders but for a part such as `images` or `masks`: `d/x.png` with `d/x_masks.png`, `d/images/x.png` with
/// `d/labels/x.png`, `d/x.png` with `d/masks/x.png`. The first of these is taken. Where `d` holds one image, all of
/// `d/masks` belong to it otherwise, and none where `d/masks` is empty.
pub(super) fn arrange(paths: &[&str], empty: &[&str]) -> Vec<Listed> {
    let truths = Truths::index(paths);
    let empty: HashSet<String> = empty.iter().map(|folder| place(folder).0).collect();
    let pictures: Vec<usize> = (0..paths.len()).filter(|&at| is_picture(paths[at])).collect();
    let mut company: HashMap<String, usize> = HashMap::new();
    for &at in &pictures {
        *company.entry(place(folder(paths[at])).0).or_default() += 1;
    }
    let mut listed: Vec<Listed> = pictures
        .into_iter()
        .map(|at| {
            let (place, _) = place(folder(paths[at]));
            let alone = company.get(&place) == Some(&1);
            let truth = match truths.of(paths[at], alone) {
                Truth::None if alone && empty.contains(&place) => Truth::Masks(Vec::new()),
                truth => truth,
            };
            Listed { name: bare_stem(picture_stem(paths[at])).to_owned(), picture: at, truth }
        })
        .collect();
    listed.sort_by(|a, b| (&a.name, a.picture).cmp(&(&b.name, b.picture)));
    listed
}

/// What a folder holds, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Label images, as `labels` says.
    Labels,
    /// Label images, or one mask of each nucleus.
    Masks,
    /// Images, or anything.
    Other,
}

/// Place and stem that an image and its truth have in common.
type Key = (String, String);

#[derive(Default)]
struct Truths {
    beside: HashMap<Key, usize>,
    in_labels: HashMap<Key, usize>,
    in_masks: HashMap<Key, usize>,
    masks: HashMap<String, Vec<usize>>,
}

impl Truths {
    fn index(paths: &[&str]) -> Self {
        let mut truths = Self::default();
        for (at, path) in paths.iter().enumerate() {
            let (stem, folder) = (picture_stem(path), folder(path));
            if !is_image_file(path) {
                continue;
            }
            let (place, holds) = place(folder);
            let key = (place.clone(), truth_stem(stem).unwrap_or(stem).to_owned());
            match holds {
                Holds::Other if truth_stem(stem).is_some() => {
                    truths.beside.entry(key).or_insert(at);
                }
                Holds::Other => {}
                Holds::Labels => {
                    truths.in_labels.entry(key).or_insert(at);
                }
                Holds::Masks => {
                    truths.in_masks.entry(key).or_insert(at);
                    truths.masks.entry(place).or_default().push(at);
                }
            }
        }
        truths
    }

    fn of(&self, path: &str, alone: bool) -> Truth {
        let (place, _) = place(folder(path));
        let key = (place, bare_stem(picture_stem(path)).to_owned());
        let named = [&self.beside, &self.in_labels, &self.in_masks].into_iter().find_map(|map| map.get(&key));
        match (named, self.masks.get(&key.0)) {
            (Some(&at), _) => Truth::Labels(at),
            (None, Some(masks)) if alone => Truth::Masks(masks.clone()),
            _ => Truth::None,
        }
    }
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The folder without its last part that says what it holds, and what that is.
fn place(folder: &str) -> (String, Holds) {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    let Some(at) = parts.iter().rposition(|part| is_truth_folder(part) || is_image_folder(part)) else {
        return (parts.join("/"), Holds::Other);
    };
    let part = parts.remove(at);
    let holds = match part.to_ascii_lowercase().as_str() {
        _ if is_image_folder(part) => Holds::Other,
        "labels" | "label" => Holds::Labels,
        _ => Holds::Masks,
    };
    (parts.join("/"), holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_finds_its_truth() {
        struct Case {
            paths: &'static [&'static str],
            found: &'static [(&'static str, usize, Truth)],
        }
        for case in [
            Case {
                paths: &["b.png", "a.tif", "notes.txt"],
                found: &[("a", 1, Truth::None), ("b", 0, Truth::None)],
            },
            Case {
                paths: &["a.tif", "a_masks.png", "b.png", "b_MASKS.tif", "c.jpg"],
                found: &[("a", 0, Truth::Labels(1)), ("b", 2, Truth::Labels(3)), ("c", 4, Truth::None)],
            },
            Case {
                paths: &[
                    "s/images/a.png",
                    "s/images/b.png",
                    "s/labels/a.tif",
                    "s/masks/a.png",
                    "s/masks/b.png",
                ],
                found: &[("a", 0, Truth::Labels(2)), ("b", 1, Truth::Labels(4))],
            },
            Case {
                paths: &["Images/w1/a.png", "Labels/w1/a.png", "Labels/w2/a.png"],
                found: &[("a", 0, Truth::Labels(1))],
            },
            Case { paths: &["images/a.png", "masks/a.png"], found: &[("a", 0, Truth::Labels(1))] },
            Case {
                paths: &["images/a.png", "images/b.png", "masks/b_masks.png", "masks/c.png"],
                found: &[("a", 0, Truth::None), ("b", 1, Truth::Labels(2))],
            },
            // Cellpose's results and its training data, StarDist's folders, a U-Net repository's.
            Case {
                paths: &["a.png", "a_cp_masks.png", "a_seg.npy", "b_img.png", "b_masks.png"],
                found: &[("a", 0, Truth::Labels(1)), ("b", 3, Truth::Labels(4))],
            },
            Case {
                paths: &["d/a.tif", "d/b.tif", "d/masks/a.tif", "d/masks/b.tif"],
                found: &[("a", 0, Truth::Labels(2)), ("b", 1, Truth::Labels(3))],
            },
            Case {
                paths: &["imgs/a.png", "imgs/b.png", "masks/a_mask.png", "masks/b_mask.png"],
                found: &[("a", 0, Truth::Labels(2)), ("b", 1, Truth::Labels(3))],
            },
            Case {
                paths: &["gt/a.tif", "gt/b.tif", "raw/a.tif", "raw/b.tif"],
                found: &[("a", 2, Truth::Labels(0)), ("b", 3, Truth::Labels(1))],
            },
            // An image is never the truth of another place's.
            Case {
                paths: &["w1/images/a.png", "w1/images/b.png", "w2/labels/a.png"],
                found: &[("a", 0, Truth::None), ("b", 1, Truth::None)],
            },
        ] {
            let found = arrange(case.paths, &[]);
            let expected: Vec<Listed> = case
                .found
                .iter()
                .map(|(name, picture, truth)| Listed {
                    name: (*name).to_owned(),
                    picture: *picture,
                    truth: truth.clone(),
                })
                .collect();
            assert_eq!(found, expected, "{:?}", case.paths);
        }
    }

    #[test]
    fn an_empty_folder_of_masks_says_that_there_are_no_nuclei() {
        let paths = ["n0/images/n0.png", "p/images/p.png", "p/masks/1.png"];
        let truths: Vec<Truth> =
            arrange(&paths, &["n0/masks"]).into_iter().map(|listed| listed.truth).collect();
        assert_eq!(truths, [Truth::Masks(Vec::new()), Truth::Masks(vec![2])]);
        // Of two images nobody knows which one is meant.
        let paths = ["s/images/a.png", "s/images/b.png"];
        assert!(arrange(&paths, &["s/masks"]).iter().all(|listed| listed.truth == Truth::None));
    }

    #[test]
    fn science_bowl_layout_with_and_without_a_top_folder() {
        for top in ["", "stage1_train/", "data/masks of spring/"] {
            let paths = [
                "id1/images/id1.png",
                "id1/masks/0f.png",
                "id1/masks/1a.png",
                "id2/images/id2.png",
                "id3/images/id3.png",
                "id3/masks/.DS_Store",
            ]
            .map(|path| format!("{top}{path}"));
            let found = arrange(&paths.each_ref().map(String::as_str), &[]);
            let truths: Vec<_> = found.iter().map(|listed| (listed.name.as_str(), &listed.truth)).collect();
            let masks = Truth::Masks(vec![1, 2]);
            assert_eq!(truths, [("id1", &masks), ("id2", &Truth::None), ("id3", &Truth::None)], "{top}");
        }
    }
}
