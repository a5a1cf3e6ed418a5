//! Data sets: images with or without ground truth, in the layouts users have.

mod error;
mod layout;
mod loading;
mod masks;
mod packing;
mod source;

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use shared::{
    DecodeError, DecodedImage, Image, LabelImage, PlaneSelection, components, decode_label_image,
    decode_mask, decode_plane,
};

pub use error::{DatasetError, SampleError, SampleWarning};
use layout::{Listed, Truth, arrange};
pub use loading::{BadSamples, BadTruth, print_warnings};
use masks::{MaskPixels, merge};
pub use packing::PackError;
use source::Source;

/// Images with or without ground truth: a folder, a zip (read without unpacking), or a single file.
///
/// These layouts are known, also below further folders:
/// - the Data Science Bowl of 2018: `<id>/images/<id>.png` with `<id>/masks/*.png`, one mask per nucleus;
/// - pairs: `x.png` with the label image `x_masks.png`, or with another ending of [`shared::truth_stem`];
/// - `images/x.png` with the label image `labels/x.png` or `masks/x.png`, or with other names of folders that
///   [`shared::is_image_folder`] and [`shared::is_truth_folder`] know; also where the truth's folder lies in the
///   images' own;
/// - an empty `<id>/masks`: no nuclei;
/// - images without truth.
///
/// Images, label images and masks are PNG, TIFF, JPEG, BMP or WebP, except that a JPEG cannot hold labels. Hidden files
/// are skipped, and linked folders are not entered.
#[derive(Debug)]
pub struct Dataset {
    source: Source,
    pictures: Vec<Listed>,
    planes: PlaneSelection,
    binary_masks: BinaryMasks,
}

/// What to do with a label image in which all nuclei have one value, such as a mask of 0 and 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinaryMasks {
    /// Reject it: read as labels it would be a single nucleus.
    #[default]
    Refuse,
    /// Each 4-connected component becomes a nucleus, which merges touching ones.
    SplitComponents,
}

/// An image with its ground truth.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Stem of the image's file; the id in the layout of the Data Science Bowl.
    pub name: String,
    /// The image.
    pub image: Image,
    /// Its nuclei: consecutive labels, at the image's size; `None` without ground truth.
    pub labels: Option<LabelImage>,
    /// Warnings about the ground truth.
    pub warnings: Vec<SampleWarning>,
}

/// An image with known ground truth.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledSample {
    /// Its index in the data set.
    pub index: usize,
    /// As in [`Sample`].
    pub name: String,
    /// The image.
    pub image: Image,
    /// Its nuclei: consecutive labels, at the image's size.
    pub labels: LabelImage,
    /// Warnings about the ground truth.
    pub warnings: Vec<SampleWarning>,
}

