//! What `segment` thinks of its counts: one line per label image, in the folder of the label images.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use host_console::Failure;
use serde::Serialize;
use shared::Evidence;

use crate::records::capture_folder::{EvidenceEntry, read_entries};

/// The file with one line per label image.
pub const JUDGEMENTS: &str = "judgements.jsonl";

/// The judgement of one image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// The label image, in the folder.
    pub labels: String,
    /// Nuclei found.
    pub nuclei: u32,
    /// Whether the count can be trusted.
    pub trusted: bool,
    /// Why it cannot.
    pub doubts: Vec<&'static str>,
    /// Focus score, 0 to 1; 0 where there is no nucleus to judge it by.
    pub focus: f32,
    /// Share of pixels with a sample at 255.
    pub saturated: f32,
    /// Fraction of the image covered by nuclei.
    pub confluence: f32,
    /// The network's confidence, 0 to 1, if it found anything.
    pub confidence: Option<f32>,
}

impl Judgement {
    /// The judgement of the count in a label image.
    pub fn new(labels: String, nuclei: u32, evidence: &Evidence, confidence: Option<f32>) -> Self {
        let Evidence { focus, saturated, confluence, qc_flags } = *evidence;
        Self {
            labels,
            nuclei,
            trusted: qc_flags.is_empty(),
            doubts: qc_flags.reasons().collect(),
            focus,
            saturated,
            confluence,
            confidence,
        }
    }

    /// Adds it to the file of its folder. A later judgement of the same label image replaces it.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn add_to(&self, folder: &Path) -> Result<(), Failure> {
        let path = folder.join(JUDGEMENTS);
        let failed = |error: std::io::Error| {
            let problem = format!("{} cannot be written: {error}", path.display());
            Failure::failed(problem, "make room, or choose another folder with --out")
        };
        let line = serde_json::to_string(self).map_err(|error| failed(error.into()))?;
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        file.write_all(format!("{line}\n").as_bytes()).map_err(failed)
    }
}

/// The judgements in a folder, by the name of the image; `None` if it has none.
///
/// # Errors
/// [`Failure`] that names the line that cannot be read.
pub fn read_judgements(folder: &Path) -> Result<Option<BTreeMap<String, EvidenceEntry>>, Failure> {
    read_entries(&folder.join(JUDGEMENTS), "remove the file and segment the images again")
}

#[cfg(test)]
mod tests {
    use shared::wire::QcFlags;

    use super::*;

    #[test]
    fn the_last_judgement_of_an_image_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_judgements(folder.path()).unwrap(), None);
        let evidence = |qc_flags| Evidence { focus: 0.5, saturated: 0.0, confluence: 0.1, qc_flags };
        let blurred = evidence(QcFlags::OUT_OF_FOCUS);
        for (name, evidence) in
            [("a.png", &blurred), ("b.png", &blurred), ("a.png", &evidence(QcFlags::NONE))]
        {
            Judgement::new(name.to_owned(), 3, evidence, None).add_to(folder.path()).unwrap();
        }
        let found = read_judgements(folder.path()).unwrap().unwrap();
        assert_eq!(found["a"].reasons(), [""; 0]);
        assert_eq!(found["b"].reasons(), ["out of focus"]);
        std::fs::write(folder.path().join(JUDGEMENTS), "{\"labels\"").unwrap();
        assert!(read_judgements(folder.path()).unwrap_err().to_string().contains("line 1"));
    }
}
