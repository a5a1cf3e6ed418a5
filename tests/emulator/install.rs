//! The package on a Debian with systemd: user and permissions of the station, restarts, what an upgrade keeps, and what
//! a purge leaves.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::counting::scenes;
use crate::fixture::brightness_model;
use crate::machine::{LAMP, LIGHT, Machine, guest};
use crate::process::until_within;
use crate::qemu_channels::PATIENCE;

/// Maximum exposure level of `systemd-analyze security`: 0 is confined, 10 is not at all.
const EXPOSURE: f64 = 1.5;

/// The user's changes to the settings: camera, line, light, lamp.
const CHANGE: &str = r#"cd /etc/nuclei
sed -i 's|^# name = .*|name = "emulated"|; s|^# port = .*|port = "/dev/ttyUSB0"|' station.toml
sed -i 's|^# device = .*|device = "/dev/camera"|' station.toml
printf '[status_light]\nline = 5\n[illumination]\nline = 6\n' >>station.toml
cd /"#;

#[test]
fn the_package_installs_works_upgrades_and_goes() {
    let Some(guest) = guest() else { return };
    let packages = ["first", "later"].map(|name| format!("packages/{name}.deb"));
    let first = guest.join("nuclei-station.deb");
    let contents = [fs::read(&first).unwrap(), later(&first)];
    let packages: Vec<_> = packages.into_iter().zip(contents).collect();
    let mut machine = Machine::boot_debian(&guest, &scenes(1), &packages);

    installs_without_camera_and_line(&mut machine);
    devices_are_the_users(&mut machine);
    let model = works_with_changed_settings(&mut machine);
    is_confined(&mut machine);
    is_started_again(&mut machine, &model);
    let mut machine = starts_at_boot(&guest, machine, &model);
    upgrades(&mut machine, &model);
    goes(&mut machine);
}

fn passed(what: &str) {
    println!("PASSED {what}");
}

/// The package with a later version and another comment in its settings.
fn later(package: &Path) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (root, made) = (folder.path().join("root"), folder.path().join("later.deb"));
    let dpkg_deb = |arguments: &[&str], paths: [&Path; 2]| {
        assert!(Command::new("dpkg-deb").args(arguments).args(paths).status().unwrap().success());
    };
    dpkg_deb(&["-R"], [package, &root]);
    let edit = |file: &str, change: &dyn Fn(&str) -> String| {
        let file = root.join(file);
        fs::write(&file, change(&fs::read_to_string(&file).unwrap())).unwrap();
    };
    edit("DEBIAN/control", &|text| text.replacen("\nVersion: ", "\nVersion: 1:", 1));
    edit("etc/nuclei/station.toml", &|text| format!("{text}\n# Another comment.\n"));
    dpkg_deb(&["--root-owner-group", "-Zgzip", "-b"], [&root, &made]);
    fs::read(made).unwrap()
}

/// Properties of the station from `systemctl show`.
fn shown(machine: &mut Machine, property: &str) -> String {
    machine.shell.run(&format!("systemctl show -P {property} nuclei-station"))
}

fn apt(machine: &mut Machine, arguments: &str) {
    let options = "-q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold";
    println!("$ apt-get {arguments}");
    let command = format!("DEBIAN_FRONTEND=noninteractive apt-get {options} {arguments} </dev/null");
    println!("{}", machine.shell.run(&command));
}

/// Waits until the station has notified systemd that it is ready.
fn becomes_active(machine: &mut Machine) {
    until_within(PATIENCE, "the service is active", || {
        (shown(machine, "ActiveState") == "active").then_some(())
    });
    println!("{}", shown(machine, "StatusText"));
    assert_eq!(machine.shell.run("systemctl is-enabled nuclei-station"), "enabled");
}

fn installs_without_camera_and_line(machine: &mut Machine) {
    machine.shell.run("echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind");
    apt(machine, "install /packages/first.deb");
    becomes_active(machine);
    assert_eq!(machine.shell.run("dpkg --verify nuclei-station"), "");
    let pid = shown(machine, "MainPID");
    assert_eq!(machine.shell.run(&format!("stat -c '%U %G' /proc/{pid}")), "nuclei nuclei");
    passed("installed, verified, enabled, active under its own user, without a camera and a line");
}

fn devices_are_the_users(machine: &mut Machine) {
    // It would start counting, which takes minutes per frame here.
    machine.shell.run("systemctl stop nuclei-station");
    machine.shell.run("echo vivid.0 >/sys/bus/platform/drivers/vivid/bind; udevadm settle");
    let devices = "/dev/video0 /dev/ttyUSB0 /dev/gpiochip0";
    let message = machine.shell.run(&format!("stat -c '%n %G %a' {devices}"));
    println!("{message}");
    assert_eq!(message, "/dev/video0 video 660\n/dev/ttyUSB0 dialout 660\n/dev/gpiochip0 gpio 660");
    let opens = format!("runuser -u nuclei -- sh -c 'for device in {devices}; do : <>$device; done'");
    machine.shell.run(&opens);
    passed("camera, line and GPIO are its user's");
}

/// The digest of the model that runs then.
fn works_with_changed_settings(machine: &mut Machine) -> String {
    machine.start_player();
    machine.show("scene-0.png");
    machine.shell.run(CHANGE);
    machine.console.skip();
    machine.shell.run("systemctl restart nuclei-station");
    println!("{}", machine.console.wait_for("station ready: port /dev/ttyUSB0"));
    let model = machine.flash_and_plug_camera(&brightness_model(0.4));
    counts(machine, &model);
    println!("status light: {}", machine.gpio.wait_for(&format!("setting output {LIGHT} to 1")));
    machine.json(&["station", "set", "illumination", "100", "--json"]);
    println!("lamp: {}", machine.gpio.wait_for(&format!("setting output {LAMP} to 1")));
    passed("a flashed model counts, by settings that were changed");
    model
}

