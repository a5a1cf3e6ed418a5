//! Which files are pictures, and which files are their truth: by their paths alone.

use std::collections::HashMap;

use shared::{is_picture, picture_stem};

/// Where the truth of a picture lies, as indices of paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Truth {
    /// Nowhere.
    None,
    /// One label image.
    Labels(usize),
    /// One mask a nucleus.
    Masks(Vec<usize>),
}

/// A picture and its truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Stem of the file.
    pub(super) name: String,
    /// Index of the picture's path.
    pub(super) picture: usize,
    /// Its truth.
    pub(super) truth: Truth,
}

const TRUTH_SUFFIX: &str = "_masks";

/// Finds pictures and their truth among `paths`, which are sorted and relative, with `/` between parts.
/// Gives them sorted by name.
///
/// The truth of `d/x.png` is `d/x_masks.png`; that of `d/images/x.png` is `d/labels/x.png` or
/// `d/masks/x.png`; and where `d/images` holds one picture, all of `d/masks` otherwise. The first of
/// these that exists is taken.
pub(super) fn arrange(paths: &[&str]) -> Vec<Listed> {
    let truths = Truths::index(paths);
    let pictures: Vec<usize> = (0..paths.len()).filter(|&at| is_picture(paths[at])).collect();
    let mut company: HashMap<&str, usize> = HashMap::new();
    for &at in &pictures {
        *company.entry(folder(paths[at])).or_default() += 1;
    }
    let mut listed: Vec<Listed> = pictures
        .into_iter()
        .map(|at| {
            let alone = company.get(folder(paths[at])) == Some(&1);
            Listed {
                name: picture_stem(paths[at]).to_owned(),
                picture: at,
                truth: truths.of(paths[at], alone),
            }
        })
        .collect();
    listed.sort_by(|a, b| (&a.name, a.picture).cmp(&(&b.name, b.picture)));
    listed
}

/// The folder of a picture and the stem that its truth must have.
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
            let stem = picture_stem(path);
            let bare = strip_suffix(stem);
            if !is_picture(&format!("{}{}", bare.unwrap_or(stem), extension(path))) {
                continue;
            }
            let folder = folder(path);
            if let Some(bare) = bare {
                truths.beside.entry((folder.to_owned(), bare.to_owned())).or_insert(at);
            }
            let stem = bare.unwrap_or(stem).to_owned();
            if let Some(images) = with_sibling(folder, "labels", "images") {
                truths.in_labels.entry((images, stem)).or_insert(at);
            } else if let Some(images) = with_sibling(folder, "masks", "images") {
                truths.in_masks.entry((images.clone(), stem)).or_insert(at);
                truths.masks.entry(images).or_default().push(at);
            }
        }
        truths
    }

    fn of(&self, path: &str, alone: bool) -> Truth {
        let stem = picture_stem(path).to_owned();
        if let Some(&at) = self.beside.get(&(folder(path).to_owned(), stem.clone())) {
            return Truth::Labels(at);
        }
        let Some(images) = with_sibling(folder(path), "images", "images") else { return Truth::None };
        let key = (images, stem);
        if let Some(&at) = self.in_labels.get(&key).or_else(|| self.in_masks.get(&key)) {
            return Truth::Labels(at);
        }
        match self.masks.get(&key.0) {
            Some(masks) if alone => Truth::Masks(masks.clone()),
            _ => Truth::None,
        }
    }
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn extension(path: &str) -> &str {
    path.rfind('.').map_or("", |at| &path[at..])
}

fn strip_suffix(stem: &str) -> Option<&str> {
    let at = stem.len().checked_sub(TRUTH_SUFFIX.len())?;
    let tail = stem.get(at..)?;
    tail.eq_ignore_ascii_case(TRUTH_SUFFIX).then(|| &stem[..at])
}

/// `folder` with its last part that is called `from` called `to`; `None` without such a part.
fn with_sibling(folder: &str, from: &str, to: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').collect();
    let at = parts.iter().rposition(|part| part.eq_ignore_ascii_case(from))?;
    parts[at] = to;
    Some(parts.join("/"))
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
        ] {
            let found = arrange(case.paths);
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
            let found = arrange(&paths.each_ref().map(String::as_str));
            let truths: Vec<_> = found.iter().map(|listed| (listed.name.as_str(), &listed.truth)).collect();
            let masks = Truth::Masks(vec![1, 2]);
            assert_eq!(truths, [("id1", &masks), ("id2", &Truth::None), ("id3", &Truth::None)], "{top}");
        }
    }
}
