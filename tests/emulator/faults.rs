//! Faults in the lab: the station keeps counting, and losses are counted and reported.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::counting::scenes;
use crate::fixture::brightness_model;
use crate::machine::{Machine, guest};
use crate::process::{Process, next_line, text};

/// Frames per second that vivid delivers out of sixty when it drops nine of ten.
const DELIVERED: f32 = 6.0;

/// A running station that has not restarted.
struct Witness {
    process: String,
    frames: u64,
}

impl Witness {
    fn new(machine: &mut Machine) -> Self {
        let frames = machine.status()["frames"].as_u64().unwrap();
        Self { process: machine.shell.run("pidof nuclei-station"), frames }
    }

    /// Waits for frames counted after now by the same process.
    fn sees_counting_go_on(&mut self, machine: &mut Machine, after: &str) -> Value {
        // The first may already have been in progress.
        machine.wait_for_frames(2);
        let status = machine.status();
        assert_eq!(status["camera"], "running");
        assert_eq!(machine.shell.run("pidof nuclei-station"), self.process, "the same process after {after}");
        let counted = status["frames"].as_u64().unwrap();
        assert!(counted > self.frames, "no counter restarts");
        println!(
            "PASSED {after}: {} more frames, {} skipped so far",
            counted - self.frames,
            status["frames_skipped"]
        );
        self.frames = counted;
        status
    }
}

/// A station that counts with a light model: a frame then takes seconds on an emulated processor, not minutes.
fn at_work() -> Option<(Machine, Witness)> {
    let guest = guest()?;
    let mut machine = Machine::boot(&guest, &scenes(1));
    machine.start_player();
    machine.show("scene-0.png");
    machine.start_station_with(&brightness_model(0.4));
    let mut witness = Witness::new(&mut machine);
    witness.sees_counting_go_on(&mut machine, "nothing");
    Some((machine, witness))
}

#[test]
fn counting_outlives_its_camera() {
    let Some((mut machine, mut witness)) = at_work() else { return };
    camera_disconnects(&mut machine, &mut witness);
    camera_gone_and_back(&mut machine, &mut witness);
    camera_errors(&mut machine, &mut witness);
}

#[test]
fn counting_outlives_line_host_clock_and_disk() {
    let Some((mut machine, mut witness)) = at_work() else { return };
    let running = machine.status()["model"].clone();
    line_unplugged_and_plugged(&mut machine, &mut witness);
    host_killed(&mut machine, &mut witness);
    clock_jumps(&mut machine, &mut witness);
    disk_full(&mut machine, &mut witness);
    disk_read_only(&mut machine, &mut witness);
    assert_eq!(machine.status()["model"], running, "the same model as at the beginning");
}

/// Sets one of vivid's controls.
fn inject(machine: &mut Machine, control: &str, value: u32) {
    machine.shell.run(&format!("vivid_player set /dev/video0 '{control}' {value}"));
}

/// Every other fault that vivid injects into a camera.
fn camera_errors(machine: &mut Machine, witness: &mut Witness) {
    for control in ["Wrap Sequence Number", "Wrap Timestamp"] {
        inject(machine, control, 1);
        witness.sees_counting_go_on(machine, control);
    }
    inject(machine, "Percentage of Dropped Buffers", 90);
    let before = witness.sees_counting_go_on(machine, "nine of ten buffers dropped");
    let after = witness.sees_counting_go_on(machine, "nine of ten buffers dropped for longer");
    let grown = |key: &str| (after[key].as_f64().unwrap() - before[key].as_f64().unwrap()) as f32;
    let skipped_a_second = grown("frames_skipped") / (grown("uptime_ms") / 1000.0);
    println!("{skipped_a_second} frames per second are counted as skipped");
    assert!(skipped_a_second > 2.5 * DELIVERED, "also those that never came from the driver");
    inject(machine, "Percentage of Dropped Buffers", 100);
    machine.console.wait_for("no frames from the camera");
    inject(machine, "Percentage of Dropped Buffers", 0);
    witness.sees_counting_go_on(machine, "all buffers dropped");

    inject(machine, "Inject V4L2_BUF_FLAG_ERROR", 1);
    witness.sees_counting_go_on(machine, "a damaged buffer");
    machine.console.skip();
    inject(machine, "Inject Fatal Streaming Error", 1);
    machine.console.wait_for("no frames from the camera");
    witness.sees_counting_go_on(machine, "a fatal streaming error");
    // These occur when a camera is opened, so the working one must be lost first.
    for control in ["Inject VIDIOC_REQBUFS Error", "Inject VIDIOC_QBUF Error", "Inject VIDIOC_STREAMON Error"]
    {
        machine.console.skip();
        inject(machine, control, 1);
        inject(machine, "Inject Fatal Streaming Error", 1);
        machine.console.wait_for("no frames from the camera");
        witness.sees_counting_go_on(machine, control);
    }
}

