//! Reads the evidence of captured frames.

use std::collections::BTreeMap;
use std::path::Path;

use host_console::{Failure, read_input_text};
use serde::Deserialize;
use shared::picture_stem;

use super::EVIDENCE;
use crate::records::gates::Gates;

/// The evidence of one frame, as far as reports need it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct EvidenceEntry {
    /// The label image, in the folder.
    pub labels: String,
    /// Whether the count can be trusted.
    pub trusted: bool,
    /// Why it cannot.
    pub doubts: Vec<String>,
    /// Pixel size in the specimen, µm, if the station knew it.
    #[serde(default)]
    pub pixel_size_um: Option<f32>,
    /// The gates active then; absent in captures of earlier versions.
    #[serde(default)]
    pub gates: Option<Gates>,
}

impl EvidenceEntry {
    /// Reasons not to trust the count; empty if there are none.
    pub fn reasons(&self) -> Vec<String> {
        match (self.trusted, self.doubts.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => vec!["unreliable, no reason given".to_owned()],
            (false, false) => self.doubts.clone(),
        }
    }
}

/// The evidence in a capture folder, by frame name; `None` if the folder has none.
///
/// # Errors
/// [`Failure`] that names the line that cannot be read.
pub fn read_evidence(folder: &Path) -> Result<Option<BTreeMap<String, EvidenceEntry>>, Failure> {
    read_entries(&folder.join(EVIDENCE), "run nuclei-host audit on the folder")
}

/// The entries of a file with one line per label image, by the name of the image; of several about one image, the last.
/// `None` without the file.
///
/// # Errors
/// [`Failure`] with the next step that names the line that cannot be read.
pub fn read_entries(path: &Path, next: &str) -> Result<Option<BTreeMap<String, EvidenceEntry>>, Failure> {
    if !path.exists() {
        return Ok(None);
    }
    let text = read_input_text(path)
        .map_err(|error| Failure::failed(format!("{} cannot be read: {error}", path.display()), next))?;
    let mut frames = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let evidence_of: EvidenceEntry = serde_json::from_str(line).map_err(|error| {
            Failure::failed(format!("line {number} of {} is damaged: {error}", path.display()), next)
        })?;
        frames.insert(picture_stem(&evidence_of.labels).to_owned(), evidence_of);
    }
    Ok(Some(frames))
}
