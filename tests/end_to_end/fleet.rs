//! Several stations at once.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::browser::Browser;
use crate::fixture::brightness_model;
use crate::harness::{Harness, Process, SIMULATED, next_line, program, rest, text, until};

/// Two stations, the second on a port that appears later.
struct Fleet {
    bench: Harness,
    hood: Harness,
}

impl Fleet {
    fn new() -> Self {
        let fewer = SIMULATED.replace("nuclei = 20", "nuclei = 9");
        let fleet = Self { bench: Harness::simulated(), hood: Harness::named("hood 2", &fewer) };
        for bench in [&fleet.bench, &fleet.hood] {
            bench.flash("model.onnx", &brightness_model(0.4));
        }
        fleet
    }

    fn second_port(&self) -> String {
        self.bench.path("port").to_str().unwrap().to_owned()
    }

    fn plug_in(&self) {
        symlink(self.hood.line.host_end(), self.second_port()).unwrap();
    }

    fn unplug(&self) {
        std::fs::remove_file(self.second_port()).unwrap();
    }

    /// The host with these arguments, on both ports.
    fn host(&self, arguments: &[&str]) -> Command {
        let port = self.second_port();
        // The first port is the first station's.
        let first = self.bench.line.host_end();
        let ports = ["--port", first.to_str().unwrap(), "--port", &port];
        let mut command = Command::new(program("nuclei-host"));
        command.args(arguments).args(ports).stdin(Stdio::null());
        command.current_dir(self.bench.folder.path()).env("XDG_CONFIG_HOME", self.bench.path("config"));
        command
    }

    /// A station's recording: counts by frame.
    fn recorded(&self, station: &str) -> HashMap<u64, u64> {
        let file = self.bench.path(&format!("fleet/{station}/counts.jsonl"));
        let recorded = std::fs::read_to_string(file).unwrap();
        let whole = recorded.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let records = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.map(|record| (record["frame"].as_u64().unwrap(), record["count"].as_u64().unwrap())).collect()
    }
}

/// The frame and count on a card, if any.
fn card(browser: &mut Browser, at: usize) -> Option<(u64, u64)> {
    let shown = browser.value(&format!(
        "(() => {{ const n = document.querySelectorAll('.station .number')[{at}]; \
         return [n.dataset.frame, n.textContent].map(text => text === '' ? NaN : Number(text)); }})()"
    ));
    Some((shown[0].as_f64()? as u64, shown[1].as_f64()? as u64))
}

fn pill(at: usize) -> String {
    format!("document.querySelectorAll('.station .pill')[{at}]?.textContent")
}

/// The frame and count that the page shows in full.
const LARGE: &str = "(() => { const c = document.getElementById('count'); \
    return [c.dataset.frame, c.textContent].map(Number); })()";

fn compare(what: &str, fleet: &Fleet, station: &str, mut shown: impl FnMut() -> Option<(u64, u64)>) {
    let mut compared = HashSet::new();
    until(&format!("eight counts {what} are compared"), || {
        let (frame, count) = shown()?;
        assert_eq!(Some(&count), fleet.recorded(station).get(&frame), "{what}: frame {frame} of {station}");
        compared.insert(frame);
        (compared.len() >= 8).then_some(())
    });
}

