//! The images that a command line names: files, folders and zips, each image under its own name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use host_console::Failure;
use host_modelling::{Dataset, DatasetError, SampleError};
use shared::{DecodedImage, PlaneSelection};
use thiserror::Error;

/// Images from several inputs, no two with the same name.
#[derive(Debug)]
pub struct InputImages {
    datasets: Vec<Dataset>,
    places: Vec<(usize, usize)>,
}

/// Two images would be written to the same file.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{first} and {second} have the same name, so one result would overwrite the other")]
pub struct NameClash {
    first: String,
    second: String,
}

impl From<NameClash> for Failure {
    fn from(clash: NameClash) -> Self {
        Self::usage(clash, "rename one of them, or run the command separately with different folders")
    }
}

impl InputImages {
    /// Lists the images of every input, in order. Inputs without images are returned separately.
    ///
    /// # Errors
    /// [`NameClash`] when two images have one name.
    pub fn open(inputs: &[PathBuf]) -> Result<(Self, Vec<DatasetError>), NameClash> {
        let (mut datasets, mut errors) = (Vec::new(), Vec::new());
        for input in inputs {
            match Dataset::open(input) {
                Ok(dataset) => datasets.push(dataset),
                Err(error) => errors.push(error),
            }
        }
        let places: Vec<(usize, usize)> = datasets
            .iter()
            .enumerate()
            .flat_map(|(of, dataset)| (0..dataset.len()).map(move |at| (of, at)))
            .collect();
        let mut names = HashMap::new();
        for &(of, at) in &places {
            if let Some((other_of, other_at)) = names.insert(datasets[of].name(at), (of, at)) {
                let first = datasets[other_of].file(other_at);
                return Err(NameClash { first, second: datasets[of].file(at) });
            }
        }
        Ok((Self { datasets, places }, errors))
    }

    /// The same images, reading `planes` of files with several planes.
    #[must_use]
    pub fn with_planes(mut self, planes: &PlaneSelection) -> Self {
        self.datasets =
            self.datasets.into_iter().map(|dataset| dataset.with_planes(planes.clone())).collect();
        self
    }

    /// Number of images.
    pub const fn len(&self) -> usize {
        self.places.len()
    }

    /// An image's unique name.
    pub fn name(&self, index: usize) -> &str {
        let (of, at) = self.places[index];
        self.datasets[of].name(at)
    }

    /// An image's path.
    pub fn file(&self, index: usize) -> String {
        let (of, at) = self.places[index];
        self.datasets[of].file(at)
    }

    /// Loads an image.
    ///
    /// # Errors
    /// [`SampleError`].
    pub fn load(&self, index: usize) -> Result<DecodedImage, SampleError> {
        let (of, at) = self.places[index];
        self.datasets[of].load_image(at)
    }

    /// Whether one of these images, or its ground truth, is in this folder itself.
    pub fn has_files_in(&self, folder: &Path) -> bool {
        self.datasets.iter().any(|dataset| dataset.has_files_in(folder))
    }
}

#[cfg(test)]
mod tests {
    use shared::{Channels, Image, encode_picture_png};

    use super::*;

    #[test]
    fn names_are_unique_over_all_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let png = encode_picture_png(&Image::black(1, 1, Channels::Grey).unwrap()).unwrap();
        let place = |name: &str| folder.path().join(name);
        std::fs::create_dir(place("more")).unwrap();
        for name in ["a.png", "b.png", "more/c.png", "more/a.png"] {
            std::fs::write(place(name), &png).unwrap();
        }
        let (pictures, errors) = InputImages::open(&[place("b.png"), place("more"), place("none")]).unwrap();
        let names: Vec<&str> = (0..pictures.len()).map(|at| pictures.name(at)).collect();
        assert_eq!(names, ["b", "a", "c"]);
        assert!(matches!(errors[..], [DatasetError::NotFound { .. }]));
        let clash = InputImages::open(&[place("a.png"), place("more")]).unwrap_err();
        let message = Failure::from(clash).to_string();
        assert!(
            message.contains("a.png and ") && message.contains("more/a.png have the same name"),
            "{message}"
        );
    }
}
