//! Runs that version 0.1.0 began can be resumed: their files are read, and written as they were.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::run_folder::RunFolder;

fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stored_run_0_1_0")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Settings that came later are written, too; those of the time keep their names and values.
fn assert_holds(written: &Value, stored: &Value) {
    let (Value::Object(written), Value::Object(stored)) = (written, stored) else {
        assert_eq!(written, stored);
        return;
    };
    for (key, value) in stored {
        assert_holds(written.get(key).unwrap_or_else(|| panic!("{key} is missing")), value);
    }
}

#[test]
fn a_stored_run_is_read_and_written_as_it_was() {
    let (stored, copy) = (RunFolder::new(&stored()), tempfile::tempdir().unwrap());
    let written = RunFolder::new(copy.path());
    written.save_config(&stored.load_config().unwrap()).unwrap();
    written.save_epochs(&stored.load_epochs().unwrap()).unwrap();
    assert_holds(&json(&written.config()), &json(&stored.config()));
    for file in ["epochs.json", "epochs.csv"] {
        let read = |folder: &RunFolder| fs::read_to_string(folder.path().join(file)).unwrap();
        assert_eq!(read(&written), read(&stored), "{file}");
    }
}