#[test]
fn the_page_shows_a_card_for_each_station_and_the_chosen_one_in_full() {
    let Some(mut browser) = Browser::start() else { return };
    let mut fleet = Fleet::new();
    let mut command = fleet.host(&["live", "--view", "page", "--listen", "127.0.0.1:0", "--record", "fleet"]);
    let mut live = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let line = next_line(&mut live.stdout()).unwrap();
    let address = line.strip_prefix("page: ").unwrap().split_whitespace().next().unwrap().to_owned();
    browser.resize(1280, 860);
    browser.open(&address);
    browser.wait_for(&format!("{} === 'connected'", pill(0)));
    browser.wait_for(&format!("{} === 'absent'", pill(1)));
    let why = browser.value("document.querySelectorAll('.station .doubt')[1].textContent");
    assert!(why.as_str().unwrap().contains("does not exist"), "{why}");
    fleet.plug_in();
    browser.wait_for(&format!("{} === 'connected'", pill(1)));

    compare("on a card", &fleet, "bench", || card(&mut browser, 0));
    compare("on a card", &fleet, "hood_2", || card(&mut browser, 1));
    let large = |browser: &mut Browser| {
        let shown = browser.value(LARGE);
        Some((shown[0].as_f64()? as u64, shown[1].as_f64()? as u64))
    };
    compare("shown large", &fleet, "bench", || large(&mut browser));

    browser.value("document.querySelectorAll('.station')[1].click()");
    browser.wait_for("document.getElementById('station-name').textContent === 'hood 2'");
    browser.wait_for("location.hash === '#hood%202'");
    compare("shown large", &fleet, "hood_2", || large(&mut browser));
    browser.wait_for("document.getElementById('picture').dataset.paired === 'true'");
    browser.screenshot("page-fleet.png");
    browser.key("1");
    browser.wait_for("document.getElementById('station-name').textContent === 'bench'");
    compare("shown large", &fleet, "bench", || large(&mut browser));

    // A bookmark of the second station.
    browser.open("about:blank");
    browser.open(&format!("{address}#hood%202"));
    browser.wait_for("document.getElementById('station-name').textContent === 'hood 2'");
    compare("shown large", &fleet, "hood_2", || large(&mut browser));
    browser.value("document.getElementById('theme').click()");
    browser.screenshot("page-fleet-dark.png");
    browser.resize(390, 1500);
    browser.wait_for("document.documentElement.scrollWidth <= window.innerWidth");
    browser.screenshot("page-fleet-phone.png");
    browser.resize(1280, 860);

    // Commands go to the selected station only.
    browser.key("s");
    browser.wait_for("document.getElementById('result').textContent.includes('to fleet/hood_2/snapshot-')");

    let killed = Instant::now();
    fleet.hood.station.kill();
    browser.wait_for(&format!("{} === 'lost'", pill(1)));
    let message = killed.elapsed();
    eprintln!("a card message after {:.1} s that its station is lost", message.as_secs_f64());
    assert!(message < Duration::from_secs(3), "{message:?}");
    browser.wait_for("document.getElementById('link').className === 'pill lost'");
    browser.screenshot("page-fleet-lost.png");
    let before = card(&mut browser, 0).unwrap();
    until("the other station counts on", || (card(&mut browser, 0)?.0 > before.0 + 10).then_some(()));
    assert_eq!(browser.value(&pill(0)), "connected");
    fleet.hood.restart_station();
    browser.wait_for(&format!("{} === 'connected'", pill(1)));
    let before = card(&mut browser, 1);
    until("frames come again", || (card(&mut browser, 1) != before).then_some(()));
    live.signal(Signal::SIGINT);
    assert_eq!(live.wait().code(), Some(0));
}

fn assert_fails(output: &Output, code: i32, words: &str) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(message.contains(words), "{words:?} in {message}");
}

#[test]
fn every_record_says_the_station_and_one_that_comes_later_is_joined() {
    let mut fleet = Fleet::new();
    let mut command = fleet.host(&["live", "--json", "--frames", "40", "--record", "fleet"]);
    let mut live = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut lines = live.stdout();
    let first: Value = serde_json::from_str(&next_line(&mut lines).unwrap()).unwrap();
    assert_eq!(first["station"], "bench");
    fleet.plug_in();
    let message = rest(lines);
    assert_eq!(live.wait().code(), Some(0));
    let records: Vec<Value> = message.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (name, folder, most) in [("bench", "bench", 39), ("hood 2", "hood_2", 40)] {
        let counts: HashMap<u64, u64> = records
            .iter()
            .filter(|record| record["station"] == name)
            .map(|record| (record["frame"].as_u64().unwrap(), record["count"].as_u64().unwrap()))
            .collect();
        assert_eq!(counts.len(), most, "{name}");
        let recorded = fleet.recorded(folder);
        assert!(counts.iter().all(|(frame, count)| recorded.get(frame) == Some(count)), "{name}");
        let mut audit = Command::new(program("nuclei-host"));
        audit.arg("audit").arg(fleet.bench.path(&format!("fleet/{folder}/counts.jsonl")));
        assert_eq!(audit.output().unwrap().status.code(), Some(0), "{name}");
    }
    let complained = rest(live.stderr());
    let absent = "does not exist";
    assert!(complained.contains(absent) && complained.contains("waiting for the station"), "{complained}");

    let output = fleet.host(&["live", "--frames", "3"]).output().unwrap();
    let message = text(&output.stdout);
    for (name, lines) in [("bench  ", 3), ("hood_2  ", 3), ("bench: 3 frames", 1), ("hood_2: 3 frames", 1)] {
        assert_eq!(message.lines().filter(|line| line.starts_with(name)).count(), lines, "{name}\n{message}");
    }

    // No station, one port twice, and two stations with the same name.
    let first = fleet.bench.line.host_end();
    let first = first.to_str().unwrap();
    assert_fails(&fleet.bench.run(&["live", "--port", first]), 2, "is given twice");
    fleet.unplug();
    fleet.bench.station.kill();
    let nowhere = fleet.bench.path("nowhere");
    let mut command = Command::new(program("nuclei-host"));
    command.args(["live", "--port", nowhere.to_str().unwrap(), "--port", &fleet.second_port()]);
    assert_fails(&command.output().unwrap(), 4, "does not exist");
    let settings = std::fs::read_to_string(fleet.hood.path("station.toml")).unwrap();
    fleet.hood.write("station.toml", settings.replace("hood 2", "bench").as_bytes());
    fleet.bench.restart_station();
    fleet.hood.restart_station();
    fleet.hood.wait_until_ready();
    fleet.bench.wait_until_ready();
    fleet.plug_in();
    let output = fleet.host(&["live", "--json"]).output().unwrap();
    assert_fails(&output, 2, "two stations have the name bench");
}
