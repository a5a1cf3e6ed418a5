//! A full disk only costs the new file.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use shared::encode_picture_png;

use crate::fixture::{brightness_model, discs};
use crate::harness::{Harness, program, text};

/// A small disk, unmounted at the end.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// `None`, with a message, if this user may not mount.
    fn mount(place: &'a Path) -> Option<Self> {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(place).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(place));
        }
        eprintln!("SKIPPED: this user may not mount a small disk, so no disk was filled");
        None
    }

    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    }

    /// Leaves that many bytes.
    fn fill_up_to(&self, bytes: u64) {
        self.fill();
        let file = File::options().write(true).open(self.0.join("filler")).unwrap();
        file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily, since a station may still have files open there.
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

fn segment(model: &Path, out: &Path, picture: &Path) -> Output {
    let mut command = Command::new(program("nuclei-host"));
    command.arg("segment").arg("--model").arg(model).arg("--out").arg(out).arg(picture).output().unwrap()
}

#[test]
fn a_full_disk_is_reported_and_what_was_written_before_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (model, place) = (folder.path().join("model.onnx"), folder.path().join("disk"));
    std::fs::create_dir(&place).unwrap();
    std::fs::write(&model, brightness_model(0.4)).unwrap();
    for name in ["first", "second"] {
        let png = encode_picture_png(&discs(256, 256)).unwrap();
        std::fs::write(folder.path().join(name).with_extension("png"), png).unwrap();
    }
    let Some(disk) = SmallDisk::mount(&place) else { return };
    let out = place.join("out");
    let whole = segment(&model, &out, &folder.path().join("first.png"));
    assert_eq!(whole.status.code(), Some(0), "{}", text(&whole.stderr));
    let before = std::fs::read(out.join("first.png")).unwrap();

    disk.fill();
    let full = segment(&model, &out, &folder.path().join("second.png"));
    assert_eq!(full.status.code(), Some(1), "{}", text(&full.stderr));
    let message = text(&full.stderr);
    assert!(
        message.contains("second.png could not be written") && message.contains("free space"),
        "{message}"
    );
    let mut names: Vec<_> =
        std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".unfinished", "first.png", "judgements.jsonl"], "nothing half-written is left");
    let mut report = Command::new(program("nuclei-host"));
    let refused = report.arg("report").arg(&out).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("out is incomplete"), "{}", text(&refused.stderr));
    assert_eq!(std::fs::read(out.join("first.png")).unwrap(), before);
}

#[test]
fn a_station_whose_disk_is_full_refuses_the_model_and_runs_the_old_one() {
    let mut bench = Harness::simulated();
    let place = bench.path("storage");
    let Some(disk) = SmallDisk::mount(&place) else { return };
    bench.restart_station();
    bench.wait_until_ready();
    let old = bench.flash("old.onnx", &brightness_model(0.4));
    disk.fill();
    let path = bench.write("new.onnx", &brightness_model(0.5));
    let refused = bench.run(&["flash", &path]);
    let message = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(
        message.contains("the station's storage failed or is full")
            && message.contains("next: free space on the station's disk"),
        "{message}"
    );
    assert_eq!(bench.json(&["live", "--frames", "1", "--json"])[0]["model"], old.as_str());
    bench.restart_station();
    bench.wait_until_ready();
    assert_eq!(bench.running_model(), old, "after a restart on the full disk");

    disk.free();
    let new = bench.flash("new.onnx", &brightness_model(0.5));
    assert_eq!(bench.running_model(), new);
}

#[test]
fn a_full_disk_ends_a_recording_and_neither_the_counting_nor_the_file() {
    let bench = Harness::simulated();
    bench.wait_until_ready();
    let place = bench.path("disk");
    std::fs::create_dir(&place).unwrap();
    let Some(disk) = SmallDisk::mount(&place) else { return };
    disk.fill_up_to(16 << 10);
    let file = place.join("counts.jsonl").display().to_string();
    let live = |frames: &str| bench.run(&["live", "--view", "lines", "--record", &file, "--frames", frames]);
    let audited = || {
        let mut audit = Command::new(program("nuclei-host"));
        let audit = audit.args(["audit", &file, "--json"]).output().unwrap();
        assert_eq!(audit.status.code(), Some(0), "{}", text(&audit.stderr));
        serde_json::from_slice::<serde_json::Value>(&audit.stdout).unwrap()["lines"].as_u64().unwrap()
    };
    let ended = live("60");
    let message = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{message}");
    assert!(
        message.contains("the recording has ended, and counting goes on")
            && message.contains("next: free space on the disk"),
        "{message}"
    );
    // A line for every frame, and the summary.
    assert_eq!(text(&ended.stdout).lines().count(), 61, "{}", text(&ended.stdout));
    let recorded = audited();
    assert!((1..60).contains(&recorded), "{recorded} frames");

    disk.free();
    let goes_on = live("3");
    assert_eq!(goes_on.status.code(), Some(0), "{}", text(&goes_on.stderr));
    assert_eq!(audited(), recorded + 3);
}
