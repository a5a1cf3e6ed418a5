use serde_json::json;

use super::*;

fn record(path: &Path, frames: std::ops::Range<u32>) -> Recording {
    let mut recording = Recording::open(path).unwrap();
    frames.for_each(|frame| recording.add(&json!({ "frame": frame })).unwrap());
    recording
}

fn assert_sound(path: &Path, lines: u64) {
    let found = audit(path, None).unwrap();
    assert!(found.is_sound() && found.lines == lines, "{found:?}");
}

#[test]
fn a_second_recording_to_one_file_is_refused_until_the_first_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counts.jsonl");
    let mut first = record(&path, 0..3);
    // By another name, too.
    let link = folder.path().join("link.jsonl");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        let refused = Recording::open(path).unwrap_err().to_string();
        assert!(refused.contains("another program records to"), "{refused}");
    }
    first.add(&json!({ "frame": 3 })).unwrap();
    assert_sound(&path, 4);
    drop(first);
    drop(record(&path, 4..6));
    assert_sound(&path, 6);
}

#[test]
fn a_recording_cut_within_any_line_is_continued_after_its_last_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counts.jsonl");
    drop(record(&path, 0..1));
    let first = fs::read(&path).unwrap().len();
    // As a full disk or a kill leaves it: the head is of the last whole line.
    let head = fs::read(head_path(&path)).unwrap();
    drop(record(&path, 1..2));
    let whole = fs::read(&path).unwrap();
    for length in first..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        fs::write(head_path(&path), &head).unwrap();
        // Of the last length only the end of the line is missing, and is added.
        drop(record(&path, if length == whole.len() - 1 { 0..0 } else { 1..2 }));
        assert_eq!(fs::read(&path).unwrap(), whole, "{length} bytes");
        assert_sound(&path, 2);
    }
    // Nor is the very first line in the way.
    let path = folder.path().join("first.jsonl");
    drop(record(&path, 0..0));
    fs::write(&path, &whole[..first / 2]).unwrap();
    drop(record(&path, 0..1));
    assert_sound(&path, 1);
}

#[test]
fn files_that_are_not_recordings_or_lost_entries_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counts.jsonl");
    drop(record(&path, 0..3));
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let truncated = format!("{}\n", lines[0]);
    let changed = whole.replace("\"frame\":2", "\"frame\":7");
    for (content, problem) in [("", "lost entries"), (&truncated, "lost entries"), (&changed, "was changed")]
    {
        fs::write(&path, content).unwrap();
        let refused = Recording::open(&path).unwrap_err().to_string();
        assert!(refused.contains(problem), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    let other = folder.path().join("notes");
    for content in ["my notes", "{\"a\": 1}", "[1,\n2]", "one\ntwo\n", "{\"a\": 1}\n{\"b\": 2}"] {
        fs::write(&other, content).unwrap();
        assert!(Recording::open(&other).is_err(), "{content}");
        assert_eq!(fs::read_to_string(&other).unwrap(), content);
    }
}

#[test]
fn a_recording_needs_no_other_file_while_it_lasts() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    let moved = folder.path().join("moved");
    fs::create_dir(&inner).unwrap();
    let mut recording = record(&inner.join("counts.jsonl"), 0..9);
    // Nothing can be opened any more by the name of either file.
    fs::rename(&inner, &moved).unwrap();
    (9..12).for_each(|frame| recording.add(&json!({ "frame": frame })).unwrap());
    assert_sound(&moved.join("counts.jsonl"), 12);
}

#[test]
fn a_full_disk_ends_a_recording_after_its_last_whole_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counts.jsonl");
    let mut recording = record(&path, 0..4);
    let before = fs::read(&path).unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let file = std::mem::replace(&mut recording.file, full);
    let failure = recording.add(&json!({ "frame": 4 })).unwrap_err().to_string();
    assert!(failure.contains("free space on the disk"), "{failure}");
    drop((recording, file));
    assert_eq!(fs::read(&path).unwrap(), before);
    drop(record(&path, 4..6));
    assert_sound(&path, 6);
}
