//! A folder of label images, one per image, as `segment` and `capture` write it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use host_console::{Failure, read_input};
use shared::{DecodeError, LabelImage, decode_label_image, picture_stem, truth_stem};
use thiserror::Error;

const EXTENSIONS: [&str; 3] = ["png", "tif", "tiff"];

/// Label images by the name of their image.
#[derive(Debug)]
pub struct LabelFiles {
    files: BTreeMap<String, PathBuf>,
    suffixed: bool,
}

/// Why label images cannot be read.
#[derive(Debug, Error)]
pub enum LabelFilesError {
    /// The folder cannot be listed.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// There is nothing to score.
    #[error("{} holds no label image (PNG or TIFF)", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// Two files belong to the same image.
    #[error("{} and {} are label images of the same image", first.display(), second.display())]
    Ambiguous {
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A file contains no labels.
    #[error("{} cannot be used", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
}

impl From<LabelFilesError> for Failure {
    fn from(error: LabelFilesError) -> Self {
        let next = match error {
            LabelFilesError::Unreadable { .. } => "give the folder written by segment or capture",
            LabelFilesError::Empty { .. } => "run nuclei-host segment with --out and this folder first",
            LabelFilesError::Ambiguous { .. } => "remove one of them",
            LabelFilesError::Decode { .. } => {
                "save the labels as a grayscale 16-bit PNG or TIFF, 0 for background, or segment the image again"
            }
        };
        Self::failed(error, next)
    }
}

impl LabelFiles {
    /// Lists the label images of a folder, but not of the folders in it. The label image of `x` is `x.png` or `x.tif`;
    /// in a folder with files such as `x_masks.png` (see [`truth_stem`]), only these are label images, and the others
    /// are images.
    ///
    /// # Errors
    /// [`LabelFilesError`], but not `Decode`.
    pub fn open(folder: &Path) -> Result<Self, LabelFilesError> {
        let unreadable = |source| LabelFilesError::Unreadable { path: folder.to_owned(), source };
        let mut paths = Vec::new();
        for found in fs::read_dir(folder).map_err(unreadable)? {
            let path = found.map_err(unreadable)?.path();
            if is_label_file(&path) {
                paths.push(path);
            }
        }
        paths.sort();
        let suffixed = paths.iter().any(|path| truth_stem(&stem(path)).is_some());
        let mut files = BTreeMap::new();
        for path in paths {
            let stem = stem(&path);
            let name = match truth_stem(&stem) {
                Some(name) => name.to_owned(),
                None if suffixed => continue,
                None => stem,
            };
            if let Some(first) = files.insert(name, path.clone()) {
                return Err(LabelFilesError::Ambiguous { first, second: path });
            }
        }
        if files.is_empty() {
            return Err(LabelFilesError::Empty { path: folder.to_owned() });
        }
        Ok(Self { files, suffixed })
    }

    /// Names of the images with label images, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Whether they are named x_masks, so that other files of the folder may be images.
    pub const fn lie_beside_pictures(&self) -> bool {
        self.suffixed
    }

    /// Loads the label image of an image; `None` if there is none.
    ///
    /// # Errors
    /// [`LabelFilesError::Unreadable`] or [`LabelFilesError::Decode`].
    pub fn load(&self, name: &str) -> Result<Option<LabelImage>, LabelFilesError> {
        let Some(path) = self.files.get(name) else { return Ok(None) };
        let bytes =
            read_input(path).map_err(|source| LabelFilesError::Unreadable { path: path.clone(), source })?;
        let labels = decode_label_image(&bytes)
            .map_err(|source| LabelFilesError::Decode { path: path.clone(), source })?;
        Ok(Some(labels))
    }
}

fn stem(path: &Path) -> String {
    picture_stem(&path.file_name().unwrap_or_default().to_string_lossy()).to_owned()
}

fn is_label_file(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
        && !path.file_name().unwrap_or_default().to_string_lossy().starts_with('.')
        && path.is_file()
}

#[cfg(test)]
mod tests {
    use shared::encode_label_png;

    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let png = encode_label_png(&LabelImage::new(1, 1, vec![300]).unwrap()).unwrap();
        for name in names {
            fs::write(folder.path().join(name), &png).unwrap();
        }
        folder
    }

    #[test]
    fn labels_by_name() {
        for (files, names) in [
            (&["b.png", "a.tif", "objects.csv", ".a.png"][..], &["a", "b"][..]),
            (&["a.png", "a_masks.png", "b.png", "c_masks.tif"], &["a", "c"]),
        ] {
            let folder = folder(files);
            let labels = LabelFiles::open(folder.path()).unwrap();
            assert_eq!(labels.names().collect::<Vec<_>>(), names);
            assert_eq!(labels.load("a").unwrap().unwrap().labels_hw(), [300]);
            assert!(labels.load("none").unwrap().is_none());
        }
    }

    #[test]
    fn folders_that_cannot_be_scored() {
        let open = |files| LabelFiles::open(folder(files).path()).unwrap_err();
        assert!(matches!(open(&["notes.txt"]), LabelFilesError::Empty { .. }));
        assert!(matches!(open(&["a.png", "a.tif"]), LabelFilesError::Ambiguous { .. }));
        let folder = folder(&["a.png"]);
        let none = LabelFiles::open(&folder.path().join("none"));
        assert!(matches!(none, Err(LabelFilesError::Unreadable { .. })));
        fs::write(folder.path().join("a.png"), b"text").unwrap();
        let error = LabelFiles::open(folder.path()).unwrap().load("a").unwrap_err();
        assert!(Failure::from(error).to_string().contains("a.png cannot be used: the data is not PNG"));
    }
}
