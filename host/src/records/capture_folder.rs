//! Captured frames as files: images, label images, and one line of evidence each.

mod evidence;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use host_console::{Failure, write_whole};
use serde::Serialize;
use shared::wire::FrameReport;
use shared::{encode_label_png, picture_stem};

use crate::records::frame_record::FrameRecord;
use crate::records::provenance::Provenance;
use crate::records::recording::{Recording, digest};
use crate::station::client::CapturedFrame;

pub use evidence::{EvidenceEntry, read_entries, read_evidence};

/// The file with one line per frame, in the folder.
pub const EVIDENCE: &str = "evidence.jsonl";
const PICTURES: &str = "pictures";

/// A line of the evidence.
#[derive(Debug, Serialize)]
pub struct CaptureRecord {
    /// The frame's result.
    #[serde(flatten)]
    pub frame: FrameRecord,
    /// The label image, in the folder.
    pub labels: String,
    /// The frame itself, in the folder.
    pub picture: String,
    /// The ground truth, in the folder, if known.
    pub truth: Option<String>,
    /// SHA-256 of each of these files, hexadecimal.
    pub sha256: BTreeMap<String, String>,
}

/// A token that an earlier host is unlikely to have used.
pub fn first_token() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as u32)
}

/// Where captures go.
#[derive(Debug)]
pub struct CaptureFolder {
    path: PathBuf,
    names: HashSet<String>,
    evidence: Option<Recording>,
}

impl CaptureFolder {
    /// A folder at that path; it is made with the first frame.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), names: HashSet::new(), evidence: None }
    }

    /// Writes a frame's files, and its evidence last, so that all files it refers to are complete.
    ///
    /// # Errors
    /// [`Failure`] when a file cannot be written.
    pub fn write(
        &mut self,
        captured: &CapturedFrame,
        provenance: &Provenance,
    ) -> Result<CaptureRecord, Failure> {
        let name = self.name(&captured.report);
        let truth = captured.truth.as_ref().map(|labels| (format!("{PICTURES}/{name}_masks.png"), labels));
        let mut record = CaptureRecord {
            frame: FrameRecord::new(&captured.report, provenance),
            labels: format!("{name}.png"),
            picture: format!("{PICTURES}/{name}.png"),
            truth: truth.as_ref().map(|(path, _)| path.clone()),
            sha256: BTreeMap::from([(format!("{PICTURES}/{name}.png"), digest(&captured.picture_png))]),
        };
        write_whole(&self.path.join(&record.picture), &captured.picture_png)?;
        let labels = [(record.labels.clone(), &captured.labels)].into_iter().chain(truth);
        for (path, labels) in labels {
            let png = encode_label_png(labels).map_err(|error| {
                Failure::failed(error, "such a frame cannot be captured; nuclei-host live still counts it")
            })?;
            write_whole(&self.path.join(&path), &png)?;
            record.sha256.insert(path, digest(&png));
        }
        let mut evidence = match self.evidence.take() {
            Some(evidence) => evidence,
            None => Recording::open(&self.path.join(EVIDENCE))?,
        };
        evidence.add(&record)?;
        self.evidence = Some(evidence);
        Ok(record)
    }

    /// The image's own name, or the frame's number; unique per frame.
    fn name(&mut self, report: &FrameReport) -> String {
        let stem = picture_stem(&report.source);
        let plain = stem.replace(|c: char| c.is_control() || c == '/' || c == '\\', "_");
        let name = match plain.trim_start_matches('.') {
            "" => format!("frame-{:06}", report.frame),
            name => name.to_owned(),
        };
        let numbered = (2..).map(|n| format!("{name}-{n}"));
        let name = std::iter::once(name.clone()).chain(numbered).find(|name| !self.names.contains(name));
        let name = name.unwrap_or_default();
        self.names.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use shared::LabelImage;
    use shared::wire::Name;

    use super::*;
    use crate::records::test_report::test_report;

    fn captured(source: &str) -> CapturedFrame {
        let report = FrameReport {
            frame: 12,
            source: Name::try_from(source).unwrap(),
            width: 3,
            count: 2,
            true_count: Some(1),
            ..test_report()
        };
        CapturedFrame {
            report,
            picture_png: b"a picture".to_vec(),
            labels_bytes: 5,
            labels: LabelImage::new(3, 1, vec![0, 1, 2]).unwrap(),
            truth: Some(LabelImage::new(3, 1, vec![0, 1, 1]).unwrap()),
        }
    }

    #[test]
    fn files_are_named_for_the_picture_and_never_for_another_place() {
        let mut folder = CaptureFolder::new(Path::new("unused"));
        for (source, name) in [
            ("cells 3", "cells 3"),
            ("cells 3", "cells 3-2"),
            ("cells 3", "cells 3-3"),
            ("a/b/c.ome.tif", "c.ome"),
            ("", "frame-000012"),
            ("..", "frame-000012-2"),
            ("../../etc/passwd", "passwd"),
            ("x\\..\\y\n", "y_"),
        ] {
            assert_eq!(folder.name(&captured(source).report), name, "{source:?}");
        }
    }

    #[test]
    fn a_frame_is_written_with_its_truth_and_evidence() {
        let folder = tempfile::tempdir().unwrap();
        let mut captures = CaptureFolder::new(folder.path());
        for name in ["one", "two"] {
            captures.write(&captured(name), &Provenance::of_nothing(None)).unwrap();
        }
        let read = |path: &str| std::fs::read(folder.path().join(path)).unwrap();
        assert_eq!(read("pictures/one.png"), b"a picture");
        assert_eq!(shared::decode_label_image(&read("two.png")).unwrap(), captured("").labels);
        assert_eq!(
            shared::decode_label_image(&read("pictures/two_masks.png")).unwrap(),
            captured("").truth.unwrap()
        );
        let evidence = String::from_utf8(read(EVIDENCE)).unwrap();
        let lines: Vec<serde_json::Value> =
            evidence.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[1]["labels"], &lines[1]["count"]), (&"two.png".into(), &2.into()));
        assert_eq!(lines[1]["sha256"].as_object().unwrap().len(), 3);
        let found = crate::records::recording::audit(&folder.path().join(EVIDENCE), None).unwrap();
        assert!(found.is_sound() && found.files == 6, "{found:?}");
        let witnesses = read_evidence(folder.path()).unwrap().unwrap();
        assert!(witnesses["two"].trusted && witnesses["two"].reasons().is_empty());
        assert_eq!(witnesses["two"].gates, Some(crate::records::gates::Gates::default()));
    }
}