impl Dataset {
    /// Lists a folder, a zip or a single file, sorted by name, without reading any image.
    ///
    /// # Errors
    /// [`DatasetError`].
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        let source = Source::open(path)?;
        let paths: Vec<&str> = source.entries().iter().map(|entry| entry.path.as_str()).collect();
        let empty: Vec<&str> = source.empty_truth().iter().map(String::as_str).collect();
        let pictures = arrange(&paths, &empty);
        match (pictures.len(), paths.len()) {
            (0, 0) => Err(DatasetError::Empty { path: path.to_owned() }),
            (0, files) => Err(DatasetError::NoPictures { path: path.to_owned(), files }),
            _ => Ok(Self {
                source,
                pictures,
                planes: PlaneSelection::default(),
                binary_masks: BinaryMasks::default(),
            }),
        }
    }

    /// The same data set, reading `planes` of images with several planes or channels.
    #[must_use]
    pub fn with_planes(self, planes: PlaneSelection) -> Self {
        Self { planes, ..self }
    }

    /// The same data set, with masks of one value treated as `binary_masks` says.
    #[must_use]
    pub fn with_binary_masks(self, binary_masks: BinaryMasks) -> Self {
        Self { binary_masks, ..self }
    }

    /// Number of images, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "an empty data set is refused")]
    pub const fn len(&self) -> usize {
        self.pictures.len()
    }

    /// Stem of an image's file; the id in the layout of the Data Science Bowl. Images in different folders may have
    /// the same name.
    ///
    /// # Panics
    /// When `index` is not below [`Dataset::len`].
    pub fn name(&self, index: usize) -> &str {
        &self.pictures[index].name
    }

    /// An image's path, including the zip's path if it is in one.
    ///
    /// # Panics
    /// When `index` is not below [`Dataset::len`].
    pub fn file(&self, index: usize) -> String {
        self.source.describe(self.pictures[index].picture)
    }

    /// Loads an image.
    ///
    /// # Errors
    /// [`SampleError`].
    ///
    /// # Panics
    /// When `index` is not below [`Dataset::len`].
    pub fn load_image(&self, index: usize) -> Result<DecodedImage, SampleError> {
        self.decoded(self.pictures[index].picture, |bytes| decode_plane(bytes, &self.planes))
    }

    /// Loads an image and its ground truth, if any.
    ///
    /// If masks overlap, a pixel belongs to the smallest of its masks, and among masks of equal size to the first by
    /// name.
    ///
    /// # Errors
    /// [`SampleError`]; `NoTruth` never.
    ///
    /// # Panics
    /// When `index` is not below [`Dataset::len`].
    pub fn load(&self, index: usize) -> Result<Sample, SampleError> {
        let DecodedImage { image, planes, .. } = self.load_image(index)?;
        let (labels, mut warnings) = match &self.pictures[index].truth {
            Truth::None => (None, Vec::new()),
            Truth::Labels(entry) => (Some(self.labels(*entry, &image)?), Vec::new()),
            Truth::Masks(entries) => {
                let (labels, warnings) = self.merged(index, entries, &image)?;
                (Some(labels), warnings)
            }
        };
        warnings.extend(planes.map(|summary| SampleWarning::Planes { picture: self.file(index), summary }));
        Ok(Sample { name: self.name(index).to_owned(), image, labels, warnings })
    }

    /// Loads an image and its ground truth, which is required.
    ///
    /// # Errors
    /// [`SampleError`].
    ///
    /// # Panics
    /// When `index` is not below [`Dataset::len`].
    pub fn load_with_truth(&self, index: usize) -> Result<LabelledSample, SampleError> {
        let Sample { name, image, labels, warnings } = self.load(index)?;
        match labels {
            Some(labels) => Ok(LabelledSample { index, name, image, labels, warnings }),
            None => Err(SampleError::NoTruth { file: self.file(index) }),
        }
    }

    /// Whether `path` is the opened folder, zip or file.
    pub fn is_at(&self, path: &Path) -> bool {
        self.source.is_at(path)
    }

    /// Whether an image or its ground truth is in this folder itself, so that writing there could overwrite it.
    pub fn has_files_in(&self, folder: &Path) -> bool {
        let entries = self.source.entries();
        let Some(within) = self.source.path_within(folder) else { return false };
        let lies_in =
            |at: usize| entries[at].path.rsplit_once('/').map_or("", |(folder, _)| folder) == within;
        self.pictures.iter().flat_map(Listed::entries).any(lies_in)
    }

    /// Identifies the data: SHA-256, hexadecimal, over the path, length and CRC-32 of every image and its ground truth,
    /// sorted by path.
    ///
    /// Parent folders and other files do not count, so a folder and its zip have the same digest. It identifies data,
    /// but does not protect it.
    ///
    /// # Errors
    /// [`SampleError`] when a file cannot be read. The files of a zip are not read.
    pub fn digest(&self) -> Result<String, SampleError> {
        let used = files_of(&self.pictures);
        let entries = self.source.entries();
        let shared = shared_folders(used.iter().map(|&at| entries[at].path.as_str()));
        let mut hash = Sha256::new();
        for at in used {
            let fingerprint = self.source.fingerprint(at)?;
            hash.update(&entries[at].path.as_bytes()[shared..]);
            hash.update([0]);
            hash.update(fingerprint.bytes.to_le_bytes());
            hash.update(fingerprint.crc.to_le_bytes());
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn decoded<T>(
        &self,
        entry: usize,
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, SampleError> {
        decode(&self.source.read(entry)?)
            .map_err(|source| SampleError::Decode { file: self.source.describe(entry), source })
    }

    fn labels(&self, entry: usize, image: &Image) -> Result<LabelImage, SampleError> {
        let mut labels = self.decoded(entry, decode_label_image)?;
        self.check_size(entry, (labels.width(), labels.height()), image)?;
        if let Some(components) = binary_components(&labels) {
            match self.binary_masks {
                BinaryMasks::Refuse => {
                    let file = self.source.describe(entry);
                    return Err(SampleError::BinaryMask { file, components: components.max_label() });
                }
                BinaryMasks::SplitComponents => labels = components,
            }
        }
        labels.make_consecutive();
        Ok(labels)
    }

    fn merged(
        &self,
        index: usize,
        entries: &[usize],
        image: &Image,
    ) -> Result<(LabelImage, Vec<SampleWarning>), SampleError> {
        let mut masks = Vec::with_capacity(entries.len());
        for &entry in entries {
            let mask = self.decoded(entry, decode_mask)?;
            self.check_size(entry, (mask.width, mask.height), image)?;
            masks.push(MaskPixels::of(&mask));
        }
        let size = LabelImage::background(image.width(), image.height()).map_err(DecodeError::Size);
        let mut labels = size.map_err(|source| SampleError::Decode { file: self.file(index), source })?;
        let merged = merge(&masks, &mut labels);
        let mask = |at: usize| self.source.describe(entries[at]);
        let mut warnings = Vec::new();
        if merged.overlapping > 0 {
            warnings.push(SampleWarning::Overlap { picture: self.file(index), pixels: merged.overlapping });
        }
        warnings.extend(merged.empty.into_iter().map(|at| SampleWarning::EmptyMask { mask: mask(at) }));
        warnings.extend(merged.covered.into_iter().map(|at| SampleWarning::Covered { mask: mask(at) }));
        Ok((labels, warnings))
    }

    fn check_size(
        &self,
        entry: usize,
        (width, height): (u32, u32),
        image: &Image,
    ) -> Result<(), SampleError> {
        if (width, height) == (image.width(), image.height()) {
            return Ok(());
        }
        Err(SampleError::TruthSize {
            file: self.source.describe(entry),
            width,
            height,
            image_width: image.width(),
            image_height: image.height(),
        })
    }
}

/// The parts of a mask that shows all nuclei by one value, each labeled; `None` of a label image.
fn binary_components(labels: &LabelImage) -> Option<LabelImage> {
    let value = labels.max_label();
    let labels_hw = labels.labels_hw();
    if value == 0 || labels_hw.iter().any(|&label| label != 0 && label != value) {
        return None;
    }
    let mask_hw: Vec<bool> = labels_hw.iter().map(|&label| label != 0).collect();
    let (parts_hw, count) = components(&mask_hw, labels.width() as usize);
    if count < 2 {
        return None;
    }
    LabelImage::new(labels.width(), labels.height(), parts_hw).ok()
}

impl Listed {
    /// Indices of all its files.
    fn entries(&self) -> Vec<usize> {
        let mut entries = vec![self.picture];
        match &self.truth {
            Truth::None => {}
            Truth::Labels(at) => entries.push(*at),
            Truth::Masks(masks) => entries.extend(masks),
        }
        entries
    }
}

/// Indices of the files of some images, sorted by path.
fn files_of<'a>(pictures: impl IntoIterator<Item = &'a Listed>) -> Vec<usize> {
    let mut files: Vec<usize> = pictures.into_iter().flat_map(Listed::entries).collect();
    files.sort_unstable();
    files.dedup();
    files
}

/// Bytes of the folders, with their last `/`, that all paths begin with.
fn shared_folders<'a>(mut paths: impl Iterator<Item = &'a str>) -> usize {
    let Some(first) = paths.next() else { return 0 };
    let folders = |path: &str, limit: usize| path[..limit].rfind('/').map_or(0, |at| at + 1);
    paths.fold(folders(first, first.len()), |mut shared, path| {
        while !path.starts_with(&first[..shared]) {
            shared = folders(first, shared - 1);
        }
        shared
    })
}

#[cfg(test)]
mod tests;
