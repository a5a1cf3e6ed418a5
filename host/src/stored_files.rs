//! Files that version 0.1.0 wrote are still read: recordings, captures, keys, settings and queues of users. That
//! version, at its commit bb8acd6, wrote those of `tests/stored_0_1_0`.

use std::fs::{self, Permissions};
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use shared::PixelSize;
use shared::wire::FlatFieldDigest;

use crate::export::recording_csv;
use crate::publish::{Metrics, Outbox};
use crate::records::capture_folder::read_evidence;
use crate::records::gates::{Border, Gates};
use crate::records::label_folder::LabelFolder;
use crate::records::optics::CalibrationStore;
use crate::records::recording::{Recording, audit};
use crate::station::key_store::KeyStore;

const GATES: Gates = Gates { min_area_px: 3, max_area_px: Some(900), border: Border::TwoEdges };

fn stored(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stored_0_1_0").join(name)
}

/// A copy of a stored file or of the files in a folder.
fn copied(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let source = stored(name);
    let files: Vec<PathBuf> = match source.is_dir() {
        true => fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().path()).collect(),
        false => vec![source],
    };
    for file in files {
        fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    copy
}

#[test]
fn a_recording_is_audited_exported_and_continued() {
    let path = stored("counts.jsonl");
    let found = audit(&path, None).unwrap();
    assert!(found.is_sound() && found.lines == 3, "{found:?}");
    let (csv, frames) = recording_csv(&path).unwrap();
    assert_eq!(frames, 3);
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let column = |name: &str| {
        let at = rows[0].iter().position(|title| *title == name).unwrap();
        rows[1..].iter().map(|row| row[at]).collect::<Vec<_>>()
    };
    assert_eq!(column("count"), ["2"; 3]);
    assert_eq!(column("doubts"), ["", "out of focus; unlike what the model knows", ""]);
    assert_eq!(column("pixel_size_by"), ["ana"; 3]);
    assert_eq!(column("gate_border"), ["two_edges"; 3]);
    assert_eq!(column("network_ms"), ["30"; 3]);

    let copy = copied("counts.jsonl");
    let path = copy.path().join("counts.jsonl");
    Recording::open(&path).unwrap().add(&serde_json::json!({ "frame": 4 })).unwrap();
    let found = audit(&path, None).unwrap();
    assert!(found.is_sound() && found.lines == 4, "{found:?}");
}

#[test]
fn a_capture_folder_is_read_with_its_evidence() {
    let folder = stored("captures");
    let found = audit(&folder.join("evidence.jsonl"), None).unwrap();
    assert!(found.is_sound() && (found.lines, found.files) == (2, 6), "{found:?}");
    let evidence = read_evidence(&folder).unwrap().unwrap();
    assert_eq!(evidence["cells-1"].reasons(), [""; 0]);
    assert_eq!(evidence["cells-2"].reasons(), ["saturated"]);
    let labels = LabelFolder::open(&folder, &[]).unwrap();
    assert_eq!(labels.names(), ["cells-1", "cells-2"]);
    assert_eq!(labels.gates().unwrap(), Some(GATES));
    assert_eq!(labels.pixel_size(None).unwrap(), PixelSize::try_from(0.325).ok());
    let field = labels.load("cells-2").unwrap();
    assert_eq!((field.labels.count(), field.image.unwrap().width()), (2, 8));
}

#[test]
fn settings_of_the_user_are_read() {
    assert_eq!(Gates::load(&stored("config/gates.toml")).unwrap(), GATES);
    let store = CalibrationStore::at(stored("config/calibration"));
    let size = PixelSize::try_from(0.325).ok();
    let optics = store.in_force("bench 3", size, Some(FlatFieldDigest([7; 32]))).unwrap();
    let size = optics.pixel_size.unwrap();
    assert_eq!((size.um_per_px, size.uncertainty_um_per_px), (0.325, Some(0.0004)));
    assert_eq!((size.origin.by.as_str(), size.origin.how.as_str()), ("ana", "stage micrometer"));
    let origin = optics.flat_field.unwrap().origin.unwrap();
    assert_eq!(
        (origin.time_unix_ms, origin.how.as_str()),
        (1_767_225_000_000, "20 bright and 20 dark frames")
    );
}

#[test]
fn a_key_signs_as_before() {
    let copy = copied("config/keys");
    let store = KeyStore::at(copy.path().to_owned());
    let name = "ana".parse().unwrap();
    // Git does not store that nobody else may read it.
    fs::set_permissions(store.path(&name), Permissions::from_mode(0o600)).unwrap();
    let public = fs::read_to_string(stored("ana.pub")).unwrap();
    assert_eq!(store.load(&name).unwrap().public().to_string(), public);
    assert_eq!(store.names().unwrap(), [name]);
}

#[test]
fn a_queue_goes_on_where_it_was() {
    let copy = copied("queue");
    let outbox =
        Outbox::open_durable(copy.path(), NonZeroUsize::new(100).unwrap(), Metrics::default()).unwrap();
    let sent: Vec<String> = std::iter::from_fn(|| outbox.next()).map(|message| message.content).collect();
    assert_eq!(sent, [1, 2, 3].map(|number| format!("{{\"id\":\"bench-{number}\"}}")));
}
