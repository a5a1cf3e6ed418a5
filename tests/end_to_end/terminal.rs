//! The terminal view in a real terminal.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use serde_json::Value;

use crate::fixture::brightness_model;
use crate::harness::{Harness, Process, SIMULATED, text, until};

const COLUMNS: u16 = 110;
const ROWS: u16 = 34;
/// Timeout for the next drawing.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// Hides the cursor: what a drawing ends with.
const DRAWN: &str = "?25l";

/// Nothing takes this long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A terminal that shows what a program draws on it.
struct Terminal {
    keyboard: File,
    output: Receiver<Vec<u8>>,
    unread: Vec<u8>,
    cells: Vec<Vec<char>>,
    /// The last complete drawing.
    screen: Vec<Vec<char>>,
    at: (usize, usize),
    /// Whether the program uses the alternate screen.
    alternate: bool,
    /// The output outside of it.
    plain: String,
}

impl Terminal {
    /// A terminal, and a program on it.
    fn with(bench: &Harness, arguments: &[&str]) -> (Self, Process) {
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).unwrap();
        let mut command = bench.host(arguments);
        command.current_dir(bench.folder.path()).env("XDG_CONFIG_HOME", bench.path("config"));
        command.env("TERM", "xterm-256color").env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
        command.stdin(Stdio::from(pair.slave.try_clone().unwrap()));
        command.stdout(Stdio::from(pair.slave.try_clone().unwrap())).stderr(Stdio::from(pair.slave));
        let process = Process::start(&mut command);
        // The command holds the terminal's other end, which must be closed to detect its exit.
        drop(command);
        let keyboard = File::from(pair.master);
        let mut reader = keyboard.try_clone().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 65536];
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let cells = vec![vec![' '; COLUMNS.into()]; ROWS.into()];
        let (unread, at, plain) = (Vec::new(), (0, 0), String::new());
        let screen = cells.clone();
        (Self { keyboard, output, unread, cells, screen, at, alternate: false, plain }, process)
    }

    fn press(&mut self, key: &str) {
        self.keyboard.write_all(key.as_bytes()).unwrap();
    }

    /// Reads new output; `false` if the program has exited.
    fn look(&mut self) -> bool {
        let first = self.output.recv_timeout(LOOK_AGAIN);
        if let Ok(bytes) = &first {
            self.unread.extend(bytes);
            self.unread.extend(self.output.try_iter().flatten());
            self.draw();
        }
        !matches!(first, Err(RecvTimeoutError::Disconnected))
    }

    fn draw(&mut self) {
        let bytes = std::mem::take(&mut self.unread);
        let mut rest = bytes.as_slice();
        while let [first, ..] = rest {
            let length = if *first == 0x1B { escape_length(rest) } else { character_length(rest) };
            let Some(length) = length else { break };
            let (word, after) = rest.split_at(length);
            self.take(std::str::from_utf8(word).unwrap());
            rest = after;
        }
        self.unread = rest.to_vec();
    }

    fn take(&mut self, word: &str) {
        let Some(control) = word.strip_prefix("\x1b[") else {
            if !word.starts_with('\x1b') && !self.alternate {
                self.plain.push_str(word);
            }
            if !word.starts_with(['\x1b', '\r', '\n']) && self.alternate {
                self.cells[self.at.0][self.at.1] = word.chars().next().unwrap();
                self.at.1 = (self.at.1 + 1).min(usize::from(COLUMNS) - 1);
            }
            return;
        };
        match control {
            "?1049h" => self.alternate = true,
            "?1049l" => self.alternate = false,
            DRAWN => self.screen.clone_from(&self.cells),
            "2J" => self.cells.iter_mut().for_each(|row| row.fill(' ')),
            _ => {
                if let Some(place) = control.strip_suffix('H') {
                    let mut numbers = place.split(';').map(|number| number.parse::<usize>().unwrap_or(1) - 1);
                    self.at = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
                }
            }
        }
    }

    fn text(&self) -> String {
        self.screen.iter().map(|row| row.iter().collect::<String>() + "\n").collect()
    }

    fn wait_for(&mut self, words: &str) {
        let start = Instant::now();
        loop {
            let is_running = self.look();
            let (screen, message) = (self.text(), &self.plain);
            if screen.contains(words) {
                return;
            }
            let is_in_time = start.elapsed() < PATIENCE;
            assert!(is_running && is_in_time, "timed out: the terminal shows {words:?}\n{screen}\n{message}");
        }
    }

    /// The frame shown, and the count.
    fn shown(&self) -> Option<(u64, u64)> {
        let screen = self.text();
        let (before, after) = screen.split_once(" nuclei in frame ")?;
        let number = |text: &str| text.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok();
        Some((number(after.split_whitespace().next()?)?, number(before.rsplit(' ').next()?)?))
    }
}

/// Bytes of the escape sequence that these begin with, if it is whole.
fn escape_length(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        b'[' => Some(bytes.iter().skip(2).position(|byte| (0x40..=0x7E).contains(byte))? + 3),
        _ => Some(2),
    }
}

