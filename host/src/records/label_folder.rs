//! A folder of label images, with their images and the evidence of a capture.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use host_console::{Failure, WriteError, one_line, write_advice, write_whole};
use shared::{Image, LabelImage, PixelSize};

use crate::records::capture_folder::{EvidenceEntry, read_evidence};
use crate::records::gates::Gates;
use crate::records::input_images::InputImages;
use crate::records::judgements::read_judgements;
use crate::records::label_files::LabelFiles;

/// The file in a folder to which label images are being written: where it stays, some are missing.
const UNFINISHED: &str = ".unfinished";

/// Marks a folder as unfinished, until [`finish`](Self::finish).
#[derive(Debug)]
pub struct UnfinishedFolder(PathBuf);

impl UnfinishedFolder {
    /// Marks the folder, and creates it if it does not exist.
    ///
    /// # Errors
    /// [`WriteError`] when it cannot be written.
    pub fn begin(folder: &Path) -> Result<Self, WriteError> {
        let path = folder.join(UNFINISHED);
        write_whole(&path, b"")?;
        Ok(Self(path))
    }

    /// All label images are written.
    ///
    /// # Errors
    /// [`Failure`] when the mark cannot be removed.
    pub fn finish(self) -> Result<(), Failure> {
        std::fs::remove_file(&self.0).map_err(|error| {
            let next = write_advice(&error);
            Failure::failed(format!("{} cannot be removed: {error}", self.0.display()), next)
        })
    }
}

/// Label images, each with its image and its evidence if they exist.
#[derive(Debug)]
pub struct LabelFolder {
    files: LabelFiles,
    pictures: Option<InputImages>,
    by_name: HashMap<String, usize>,
    evidence: Option<BTreeMap<String, EvidenceEntry>>,
    judgements: Option<BTreeMap<String, EvidenceEntry>>,
}

/// One label image with its image.
#[derive(Debug)]
pub struct LabelledField {
    /// Its nuclei.
    pub labels: LabelImage,
    /// The image, if it is available.
    pub image: Option<Image>,
    /// The name of the image's file; that of a PNG if there is no image.
    pub file_name: String,
}

impl LabelFolder {
    /// Opens a folder written by `segment`, `capture` or another program. The images are the given ones, else those of
    /// the capture, else those next to label images named x_masks.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn open(folder: &Path, pictures: &[PathBuf]) -> Result<Self, Failure> {
        let files = LabelFiles::open(folder)?;
        if folder.join(UNFINISHED).exists() {
            let problem = format!("{} is incomplete: its segmentation was stopped", folder.display());
            let next = format!(
                "run nuclei-host segment again with the same images; or delete {UNFINISHED} in it to use what is there"
            );
            return Err(Failure::failed(problem, next));
        }
        let captured = folder.join("pictures");
        let beside = match () {
            () if !pictures.is_empty() => pictures.to_vec(),
            () if captured.is_dir() => vec![captured],
            () if files.lie_beside_pictures() => vec![folder.to_owned()],
            () => Vec::new(),
        };
        let (found, unusable) = InputImages::open(&beside)?;
        if let Some(error) = unusable.into_iter().next().filter(|_| !pictures.is_empty()) {
            return Err(error.into());
        }
        let by_name = (0..found.len()).map(|at| (found.name(at).to_owned(), at)).collect();
        let pictures = (found.len() > 0).then_some(found);
        Ok(Self {
            files,
            pictures,
            by_name,
            evidence: read_evidence(folder)?,
            judgements: read_judgements(folder)?,
        })
    }

    /// Names of the images, sorted.
    pub fn names(&self) -> Vec<String> {
        self.files.names().map(str::to_owned).collect()
    }

    /// Whether an image or its ground truth is in this folder itself.
    pub fn has_pictures_in(&self, folder: &Path) -> bool {
        self.pictures.as_ref().is_some_and(|pictures| pictures.has_files_in(folder))
    }

    /// Loads the field of that name.
    ///
    /// # Errors
    /// The problem, on one line.
    pub fn load(&self, name: &str) -> Result<LabelledField, String> {
        let labels = self.files.load(name).map_err(|error| one_line(&error))?;
        let labels = labels.ok_or_else(|| format!("{name} has no label image"))?;
        let picture = self.pictures.as_ref().zip(self.by_name.get(name).copied());
        let image = picture
            .map(|(pictures, at)| pictures.load(at).map(|loaded| loaded.image).map_err(|error| error.line()))
            .transpose()?;
        let file = picture.map(|(pictures, at)| pictures.file(at));
        let file_name = file.as_deref().and_then(|file| file.rsplit('/').next());
        Ok(LabelledField { labels, image, file_name: file_name.map_or(format!("{name}.png"), str::to_owned) })
    }

    /// Whether the folder is that of a capture.
    pub const fn has_evidence(&self) -> bool {
        self.evidence.is_some()
    }

    /// The evidence of an image.
    pub fn evidence_of(&self, name: &str) -> Option<&EvidenceEntry> {
        self.evidence.as_ref()?.get(name)
    }

    /// What `segment` thought of an image's count.
    pub fn judgement_of(&self, name: &str) -> Option<&EvidenceEntry> {
        self.judgements.as_ref()?.get(name)
    }

    /// The gates in force when the frames were captured, if the evidence states them.
    ///
    /// # Errors
    /// [`Failure`] when they changed between frames.
    pub fn gates(&self) -> Result<Option<Gates>, Failure> {
        let mut recorded = self.evidence.iter().flatten().map(|(_, evidence_of)| evidence_of.gates);
        let first = recorded.next().flatten();
        if recorded.any(|gates| gates != first) {
            return Err(Failure::usage(
                "the frames were captured with different gates",
                "choose with --gates kept or --gates none, and --border, --min-area-px, --max-area-px",
            ));
        }
        Ok(first)
    }

    /// The pixel size: the requested one, else the station's at the time of the capture, if it knew one.
    ///
    /// # Errors
    /// [`Failure`] when the frames were taken at several sizes.
    pub fn pixel_size(&self, asked: Option<PixelSize>) -> Result<Option<PixelSize>, Failure> {
        if asked.is_some() {
            return Ok(asked);
        }
        let mut sizes: Vec<f32> =
            self.evidence.iter().flatten().filter_map(|(_, evidence_of)| evidence_of.pixel_size_um).collect();
        sizes.sort_by(f32::total_cmp);
        sizes.dedup();
        match sizes[..] {
            [] => Ok(None),
            [size] => Ok(Some(PixelSize::try_from(size)?)),
            [first, .., last] => Err(Failure::usage(
                format!("the frames were taken at pixel sizes from {first} to {last} µm"),
                "put frames of each magnification into a separate folder, or give --pixel-size",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::encode_label_png;

    use super::*;

    #[test]
    fn a_folder_whose_segmentation_was_stopped_is_not_taken_for_whole() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("out");
        let unfinished = UnfinishedFolder::begin(&folder).unwrap();
        let labels = encode_label_png(&LabelImage::new(2, 1, vec![0, 1]).unwrap()).unwrap();
        write_whole(&folder.join("a.png"), &labels).unwrap();
        let refused = LabelFolder::open(&folder, &[]).unwrap_err().to_string();
        assert!(refused.contains("out is incomplete") && refused.contains("segment again"), "{refused}");
        unfinished.finish().unwrap();
        assert_eq!(LabelFolder::open(&folder, &[]).unwrap().names(), ["a"]);
    }
}
