//! Power cuts during a flash: at any moment, the station has a working model.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use crate::counting::scenes;
use crate::fixture::brightness_model;
use crate::machine::{Machine, guest, new_disk};
use crate::process::{program, text};
use crate::write_log::WriteLog;

const CUTS: usize = 100;

#[test]
fn a_power_cut_at_any_write_leaves_a_model_that_runs() {
    let Some(guest) = guest() else { return };
    let folder = tempfile::tempdir().unwrap();
    new_disk(&folder.path().join("disk"));
    fs::copy(folder.path().join("disk"), folder.path().join("before")).unwrap();
    fs::write(folder.path().join("log"), []).unwrap();
    let nodes = "driver=file,node-name=bytes,filename=disk driver=file,node-name=log,filename=log \
                 driver=blklogwrites,node-name=disk,file=bytes,log=log,log-sector-size=512";
    let mut machine = Machine::boot_on(&guest, folder, &scenes(1), nodes);
    machine.start_player();
    machine.show("scene-0.png");
    let first = machine.start_station_with(&brightness_model(0.4));
    let second = machine.flash(&brightness_model(0.5));
    machine.shell.run("sync");
    let folder = machine.cut_power();

    let log = WriteLog::parse(&fs::read(folder.path().join("log")).unwrap());
    let before = fs::read(folder.path().join("before")).unwrap();
    let mut random = StdRng::seed_from_u64(1);
    let mut running = BTreeMap::<String, usize>::new();
    for _ in 0..CUTS {
        let cut = random.random_range(0..=log.len());
        let mut disk = before.clone();
        log.replay(&mut disk, cut, &mut random);
        let message = model_on(&disk, folder.path());
        *running.entry(message).or_default() += 1;
    }
    println!(
        "{CUTS} of {CUTS} cut points among {} writes and flushes recovered; then ran {running:?}",
        log.len()
    );
    for digest in running.keys() {
        assert!(
            [&first, &second].into_iter().any(|flashed| flashed.starts_with(digest)) || digest == "factory"
        );
    }
    assert!(running.len() == 3, "before, between and after the two models: {running:?}");
}

/// The model that a disk's station would run, after checking that it works: `factory`, or its digest.
fn model_on(disk: &[u8], folder: &Path) -> String {
    let (image, slots) = (folder.join("cut"), folder.join("slots"));
    fs::write(&image, disk).unwrap();
    let checked = Command::new("/sbin/e2fsck").arg("-fp").arg(&image).output().unwrap();
    assert!(checked.status.code().is_some_and(|code| code <= 1), "{}", text(&checked.stdout));
    let _ = fs::remove_dir_all(&slots);
    fs::create_dir(&slots).unwrap();
    let dump = format!("rdump /nuclei {}", slots.display());
    let dumped = Command::new("/sbin/debugfs").args(["-R", &dump]).arg(&image).output().unwrap();
    assert!(dumped.status.success(), "{}", text(&dumped.stderr));

    let mut command = Command::new(program("nuclei-station"));
    command.args(["check", "--config", "/dev/null", "--camera", "simulated", "--threads", "1", "--json"]);
    let output = command.arg("--storage").arg(slots.join("nuclei")).output().unwrap();
    let message: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = message["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["what"] == "slots").unwrap();
    assert_eq!(finding["state"], "ok", "{finding}");
    let seen = finding["seen"].as_str().unwrap();
    runs(seen)
}

/// The digest in "A confirmed DIGEST, B empty, A runs and ..."; `factory` where no slot runs.
fn runs(seen: &str) -> String {
    let slots: Vec<Vec<&str>> = seen.split(", ").map(|words| words.split(' ').collect()).collect();
    let active = slots.iter().find(|words| words.get(1) == Some(&"runs")).map(|words| words[0]);
    let model = slots.iter().find(|words| words.len() == 3 && Some(words[0]) == active);
    model.map_or_else(|| "factory".to_owned(), |words| words[2].to_owned())
}

#[test]
fn the_slot_that_runs_is_read_from_what_check_says() {
    let cases = [
        ("none flashed: the factory model runs", "factory"),
        ("A staged 12ab, B empty, Factory runs", "factory"),
        ("A confirmed 12ab, B trial 34cd, B runs, self-test passed", "34cd"),
    ];
    for (seen, digest) in cases {
        assert_eq!(runs(seen), digest);
    }
}