/// Frames arrive over the line, counted by that model.
fn counts(machine: &mut Machine, model: &str) {
    machine.wait_for_frames(2);
    let frames = machine.json(&["live", "--frames", "2", "--json"]);
    assert!(frames.iter().all(|frame| frame["count"].as_u64() > Some(5)), "{frames:?}");
    let running = machine.status()["model"].as_str().unwrap().to_owned();
    assert!(model.starts_with(&running), "{running} is not {model}");
}

/// The process's view and rights, checked from inside its namespaces.
fn is_confined(machine: &mut Machine) {
    let pid = shown(machine, "MainPID");
    let message = machine.shell.run(&format!(
        "grep -E '^(NoNewPrivs|Seccomp|CapEff|CapBnd|CapPrm):' /proc/{pid}/status | tr -d '\\t' | tr '\\n' ' '"
    ));
    println!("{message}");
    let none = "0000000000000000";
    assert_eq!(message, format!("CapPrm:{none} CapEff:{none} CapBnd:{none} NoNewPrivs:1 Seccomp:2"));

    let inside = format!("nsenter --mount --target {pid}");
    for path in ["/etc/probe", "/etc/nuclei/station.toml", "/usr/bin/probe", "/boot/probe"] {
        let (message, status) = machine.shell.try_run(&format!("{inside} touch {path}"));
        println!("root inside: {message}");
        assert!(status != 0 && message.contains("Read-only file system"), "{path}: {message}");
    }
    machine.shell.run("mkdir -p /home/ana; echo secret | tee /home/ana/diary /root/diary");
    assert_eq!(machine.shell.run(&format!("{inside} ls -A /home /root")), "/home:\n\n/root:");
    let user = format!("{inside} setpriv --reuid nuclei --regid nuclei --init-groups");
    assert_ne!(machine.shell.try_run(&format!("{user} test -e /proc/1")).1, 0, "other processes are seen");
    machine.shell.run(&format!("{user} sh -c 'touch /var/lib/nuclei/probe; rm /var/lib/nuclei/probe'"));
    let network =
        |machine: &mut Machine, pid: &str| machine.shell.run(&format!("readlink /proc/{pid}/ns/net"));
    assert_ne!(network(machine, "1"), network(machine, &pid), "a network of its own");

    let message = machine.shell.run("systemd-analyze --no-pager security nuclei-station");
    println!("{message}");
    let words = message.split_once("exposure level for nuclei-station.service: ").unwrap().1;
    let exposure: f64 = words.split(' ').next().unwrap().parse().unwrap();
    assert!(exposure <= EXPOSURE, "{exposure}");
    passed("it writes nothing but its state, and sees no home, no other process and no network");
}

fn is_started_again(machine: &mut Machine, model: &str) {
    for (restarts, signal, reason) in [("1", "STOP", "Watchdog timeout"), ("2", "KILL", "status=9/KILL")] {
        let before = shown(machine, "MainPID");
        machine.console.skip();
        machine.shell.run(&format!("kill -{signal} {before}"));
        println!("{}", machine.console.wait_for(reason));
        println!("{}", machine.console.wait_for("station ready: "));
        becomes_active(machine);
        assert_ne!(shown(machine, "MainPID"), before);
        assert_eq!(shown(machine, "NRestarts"), restarts);
        counts(machine, model);
        passed(&format!("started again after SIG{signal}, and counts"));
    }
}

/// The machine after a power loss.
fn starts_at_boot(guest: &Path, machine: Machine, model: &str) -> Machine {
    let mut machine = Machine::boot_debian_again(guest, machine.cut_power());
    becomes_active(&mut machine);
    machine.start_player();
    machine.show("scene-0.png");
    machine.plug_camera();
    counts(&mut machine, model);
    passed("started by itself after the power was gone, and counts");
    machine
}

fn upgrades(machine: &mut Machine, model: &str) {
    let (settings, before) = (machine.shell.run("cat /etc/nuclei/station.toml"), shown(machine, "MainPID"));
    apt(machine, "install /packages/later.deb");
    becomes_active(machine);
    let version = machine.shell.run("dpkg-query -W -f '${Version}' nuclei-station");
    assert!(version.starts_with("1:"), "{version}");
    assert_eq!(machine.shell.run("cat /etc/nuclei/station.toml"), settings, "the change survives");
    let (verified, _) = machine.shell.try_run("dpkg --verify nuclei-station");
    println!("dpkg --verify: {verified}");
    assert_eq!(verified, "??5?????? c /etc/nuclei/station.toml", "nothing else was changed");
    assert_ne!(shown(machine, "MainPID"), before);
    counts(machine, model);
    passed("upgraded; the changed settings and the model are kept");
}

fn goes(machine: &mut Machine) {
    apt(machine, "remove nuclei-station");
    machine
        .shell
        .run("test ! -e /usr/bin/nuclei-station -a -f /etc/nuclei/station.toml -a -d /var/lib/nuclei");
    assert_eq!(machine.shell.try_run("pidof nuclei-station").0, "");
    passed("removed; settings and models are kept");
    apt(machine, "purge nuclei-station");
    assert_eq!(machine.shell.run("find / -xdev -name '*nuclei*' -not -path '*/tmp/*'"), "");
    assert_eq!(shown(machine, "LoadState"), "not-found");
    passed("purged; nothing is left but its user's number");
}
