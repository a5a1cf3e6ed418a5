//! The page in a real browser.

use std::collections::{HashMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use shared::wire::ModelDigest;

use crate::browser::Browser;
use crate::fixture::brightness_model;
use crate::harness::{Harness, Process, next_line, until};

/// A bench whose station is watched by a page.
pub struct Watched {
    pub bench: Harness,
    pub address: String,
    pub live: Process,
}

impl Watched {
    pub fn new(bench: Harness, listen: &str) -> Self {
        let mut command =
            bench.host(&["live", "--view", "page", "--listen", listen, "--record", "counts.jsonl"]);
        command.current_dir(bench.folder.path()).env("XDG_CONFIG_HOME", bench.path("config"));
        let mut live = Process::start(command.stdout(Stdio::piped()));
        let line = next_line(&mut live.stdout()).unwrap();
        let address = line.strip_prefix("page: ").unwrap().split_whitespace().next().unwrap().to_owned();
        Self { bench, address, live }
    }

    /// The counts recorded so far, by frame.
    fn recorded(&self) -> HashMap<u64, u64> {
        let recorded = std::fs::read_to_string(self.bench.path("counts.jsonl")).unwrap();
        let whole = recorded.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let records = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.map(|record| (record["frame"].as_u64().unwrap(), record["count"].as_u64().unwrap())).collect()
    }

    /// Whether every frame from the first to the last is recorded.
    fn is_gapless(&self) -> bool {
        let recorded = self.recorded();
        let (first, last) = (recorded.keys().min().unwrap(), recorded.keys().max().unwrap());
        recorded.len() as u64 == last - first + 1
    }
}

pub const CONNECTED: &str = "document.getElementById('link').className === 'pill up'";
/// The count's frame and number; the image's frame, its outlined nuclei, and whether both are available.
const SHOWN: &str = "(() => { const c = document.getElementById('count'), p = \
     document.getElementById('picture').dataset; \
    return [c.dataset.frame, c.textContent, p.frame, p.outlined].map(Number).concat([p.paired === 'true']); })()";

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().filter_map(|number| Some(number.as_f64()? as u64)).collect()
}

#[test]
fn the_page_shows_what_the_station_counts() {
    let Some(mut browser) = Browser::start() else { return };
    let bench = Harness::simulated();
    bench.flash("model.onnx", &brightness_model(0.4));
    let mut watched = Watched::new(bench, "127.0.0.1:0");
    browser.resize(1280, 860);
    browser.open(&watched.address);
    browser.wait_for(CONNECTED);
    browser.wait_for("Number(document.getElementById('picture').dataset.outlined) > 0");

    // The number on the page is the station's, frame by frame, and so is the number of outlines.
    let (mut counts, mut pictures) = (HashSet::new(), HashSet::new());
    until("ten counts and ten pictures are compared", || {
        let message = browser.value(SHOWN);
        let shown = numbers(&message);

        let recorded = watched.recorded();
        assert_eq!(Some(&shown[1]), recorded.get(&shown[0]), "frame {}", shown[0]);
        counts.insert(shown[0]);
        if message[4] == true {
            assert_eq!(Some(&shown[3]), recorded.get(&shown[2]), "outlines of frame {}", shown[2]);
            pictures.insert(shown[2]);
        }
        (counts.len() >= 10 && pictures.len() >= 10).then_some(())
    });
    browser.screenshot("page.png");

    gates(&mut browser, &watched);
    buttons(&mut browser, &watched);

    browser.value("document.getElementById('theme').click()");
    browser.screenshot("page-dark.png");
    browser.resize(390, 1500);
    browser.wait_for("document.documentElement.scrollWidth <= window.innerWidth");
    browser.screenshot("page-phone.png");
    browser.resize(1280, 860);

    let killed = Instant::now();
    watched.bench.station.kill();
    browser.wait_for("document.getElementById('link').className === 'pill lost'");
    eprintln!("the page message after {:.1} s that the station is lost", killed.elapsed().as_secs_f64());
    browser.screenshot("page-lost.png");
    watched.bench.restart_station();
    browser.wait_for(CONNECTED);
    let before = browser.value(SHOWN)[0].as_f64();
    until("frames come again", || (browser.value(SHOWN)[0].as_f64() != before).then_some(()));
}

