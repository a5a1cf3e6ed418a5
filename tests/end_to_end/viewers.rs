//! Latency of counts on the page, and the cost of more viewers.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::{Message, client};

use crate::browser::Browser;
use crate::harness::Harness;
use crate::page::{CONNECTED, Watched};

/// For every painted count, records the time since exposure, ms, and the station's part of it.
const NOTE_LAGS: &str = "(() => { const shown = frame; window.lags = []; \
    frame = message => { shown(message); requestAnimationFrame(() => setTimeout(() => { \
    const station = Object.values(message.stages_ms).reduce((a, b) => a + b, 0); \
    lags.push([Date.now() - message.time_unix_ms, station]); })); }; })()";
const COUNTS: usize = 60;

/// Latencies of this many counts, ms: from exposure to the painted count, and from the station's result.
fn lags(browser: &mut Browser) -> [Vec<f64>; 2] {
    browser.value("window.lags.length = 0");
    browser.wait_for(&format!("window.lags.length >= {COUNTS}"));
    let lags = browser.value("window.lags");
    let lags: Vec<(f64, f64)> = lags
        .as_array()
        .unwrap()
        .iter()
        .map(|lag| (lag[0].as_f64().unwrap(), lag[1].as_f64().unwrap()))
        .collect();
    [lags.iter().map(|(lag, _)| *lag).collect(), lags.iter().map(|(lag, station)| lag - station).collect()]
        .map(|mut lags: Vec<f64>| {
            lags.sort_by(f64::total_cmp);
            lags
        })
}

/// The frames sent to a viewer, until it is stopped. A viewer that does not draw requests no image.
fn follow(address: &str, draws: bool, stop: &AtomicBool) -> Vec<u64> {
    let host = address.strip_prefix("http://").unwrap().trim_end_matches('/');
    let stream = TcpStream::connect(host).unwrap();
    let (mut socket, _) = client(format!("ws://{host}/follow"), stream).unwrap();
    let mut frames = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match socket.read().unwrap() {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                if message["kind"] == "frame" {
                    frames.push(message["frame"].as_u64().unwrap());
                }
            }
            Message::Binary(_) if draws => socket.send(Message::text("drawn")).unwrap(),
            _ => {}
        }
    }
    frames
}

#[test]
fn ten_viewers_see_every_count_as_soon_as_one_does() {
    let Some(mut browser) = Browser::start() else { return };
    let watched = Watched::new(Harness::simulated(), "127.0.0.1:0");
    browser.resize(1280, 860);
    browser.open(&watched.address);
    browser.wait_for(CONNECTED);
    browser.value(NOTE_LAGS);
    let mut measured = |viewers: usize| {
        let (start, before) = (Instant::now(), watched.live.cpu_seconds());
        let lags = lags(&mut browser);
        let load = (watched.live.cpu_seconds() - before) / start.elapsed().as_secs_f64();
        let [exposed, printed] = lags.each_ref().map(|lags| lags[lags.len() / 2]);
        let worst = lags[0].last().unwrap();
        eprintln!(
            "{viewers:2} viewers: a count is painted {printed:.0} ms after the station has it, {exposed:.0} ms after \
             the exposure (median of {COUNTS}; {worst:.0} at most); nuclei-host takes {:.1} % of a core",
            100.0 * load,
        );
        exposed
    };
    let alone = measured(1);
    let stop = AtomicBool::new(false);
    let (among_ten, seen) = std::thread::scope(|scope| {
        // Every third never reports that it has drawn; nobody waits for it.
        let viewers: Vec<_> = (0..9)
            .map(|viewer| {
                scope.spawn({
                    let (address, stop) = (&watched.address, &stop);
                    move || follow(address, viewer % 3 != 0, stop)
                })
            })
            .collect();
        let lag = measured(10);
        std::thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        (lag, viewers.into_iter().map(|viewer| viewer.join().unwrap()).collect::<Vec<_>>())
    });
    for frames in seen {
        assert!(frames.is_sorted_by(|a, b| a < b), "no count comes twice: {frames:?}");
        // On a busy machine a viewer may miss some.
        let span = frames[frames.len() - 1] - frames[0] + 1;
        assert!(frames.len() as f64 > 0.9 * span as f64, "{} of {span} counts", frames.len());
    }
    // A paint and a few packets, even on a busy machine.
    assert!(alone < 1500.0 && among_ten < 1500.0, "{alone} and {among_ten} ms");
}
