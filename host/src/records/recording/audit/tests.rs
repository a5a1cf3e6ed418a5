use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::records::recording::Recording;

const ENTRIES: usize = 5;

struct Log {
    folder: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        let log = Self { folder: tempfile::tempdir().unwrap() };
        let mut recording = Recording::open(&log.path()).unwrap();
        for frame in 0..ENTRIES {
            let name = format!("{frame}.png");
            fs::write(log.folder.path().join(&name), name.as_bytes()).unwrap();
            let sha256 = BTreeMap::from([(name.clone(), digest(name.as_bytes()))]);
            let record = json!({ "frame": frame, "count": 7, "focus": 0.25, "doubts": [], "sha256": sha256 });
            recording.add(&record).unwrap();
        }
        log
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("evidence.jsonl")
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.path()).unwrap().lines().map(str::to_owned).collect()
    }

    fn write(&self, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(self.path(), text).unwrap();
    }

    fn audit(&self) -> Audit {
        audit(&self.path(), None).unwrap()
    }

    fn broken(&self) -> (u64, String) {
        let fault = self.audit().broken.expect("it is found out");
        (fault.entry, fault.problem)
    }
}

#[test]
fn what_was_written_is_sound() {
    let log = Log::new();
    let found = log.audit();
    assert!(found.is_sound(), "{found:?}");
    assert_eq!((found.lines, found.files, found.beyond_head), (5, 5, 0));
    let last = found.last.unwrap();
    assert_eq!(last, digest(log.lines().last().unwrap().as_bytes()));
    assert!(audit(&log.path(), Some(&last.to_uppercase())).unwrap().is_sound());
    assert!(!audit(&log.path(), Some(NOTHING)).unwrap().is_sound());

    // Reopened, the chain goes on.
    Recording::open(&log.path()).unwrap().add(&json!({ "frame": 9 })).unwrap();
    let found = log.audit();
    assert!(found.is_sound() && found.lines == 6, "{found:?}");
}

#[test]
fn every_field_of_every_entry_that_is_changed_is_found_out_where_it_is() {
    let log = Log::new();
    let lines = log.lines();
    for at in 0..ENTRIES {
        let record: Map<String, Value> = serde_json::from_str(&lines[at]).unwrap();
        assert_eq!(record.len(), 7);
        for field in record.keys() {
            for other in [Some(json!(8)), Some(json!("0".repeat(63))), None] {
                let mut changed = record.clone();
                match other {
                    Some(other) => changed.insert(field.clone(), other),
                    None => changed.remove(field),
                };
                let mut tampered = lines.clone();
                tampered[at] = serde_json::to_string(&changed).unwrap();
                log.write(&tampered);
                let (entry, problem) = log.broken();
                // Without its link, an entry at the beginning reads as one of an earlier version.
                let slack = u64::from(field == "previous" || field == "entry");
                let place = at as u64 + 1;
                assert!((place..=place + slack).contains(&entry), "{field} of {place}: {entry} {problem}");
            }
        }
    }
}

#[test]
fn lines_that_are_dropped_swapped_repeated_or_cut_off_are_found_out() {
    let log = Log::new();
    let lines = log.lines();
    for at in 0..ENTRIES {
        let mut dropped = lines.clone();
        dropped.remove(at);
        log.write(&dropped);
        let (entry, problem) = log.broken();
        assert_eq!(entry, at as u64 + 1, "{problem}");
        assert!(problem.contains("missing"), "{problem}");

        let mut repeated = lines.clone();
        repeated.insert(at, lines[at].clone());
        log.write(&repeated);
        assert_eq!(log.broken().0, at as u64 + 2);

        for other in at + 1..ENTRIES {
            let mut swapped = lines.clone();
            swapped.swap(at, other);
            log.write(&swapped);
            assert_eq!(log.broken().0, at as u64 + 1);
        }
    }
    let whole = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    for length in 0..whole.len() {
        fs::write(log.path(), &whole[..length]).unwrap();
        let kept = whole[..length].matches('\n').count() as u64;
        let (entry, problem) = log.broken();
        assert_eq!(entry, kept + 1, "{length}: {problem}");
    }
}

