//! Counts at an MQTT broker, whatever happens to the broker and the station.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{ChildStdout, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bench::{Bench, Process, next_line, rest, text, until};
use crate::broker::{Broker, Gate, Memory, Subscriber};
use crate::fixture::brightness_model;

/// A host that publishes.
struct Publisher {
    process: Process,
    lines: BufReader<ChildStdout>,
    metrics: String,
}

impl Publisher {
    fn start(command: &mut Command, port: u16, more: &[&str]) -> Self {
        command.args(["--broker", &format!("mqtt://127.0.0.1:{port}"), "--prometheus", "127.0.0.1:0"]);
        let mut process = Process::start(command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut lines = process.stdout();
        let line = next_line(&mut lines).unwrap_or_else(|| panic!("{}", rest(process.stderr())));
        let metrics = line.strip_prefix("metrics are at http://").unwrap().to_owned();
        let line = next_line(&mut lines).unwrap_or_else(|| panic!("{}", rest(process.stderr())));
        assert!(line.starts_with("publishing to "), "{line}");
        Self { process, lines, metrics }
    }

    /// What Prometheus is told now: each line's number, by what stands before it.
    fn metrics(&self) -> BTreeMap<String, u64> {
        let (address, path) = self.metrics.split_once('/').unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("openmetrics-text"), "{head}");
        let lines = body.lines().filter(|line| line.starts_with("nuclei_"));
        lines
            .map(|line| {
                let (name, number) = line.rsplit_once(' ').unwrap();
                (name.to_owned(), number.parse().unwrap())
            })
            .collect()
    }

    fn wait_until(&self, name: &str, is_so: impl Fn(u64) -> bool) {
        until(name, || self.metrics().get(name).is_some_and(|&number| is_so(number)).then_some(()));
    }

    /// Ends it by ctrl-C: the exit code, and what it tells.
    fn end(mut self) -> (Option<i32>, String, String) {
        self.process.signal(Signal::SIGINT);
        let told = rest(self.lines);
        let complained = rest(self.process.stderr());
        (self.process.wait().code(), told, complained)
    }
}

/// The counts that were published by what a publisher tells at its end.
fn published(told: &str) -> usize {
    let number = told.lines().last().and_then(|line| line.strip_suffix(" counts published, 0 dropped"));
    number.unwrap_or_else(|| panic!("{told}")).parse().unwrap()
}

fn frame(count: &Value) -> u64 {
    count["frame"].as_u64().unwrap()
}

/// The counts without those that came again. Each comes again as it was, and only under an identity that came before.
fn once(counts: Vec<Value>) -> Vec<Value> {
    let mut first: Vec<Value> = Vec::new();
    for count in counts {
        match first.iter().find(|known| known["id"] == count["id"]) {
            Some(known) => assert_eq!(known, &count),
            None => first.push(count),
        }
    }
    first
}

/// Asserts that no frame is missing, doubled or out of order.
fn assert_whole(counts: &[Value]) {
    let frames: Vec<u64> = counts.iter().map(frame).collect();
    assert!(
        frames.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "missing, doubled or out of order: {frames:?}"
    );
}

/// Kills the broker again and again while a station's counts are published to it, and starts it anew each time.
fn outages(memory: Memory) {
    let Some(mut broker) = Broker::start(memory) else { return };
    let bench = Bench::simulated();
    bench.flash("model.onnx", &brightness_model(0.4));
    let gate = Gate::new(broker.port);
    let subscriber = Subscriber::new(broker.port);
    let port = match memory {
        Memory::Persistent => {
            broker.wait_until_saved();
            broker.port
        }
        Memory::None => gate.port,
    };
    let publisher = Publisher::start(&mut bench.host(&["publish"]), port, &[]);
    let kills = 3;
    for kill in 1..=kills {
        subscriber.wait_for_counts("bench", 20);
        broker.kill();
        publisher.wait_until("nuclei_queued_counts", |queued| queued >= 20);
        gate.shut();
        broker.restart();
        if memory == Memory::None {
            // A broker that has forgotten its subscribers gives what comes before they are back to nobody.
            subscriber.wait_until_subscribed(1 + kill);
        }
        gate.open();
    }
    subscriber.wait_for_counts("bench", 20);

    let (code, told, complained) = publisher.end();
    assert_eq!(code, Some(0), "{complained}");
    assert_eq!(complained.matches("the broker is lost").count(), kills, "{complained}");
    let number = published(&told);
    until("all counts are there", || (once(subscriber.counts("bench")).len() == number).then_some(()));
    let counts = subscriber.counts("bench");
    let twice = counts.len() - number;
    println!(
        "{number} counts, {kills} times without a broker: none missing, {twice} came twice under one id"
    );
    assert_whole(&once(counts));
}

