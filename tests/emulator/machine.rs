//! An emulated station: QEMU's `virt` machine with a USB serial line, GPIO, a disk, and vivid for a camera.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Process, json_lines, program, text, until_within};
use crate::qemu_channels::{GrowingText, Monitor, PATIENCE, Shell, Socket};

/// Lines of the GPIO chip that the settings below name.
pub const LIGHT: u32 = 5;
pub const LAMP: u32 = 6;

const SETTINGS: &str = r#"
name = "emulated"
threads = 2
[camera]
kind = "v4l2"
device = "/dev/camera"
[link]
port = "/dev/ttyUSB0"
[storage]
folder = "/mnt/nuclei"
[status_light]
line = 5
[illumination]
line = 6
"#;

/// The guest built by tests/emulator/guest; `None`, with a message, if it was not built.
pub fn guest() -> Option<PathBuf> {
    let guest = std::env::var_os("NUCLEI_EMULATOR").map(PathBuf::from);
    if guest.is_none() {
        eprintln!("SKIPPED: no emulated machine is booted; tests/emulator/run makes one");
    }
    guest
}

pub struct Machine {
    // Before the folder, which QEMU writes to.
    _qemu: Process,
    pub console: GrowingText,
    /// Changes of the GPIO lines.
    pub gpio: GrowingText,
    pub shell: Shell,
    pub monitor: Monitor,
    port: String,
    folder: TempDir,
}