#[test]
fn files_that_are_changed_or_gone_are_named() {
    let log = Log::new();
    fs::write(log.folder.path().join("2.png"), b"another").unwrap();
    assert_eq!(log.broken(), (3, "refers to 2.png, which was changed".to_owned()));
    fs::remove_file(log.folder.path().join("1.png")).unwrap();
    assert_eq!(log.broken(), (2, "refers to 1.png, which is missing".to_owned()));
}

#[test]
fn a_head_that_is_gone_behind_or_ahead_is_detected() {
    let log = Log::new();
    let head = head_path(&log.path());
    let written = fs::read(&head).unwrap();
    fs::remove_file(&head).unwrap();
    let (entry, problem) = log.broken();
    assert!(entry == 6 && problem.contains(".head"), "{problem}");
    assert!(audit(&log.path(), log.audit().last.as_deref()).unwrap().is_sound());

    fs::write(&head, &written).unwrap();
    let mut lines = log.lines();
    let beyond = json!({ "frame": 9, "entry": 6, "previous": digest(lines[4].as_bytes()) });
    lines.push(beyond.to_string());
    log.write(&lines);
    let found = log.audit();
    assert!(found.is_sound() && found.beyond_head == 1, "{found:?}");
}

#[test]
fn entries_that_were_forged_after_an_untouched_head_are_found_out() {
    let log = Log::new();
    let mut lines = log.lines();
    for forged in 1..=50 {
        let previous = digest(lines.last().unwrap().as_bytes());
        lines.push(json!({ "frame": 9, "entry": ENTRIES + forged, "previous": previous }).to_string());
        log.write(&lines);
        let found = log.audit();
        // One may be what a killed program wrote last.
        assert_eq!(found.is_sound(), forged == 1, "{forged}: {found:?}");
        let expected = (forged > 1).then_some(ENTRIES as u64 + 1);
        assert_eq!(found.broken.map(|fault| fault.entry), expected, "{forged}");
        assert_eq!(Recording::open(&log.path()).is_ok(), forged == 1, "{forged}");
        if forged == 1 {
            // The start above has confirmed it; so the head is put back.
            let head = Head { lines: ENTRIES as u64, last: digest(lines[ENTRIES - 1].as_bytes()) };
            fs::write(head_path(&log.path()), serde_json::to_vec(&head).unwrap()).unwrap();
        }
    }
}

#[test]
fn a_recording_that_was_emptied_is_found_out_with_and_without_its_head() {
    let log = Log::new();
    fs::write(log.path(), b"").unwrap();
    let (entry, problem) = log.broken();
    assert!(entry == 1 && problem.contains("there were 5"), "{problem}");
    fs::remove_file(head_path(&log.path())).unwrap();
    let (entry, problem) = log.broken();
    assert!(entry == 1 && problem.contains("empty"), "{problem}");

    // A recording to which no frame was added yet is no such file.
    let log = Log { folder: tempfile::tempdir().unwrap() };
    drop(Recording::open(&log.path()).unwrap());
    assert!(log.audit().is_sound(), "{:?}", log.audit());
    let forged = json!({ "frame": 9, "entry": 1, "previous": NOTHING }).to_string();
    log.write(&[forged.clone(), forged]);
    assert!(!log.audit().is_sound(), "{:?}", log.audit());
}

#[test]
fn files_of_earlier_versions_are_named_as_such_and_continue_chained() {
    let log = Log { folder: tempfile::tempdir().unwrap() };
    let old = ["{\"frame\":1}".to_owned(), "{\"frame\":2}".to_owned()];
    log.write(&old);
    let found = log.audit();
    assert_eq!((found.unchained, found.broken.clone(), found.is_sound()), (2, None, false));
    let mut recording = Recording::open(&log.path()).unwrap();
    recording.add(&json!({ "frame": 3 })).unwrap();
    recording.add(&json!({ "frame": 4 })).unwrap();
    drop(recording);
    let found = log.audit();
    assert_eq!((found.lines, found.unchained, found.broken), (4, 2, None));
    let mut lines = log.lines();
    lines[1] = "{\"frame\":7}".to_owned();
    log.write(&lines);
    assert_eq!(log.broken(), (2, "was changed".to_owned()));
}