fn gates(browser: &mut Browser, watched: &Watched) {
    browser.drag("#handle-min", 230.0);
    let kept = watched.bench.path("config/nuclei/gates.toml");
    until("the gates are saved", || {
        std::fs::read_to_string(&kept).ok().filter(|text| !text.contains("min_area_px = 0"))
    });
    browser.wait_for("Number(document.getElementById('picture').dataset.dotted) > 0");
    browser.wait_for("document.getElementById('found').textContent.startsWith('within the gates')");
    let counted = browser.value(
        "(() => { const n = state.found.get(Number(document.getElementById('picture').dataset.frame)); \
         const least = state.gates.min_area_px; \
         return [n.within, n.nuclei.filter(x => x.area_px >= least).length, n.found, n.nuclei.length]; })()",
    );
    let counted = numbers(&counted);
    assert_eq!(counted[0], counted[1], "{counted:?}");
    assert!(counted[0] < counted[2] && counted[2] == counted[3], "{counted:?}");
    browser.screenshot("page-gates.png");
    browser.key("g");
    until("no gates are saved", || {
        std::fs::read_to_string(&kept).ok().filter(|text| text.contains("min_area_px = 0"))
    });
    browser.wait_for("document.getElementById('found').textContent === ''");
}

fn buttons(browser: &mut Browser, watched: &Watched) {
    browser.key("o");
    browser.wait_for("document.getElementById('picture').dataset.outlined === '0'");
    browser.key("o");

    let message = |browser: &mut Browser, words: &str| {
        browser.wait_for(&format!("document.getElementById('result').textContent.includes('{words}')"));
    };
    browser.key("s");
    message(browser, "nuclei to snapshot-");
    let folders = std::fs::read_dir(watched.bench.folder.path()).unwrap();
    let snapshot =
        folders.map(|entry| entry.unwrap().path()).find(|path| path.to_string_lossy().contains("snapshot-"));
    let evidence = std::fs::read_to_string(snapshot.unwrap().join("evidence.jsonl")).unwrap();
    assert!(serde_json::from_str::<Value>(&evidence).unwrap()["count"].as_u64().unwrap() > 0, "{evidence}");

    browser.value(
        "(() => { const light = document.getElementById('light'); light.value = 35; \
         light.dispatchEvent(new Event('change')); })()",
    );
    message(browser, "illumination 35 %");
    browser.wait_for("document.getElementById('light-value').textContent === '35 %'");

    let onnx = brightness_model(0.45);
    let digest = format!("{:#}", ModelDigest::of(&onnx));
    let send = |bytes: &[u8]| {
        format!(
            "fetch('/model?name=new.onnx', {{ method: 'POST', \
             body: Uint8Array.from(atob('{}'), c => c.charCodeAt(0)) }}).then(answer => answer.status)",
            STANDARD.encode(bytes)
        )
    };
    assert_eq!(browser.value(&send(b"no model")), 202);
    message(browser, "is not a model that a station accepts");
    let before = watched.recorded().len();
    assert_eq!(browser.value(&send(&onnx)), 202);
    message(browser, "new.onnx is confirmed and active");
    // The trial takes ten frames.
    assert!(watched.recorded().len() >= before + 10, "what was counted during the flash is not recorded");
    assert!(watched.is_gapless(), "counts are missing from the recording");
    browser.wait_for(&format!("document.getElementById('model').title === '{digest}'"));
}

#[test]
fn beyond_this_machine_the_page_asks_for_its_token() {
    let watched = Watched::new(Harness::simulated(), "0.0.0.0:0");
    let (before, token) = watched.address.split_once("?token=").unwrap();
    let port = before.trim_end_matches('/').rsplit_once(':').unwrap().1;
    let status = |path: &str, more: &str| {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: bench.lab:{port}\r\nConnection: close\r\n{more}\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status(&format!("/?token={token}"), ""), "200");
    assert_eq!(status("/", &format!("Cookie: nuclei-token-{port}={token}\r\n")), "200");
    for (path, more) in [
        ("/".to_owned(), String::new()),
        ("/follow".to_owned(), String::new()),
        (format!("/?token={}", token.replace(|c: char| c.is_ascii_digit(), "0")), String::new()),
        (format!("/?token={token}"), "Origin: http://evil.example\r\n".to_owned()),
    ] {
        assert_eq!(status(&path, &more), "403", "{path} {more}");
    }
}

#[test]
fn a_page_that_cannot_be_served_says_what_to_do() {
    let bench = Harness::simulated();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = bench.run(&["live", "--view", "page", "--listen", &address]);
    assert_eq!(output.status.code(), Some(2));
    let message = crate::harness::text(&output.stderr);
    assert!(message.contains(&address) && message.contains("--listen"), "{message}");
}