fn character_length(bytes: &[u8]) -> Option<usize> {
    let length = match bytes[0] {
        0..0x80 => 1,
        0x80..0xE0 => 2,
        0xE0..0xF0 => 3,
        _ => 4,
    };
    (bytes.len() >= length).then_some(length)
}

fn recorded(bench: &Harness, file: &str) -> HashMap<u64, u64> {
    let recorded = std::fs::read_to_string(bench.path(file)).unwrap();
    let whole = recorded.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let records = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.map(|record| (record["frame"].as_u64().unwrap(), record["count"].as_u64().unwrap())).collect()
}

#[test]
fn the_terminal_shows_what_the_station_counts_and_takes_keys() {
    let mut bench = Harness::simulated();
    bench.flash("model.onnx", &brightness_model(0.4));
    let (mut terminal, mut live) =
        Terminal::with(&bench, &["live", "--view", "terminal", "--record", "counts.jsonl"]);
    terminal.wait_for("connected");
    let mut compared = HashSet::new();
    until("ten counts are compared", || {
        terminal.look();
        let (frame, count) = terminal.shown()?;
        assert_eq!(
            Some(&count),
            recorded(&bench, "counts.jsonl").get(&frame),
            "frame {frame}\n{}",
            terminal.text()
        );
        compared.insert(frame);
        (compared.len() >= 10).then_some(())
    });
    assert!(terminal.alternate);
    if let Some(folder) = std::env::var_os("NUCLEI_SCREENSHOTS") {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(std::path::Path::new(&folder).join("terminal.txt"), terminal.text()).unwrap();
    }

    terminal.press("s");
    terminal.wait_for("nuclei to snapshot-");
    terminal.press("+");
    terminal.wait_for("illumination 5 %");
    terminal.press("r");
    terminal.wait_for("recording is off");
    terminal.press("r");
    terminal.wait_for("recording to counts-");

    bench.station.kill();
    let killed = Instant::now();
    terminal.wait_for("station lost");
    assert!(killed.elapsed() < Duration::from_secs(3), "{:?}", killed.elapsed());
    terminal.wait_for("last known count: station disconnected");
    bench.restart_station();
    terminal.wait_for("connected");
    terminal.wait_for("can be trusted");

    terminal.press("q");
    assert_eq!(live.wait().code(), Some(0));
    while terminal.look() && terminal.plain.lines().count() < 1 {}
    assert!(!terminal.alternate, "the terminal is as before");
    assert!(terminal.plain.contains(" frames, "), "{:?}", terminal.plain);
}

#[test]
fn of_several_stations_the_terminal_shows_the_chosen_one() {
    let (bench, mut hood) = (Harness::simulated(), Harness::named("hood 2", SIMULATED));
    let port = hood.line.host_end();
    let arguments = ["live", "--view", "terminal", "--record", "fleet", "--port", port.to_str().unwrap()];
    let (mut terminal, mut live) = Terminal::with(&bench, &arguments);
    let compare = |terminal: &mut Terminal, name: &str, file: &str| {
        terminal.wait_for(&format!("nuclei {name}  connected"));
        let mut compared = HashSet::new();
        let start = Instant::now();
        while compared.len() < 5 {
            assert!(start.elapsed() < PATIENCE, "{name}: {compared:?}\n{}", terminal.text());
            terminal.look();
            let Some((frame, count)) = terminal.shown() else { continue };
            assert_eq!(Some(&count), recorded(&bench, file).get(&frame), "{frame}\n{}", terminal.text());
            compared.insert(frame);
        }
    };
    terminal.wait_for(" 1 hood 2 ");
    compare(&mut terminal, "hood 2", "fleet/hood_2/counts.jsonl");
    terminal.press("2");
    compare(&mut terminal, "bench", "fleet/bench/counts.jsonl");
    hood.station.kill();
    terminal.wait_for(" lost ");
    assert!(terminal.text().contains("nuclei bench  connected"), "{}", terminal.text());
    terminal.press("\t");
    terminal.wait_for("last known count: station disconnected");
    hood.restart_station();
    terminal.wait_for("can be trusted");
    terminal.press("s");
    terminal.wait_for("nuclei to fleet/hood_2/snapshot-");
    terminal.press("q");
    assert_eq!(live.wait().code(), Some(0));
    while terminal.look() && terminal.plain.lines().count() < 2 {}
    assert!(
        terminal.plain.contains("hood_2: ") && terminal.plain.contains("bench: "),
        "{:?}",
        terminal.plain
    );
}

#[test]
fn a_terminal_is_the_view_where_there_is_no_browser_and_refused_where_there_is_none() {
    let bench = Harness::simulated();
    let (mut terminal, mut live) = Terminal::with(&bench, &["live"]);
    terminal.wait_for("can be trusted");
    terminal.press("\x03");
    assert_eq!(live.wait().code(), Some(0));
    let output = bench.run(&["live", "--view", "terminal"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--view lines"), "{}", text(&output.stderr));
}