/// A camera that reports its removal while it is open.
fn camera_disconnects(machine: &mut Machine, witness: &mut Witness) {
    machine.console.skip();
    inject(machine, "Disconnect", 1);
    println!("{}", machine.console.wait_for("no frames from the camera"));
    // vivid reappears when nobody has it open; without the player, it shows its own pattern.
    machine.stop_player();
    println!("{}", machine.console.wait_for("the camera vivid delivers"));
    witness.sees_counting_go_on(machine, "a disconnect");
}

fn camera_gone_and_back(machine: &mut Machine, witness: &mut Witness) {
    machine.console.skip();
    machine.shell.run("rm /dev/camera; echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind");
    println!("{}", machine.console.wait_for("no frames from the camera"));
    machine.until_status("the camera is missed", |status| status["camera"] == "absent");
    machine.shell.run("echo vivid.0 >/sys/bus/platform/drivers/vivid/bind");
    machine.start_player();
    machine.show("scene-0.png");
    machine.plug_camera();
    witness.sees_counting_go_on(machine, "the camera unplugged and plugged");
}

fn line_unplugged_and_plugged(machine: &mut Machine, witness: &mut Witness) {
    machine.console.skip();
    machine.monitor.ask("device_del", json!({"id": "line"}));
    machine.monitor.wait_for_event("DEVICE_DELETED");
    println!("{}", machine.console.wait_for("is lost"));
    let line = json!({"driver": "usb-serial", "id": "line", "chardev": "line", "always-plugged": true});
    machine.monitor.ask("device_add", line);
    witness.sees_counting_go_on(machine, "the line unplugged and plugged");
}

fn host_killed(machine: &mut Machine, witness: &mut Witness) {
    let mut live = Process::start(machine.host(&["live", "--json"]).stdout(Stdio::piped()));
    assert!(next_line(&mut live.stdout()).is_some());
    live.kill();
    witness.sees_counting_go_on(machine, "the host killed");
}

fn clock_jumps(machine: &mut Machine, witness: &mut Witness) {
    for (year, seconds) in [(2040, 2_208_988_800u64), (1999, 915_148_800)] {
        machine.shell.run(&format!("date -s @{seconds}"));
        witness.sees_counting_go_on(machine, &format!("the clock set to {year}"));
        let frame = machine.json(&["live", "--frames", "1", "--json"]).remove(0);
        let passed = frame["time_unix_ms"].as_u64().unwrap() / 1000 - seconds;
        assert!(passed < 3600, "{year}: {frame}");
    }
}

/// Tries to flash another model, which must be refused with this message.
fn refuses_a_model(machine: &Machine, words: &str) {
    let path = machine.path("refused.onnx");
    fs::write(&path, brightness_model(0.5)).unwrap();
    let refused = machine.run(&["flash", path.to_str().unwrap()]);
    let message = text(&refused.stderr);
    println!("{message}");
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(message.contains(words), "{message}");
}

fn disk_full(machine: &mut Machine, witness: &mut Witness) {
    machine.shell.try_run("dd if=/dev/zero of=/mnt/filler bs=4k; dd if=/dev/zero of=/mnt/rest bs=512");
    refuses_a_model(machine, "storage failed or is full");
    witness.sees_counting_go_on(machine, "a full disk");
    machine.shell.run("rm /mnt/filler /mnt/rest");
}

fn disk_read_only(machine: &mut Machine, witness: &mut Witness) {
    machine.shell.run("echo u >/proc/sysrq-trigger; until grep -q '/mnt ext4 ro' /proc/mounts; do :; done");
    refuses_a_model(machine, "storage failed or is full");
    witness.sees_counting_go_on(machine, "a read-only disk");
}