#[test]
fn a_broker_that_is_killed_costs_no_count() {
    outages(Memory::Persistent);
}

#[test]
fn nor_does_one_that_forgets_everything() {
    outages(Memory::None);
}

#[test]
fn several_stations_are_published_with_their_state() {
    let Some(broker) = Broker::start(Memory::None) else { return };
    let (mut bench, mut other) = (Bench::simulated(), Bench::simulated());
    let digest = bench.flash("model.onnx", &brightness_model(0.4));
    other.flash("model.onnx", &brightness_model(0.4));
    let second = other.line.host_end();
    let publish = ["publish", "--discovery", "--port", second.to_str().unwrap()];
    let address = format!("mqtt://127.0.0.1:{}", broker.port);
    let output = bench.run(&[&publish[..], &["--broker", &address]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("two of the stations would be bench"), "{output:?}");

    let settings = std::fs::read_to_string(other.path("station.toml")).unwrap();
    other.write("station.toml", settings.replace("\"bench\"", "\"hood 2\"").as_bytes());
    other.restart_station();
    other.wait_until_ready();

    let subscriber = Subscriber::new(broker.port);
    let publisher = Publisher::start(&mut bench.host(&publish), broker.port, &[]);
    subscriber.wait_for_counts("bench", 10);
    subscriber.wait_for_counts("hood_2", 10);
    subscriber.wait_for("nuclei/bench/status", "online");
    subscriber.wait_for("nuclei/hood_2/status", "online");
    subscriber.wait_for("nuclei/host/nuclei-host-bench-hood_2/status", "online");
    let found = &subscriber.on("homeassistant/sensor/nuclei_hood_2/count/config")[0];
    let found: Value = serde_json::from_str(found).unwrap();
    assert_eq!(found["state_topic"], "nuclei/hood_2/count");
    assert_eq!(found["device"]["name"], "hood 2");
    assert_eq!(subscriber.counts("hood_2")[0]["station"], "hood 2");
    assert_eq!(subscriber.counts("bench")[0]["model"], digest.as_str());

    // One station goes: its counts are settled, the other's go on.
    bench.station.kill();
    subscriber.wait_for("nuclei/bench/status", "offline");
    subscriber.wait_for_counts("hood_2", 10);
    let metrics = publisher.metrics();
    let counts = subscriber.counts("bench");
    let last = counts.last().unwrap();
    let of_bench = |name: &str| metrics[&format!("nuclei_{name}{{station=\"bench\"}}")];
    assert_eq!(of_bench("station_up"), 0);
    assert_eq!(of_bench("frames_total"), counts.len() as u64);
    assert_eq!(of_bench("frame"), frame(last));
    assert_eq!(of_bench("count"), last["count"].as_u64().unwrap());
    assert_eq!((metrics["nuclei_broker_up"], metrics["nuclei_dropped_counts_total"]), (1, 0));
    assert_eq!(metrics["nuclei_station_up{station=\"hood_2\"}"], 1);
    assert_whole(&counts);

    bench.restart_station();
    subscriber.wait_for("nuclei/bench/status", "online");
    subscriber.wait_for_counts("bench", 10);
    let (code, told, complained) = publisher.end();
    assert_eq!(code, Some(0), "{complained}");
    for topic in ["bench", "hood_2", "host/nuclei-host-bench-hood_2"] {
        subscriber.wait_for(&format!("nuclei/{topic}/status"), "offline");
    }
    let number = published(&told);
    let counts = || [subscriber.counts("bench"), subscriber.counts("hood_2")].concat();
    until("all counts are there", || (counts().len() >= number).then_some(()));
    let counts = counts();
    let ids: HashSet<&str> = counts.iter().map(|count| count["id"].as_str().unwrap()).collect();
    assert_eq!((counts.len(), ids.len()), (number, number));
    assert_whole(&subscriber.counts("hood_2"));
}

#[test]
fn what_a_full_queue_drops_is_counted_and_told() {
    let Some(mut broker) = Broker::start(Memory::None) else { return };
    let bench = Bench::simulated();
    bench.flash("model.onnx", &brightness_model(0.4));
    let mut publisher = Publisher::start(&mut bench.host(&["publish"]), broker.port, &["--queue", "5"]);
    publisher.wait_until("nuclei_published_counts_total", |published| published >= 5);
    broker.kill();
    publisher.wait_until("nuclei_dropped_counts_total", |dropped| dropped >= 5);
    let metrics = publisher.metrics();
    assert_eq!(metrics["nuclei_broker_up"], 0);

    // Nor is it kept quiet what the end leaves behind.
    publisher.process.signal(Signal::SIGINT);
    assert_eq!(publisher.process.wait().code(), Some(1));
    let complained = rest(publisher.process.stderr());
    assert_eq!(complained.matches("5 counts wait for the broker, as many as may").count(), 1, "{complained}");
    assert!(complained.contains(" counts did not reach the broker"), "{complained}");
}

#[test]
fn a_host_that_is_killed_is_told_to_be_away() {
    let Some(broker) = Broker::start(Memory::None) else { return };
    let bench = Bench::simulated();
    let subscriber = Subscriber::new(broker.port);
    let mut publisher = Publisher::start(&mut bench.host(&["publish"]), broker.port, &["--client", "pc"]);
    subscriber.wait_for("nuclei/host/pc/status", "online");
    publisher.process.kill();
    subscriber.wait_for("nuclei/host/pc/status", "offline");
}

#[test]
fn what_cannot_be_published_says_why() {
    let bench = Bench::simulated();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = format!("mqtt://{free}");
    let strict = format!("mqtt://{}", strict_broker());
    for (arguments, code, words) in [
        (&["--broker", "broker.lab"][..], 2, "it is written mqtt://HOST"),
        (&["--broker", "mqtts://broker.lab"], 2, "without encryption"),
        (&["--broker", "mqtt://broker.lab", "--topic", "a/b"], 2, "letters, digits"),
        (&["--broker", "mqtt://broker.lab", "--queue", "0"], 2, "--queue"),
        (&["--broker", "mqtt://broker.lab", "--user", "bench"], 2, "NUCLEI_MQTT_PASSWORD"),
        (
            &["--broker", "mqtt://broker.lab", "--prometheus", &taken],
            2,
            "name another address with --prometheus",
        ),
        (&["--broker", &strict], 1, "say who you are with --user"),
        (&["--broker", &nowhere], 1, "start the broker, or name another"),
        (
            &["--broker", "mqtt://broker.lab", "--port", "/dev/ttyNotThere7"],
            4,
            "there is no port /dev/ttyNotThere7",
        ),
    ] {
        let output = bench.run(&[&["publish"], arguments].concat());
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
}

/// The address of a broker that lets nobody in.
fn strict_broker() -> SocketAddr {
    /// MQTT 5's CONNACK with reason 0x87, not authorised.
    const NOT_AUTHORISED: [u8; 5] = [0x20, 3, 0, 0x87, 0];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(&NOT_AUTHORISED).unwrap();
        // Until the other side has gone: closing before would take the answer back.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    address
}