impl Machine {
    /// Boots the guest with these images on a new disk.
    pub fn boot(guest: &Path, pictures: &[(String, Vec<u8>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        new_disk(&folder.path().join("disk"));
        Self::boot_on(guest, folder, pictures, "driver=file,node-name=disk,filename=disk")
    }

    /// Boots the guest on a disk that a `-blockdev` of the name `disk` describes, with paths below `folder`.
    pub fn boot_on(guest: &Path, folder: TempDir, pictures: &[(String, Vec<u8>)], disk: &str) -> Self {
        let settings = ("etc/nuclei/station.toml".to_owned(), SETTINGS.as_bytes().to_vec());
        write_initramfs(guest, folder.path(), &[&shown(pictures)[..], &[settings]].concat());
        let mut machine = Self::power_on(guest, folder, disk, "");
        machine.shell.run("mount -t ext4 /dev/vda /mnt");
        machine
    }

    /// Boots the Debian built by tests/emulator/debian, on its own disk, with these packages in /packages.
    pub fn boot_debian(guest: &Path, pictures: &[(String, Vec<u8>)], packages: &[(String, Vec<u8>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        let copied =
            Command::new("cp").arg("--sparse=always").arg(guest.join("debian.ext4")).arg(&disk).status();
        assert!(copied.unwrap().success());
        write_initramfs(guest, folder.path(), &[&shown(pictures), packages].concat());
        Self::boot_debian_again(guest, folder)
    }

    /// Boots the Debian on a previously used disk.
    pub fn boot_debian_again(guest: &Path, folder: TempDir) -> Self {
        for left in ["shell", "monitor", "console", "trace"] {
            let _ = fs::remove_file(folder.path().join(left));
        }
        // The journal is copied to the console, where nobody logs in.
        let parameters = "quiet debian=installed systemd.journald.forward_to_console=1 \
                          systemd.mask=serial-getty@ttyAMA0.service systemd.mask=getty@.service";
        Self::power_on(guest, folder, "driver=file,node-name=disk,filename=disk", parameters)
    }

    fn power_on(guest: &Path, folder: TempDir, disk: &str, parameters: &str) -> Self {
        let path = |name: &str| folder.path().join(name);
        let (shell, monitor) = (Socket::new(&path("shell")), Socket::new(&path("monitor")));
        let mut command = Command::new("qemu-system-aarch64");
        let words = "-M virt -cpu cortex-a72 -accel tcg,thread=multi -smp 2 -m 512 -nographic -nodefaults -no-reboot \
             -initrd initramfs -serial file:console -trace pl061_set_output -D trace \
             -device virtio-serial-pci -chardev socket,id=shell,path=shell -device virtserialport,chardev=shell \
             -device virtio-blk-pci,drive=disk -device qemu-xhci -chardev pty,id=line \
             -device usb-serial,id=line,chardev=line,always-plugged=on -qmp unix:monitor";
        command.args(words.split_whitespace()).arg("-kernel").arg(guest.join("vmlinuz"));
        command.args(["-append", &format!("console=ttyAMA0 panic=1 {parameters}")]);
        for node in disk.split_whitespace() {
            command.args(["-blockdev", node]);
        }
        command.current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::null());
        let qemu = Process::start(&mut command);
        let mut monitor = Monitor::new(monitor.accept());
        let shell = Shell::new(BufReader::new(shell.accept()));
        let chardevs = monitor.ask("query-chardev", json!({}));
        let line = chardevs.as_array().unwrap().iter().find(|chardev| chardev["label"] == "line").unwrap();
        let port = line["filename"].as_str().unwrap().strip_prefix("pty:").unwrap().to_owned();
        let mut machine = Self {
            _qemu: qemu,
            console: GrowingText::new(path("console")),
            gpio: GrowingText::new(path("trace")),
            shell,
            monitor,
            port,
            folder,
        };
        machine.console.wait_for("init: ready");
        println!("{}", machine.shell.run("uname -a"));
        machine
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder, which outlives the machine.
    pub fn cut_power(self) -> TempDir {
        self.folder
    }

    /// Starts the image player.
    pub fn start_player(&mut self) {
        self.shell.run("rm -f /tmp/play; mkfifo /tmp/play");
        self.shell.run("vivid_player play /dev/video1 /dev/video0 </tmp/play >/dev/ttyAMA0 2>&1 & player=$!");
        self.shell.run("exec 4>/tmp/play");
        self.console.wait_for("player ready");
    }

    /// Stops the image player.
    pub fn stop_player(&mut self) {
        self.shell.run("exec 4>&-; wait $player || true");
    }

    /// Gives vivid's camera the name that the station knows.
    pub fn plug_camera(&mut self) {
        self.shell.run("ln -sf /dev/video0 /dev/camera");
        println!("{}", self.console.wait_for("the camera vivid delivers"));
    }

    /// Shows an image to the camera.
    pub fn show(&mut self, name: &str) {
        self.shell.run(&format!("echo /pictures/{name} >&4"));
        self.console.wait_for(&format!("shown /pictures/{name}"));
    }

    pub fn start_station(&mut self) {
        self.shell.run("nuclei-station run >/dev/ttyAMA0 2>&1 4>&- &");
        println!("{}", self.console.wait_for("station ready: "));
    }

    /// nuclei-host with these arguments, on the station's line.
    pub fn host(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("nuclei-host"));
        command.args(arguments).args(["--port", &self.port]).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.host(arguments).output().unwrap()
    }

    /// The JSON values that a successful command prints, one per line.
    pub fn json(&self, arguments: &[&str]) -> Vec<Value> {
        println!("$ nuclei-host {} --port {}", arguments.join(" "), self.port);
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        print!("{}", text(&output.stdout));
        json_lines(&output)
    }

    /// The station's status, as soon as it answers.
    pub fn status(&self) -> Value {
        until_within(PATIENCE, "the station answers", || {
            let output = self.run(&["station", "status", "--json"]);
            output.status.success().then(|| json_lines(&output).remove(0))
        })
    }

    /// Waits until this many more frames have been counted.
    pub fn wait_for_frames(&self, count: u32) {
        until_within(PATIENCE, "frames are counted", || {
            let output = self.run(&["live", "--frames", &count.to_string(), "--json"]);
            output.status.success().then_some(())
        });
    }

    /// Waits until the station's status meets a condition.
    pub fn until_status(&self, what: &str, wished: impl Fn(&Value) -> bool) -> Value {
        until_within(PATIENCE, what, || Some(self.status()).filter(&wished))
    }

    /// Starts the station without its camera, flashes a model, and plugs the camera for the trial: no frame then
    /// takes the minutes that the station's own model needs on a busy machine. The model's digest.
    pub fn start_station_with(&mut self, onnx: &[u8]) -> String {
        self.start_station();
        self.flash_and_plug_camera(onnx)
    }

    /// Flashes a model to a station without its camera, and plugs the camera for the trial; the model's digest.
    pub fn flash_and_plug_camera(&mut self, onnx: &[u8]) -> String {
        let path = self.path("first.onnx");
        fs::write(&path, onnx).unwrap();
        let mut command = self.host(&["flash", path.to_str().unwrap(), "--json"]);
        let flash = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        println!("{}", self.console.wait_for(" runs"));
        self.plug_camera();
        confirmed(&flash.wait_with_output().unwrap())
    }

    /// Flashes a model, which must succeed; its digest.
    pub fn flash(&self, onnx: &[u8]) -> String {
        let path = self.path("model.onnx");
        fs::write(&path, onnx).unwrap();
        let arguments = ["flash", path.to_str().unwrap(), "--json"];
        println!("$ nuclei-host {}", arguments.join(" "));
        confirmed(&self.run(&arguments))
    }
}

/// The digest of the model that a flash confirmed.
fn confirmed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let ended = json_lines(output).remove(0);
    println!("{ended}");
    assert_eq!(ended["outcome"], "confirmed");
    ended["digest"].as_str().unwrap().to_owned()
}

/// An empty disk of 64 MiB.
pub fn new_disk(path: &Path) {
    fs::File::create(path).unwrap().set_len(64 << 20).unwrap();
    let made = Command::new("/sbin/mkfs.ext4").args(["-q", "-F"]).arg(path).status().unwrap();
    assert!(made.success());
}

/// Images at the player's path.
fn shown(pictures: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    pictures.iter().map(|(name, png)| (format!("pictures/{name}"), png.clone())).collect()
}

/// The guest's initramfs, and after it another with those files: Linux unpacks both.
fn write_initramfs(guest: &Path, folder: &Path, files: &[(String, Vec<u8>)]) {
    let root = folder.join("files");
    for (name, bytes) in files {
        let file = root.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    let pack = "(cat \"$1\"; find . | cpio --quiet -o -H newc -R 0:0) >../initramfs";
    let guest = guest.join("guest.cpio");
    let packed = Command::new("sh").args(["-ec", pack, "pack"]).arg(guest).current_dir(&root).status();
    assert!(packed.unwrap().success());
}
