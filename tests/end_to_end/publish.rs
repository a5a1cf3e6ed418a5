//! Counts at an MQTT broker, through failures of broker and station.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{ChildStdout, Command, Stdio};

use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;

use crate::broker::{Broker, Gate, Memory, Subscriber};
use crate::browser::in_path;
use crate::fixture::brightness_model;
use crate::harness::{Harness, Process, next_line, program, rest, text, until};

/// A host that publishes.
struct Publisher {
    process: Process,
    lines: BufReader<ChildStdout>,
    metrics: String,
}

impl Publisher {
    fn start(command: &mut Command, port: u16, more: &[&str]) -> Self {
        Self::of(&format!("mqtt://127.0.0.1:{port}"), command, more)
    }

    /// One for the broker at that address.
    fn of(broker: &str, command: &mut Command, more: &[&str]) -> Self {
        command.args(["--broker", broker, "--prometheus", "127.0.0.1:0"]);
        let mut process = Process::start(command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut lines = process.stdout();
        let line = next_line(&mut lines).unwrap_or_else(|| panic!("{}", rest(process.stderr())));
        let metrics = line.strip_prefix("metrics are at http://").unwrap().to_owned();
        let line = next_line(&mut lines).unwrap_or_else(|| panic!("{}", rest(process.stderr())));
        assert!(line.starts_with("publishing to "), "{line}");
        Self { process, lines, metrics }
    }

    /// The current Prometheus metrics: value by name and labels.
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

    /// Stops it with Ctrl-C: exit code and output.
    fn end(mut self) -> (Option<i32>, String, String) {
        self.process.signal(Signal::SIGINT);
        let message = rest(self.lines);
        let complained = rest(self.process.stderr());
        (self.process.wait().code(), message, complained)
    }
}

/// The number of published counts according to the publisher's last line.
fn published(message: &str) -> usize {
    let number = message.lines().last().and_then(|line| line.strip_suffix(" counts published, 0 dropped"));
    number.unwrap_or_else(|| panic!("{message}")).parse().unwrap()
}

fn frame(count: &Value) -> u64 {
    count["frame"].as_u64().unwrap()
}

/// The counts without duplicates. A duplicate must be identical and have the id of an earlier count.
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

/// Repeatedly kills and restarts the broker while a station's counts are published to it.
fn outages(memory: Memory) {
    let Some(mut broker) = Broker::start(memory) else { return };
    let bench = Harness::simulated();
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
            // A broker without sessions delivers to nobody until its subscribers are back.
            subscriber.wait_until_subscribed(1 + kill);
        }
        gate.open();
    }
    subscriber.wait_for_counts("bench", 20);

    let (code, message, complained) = publisher.end();
    assert_eq!(code, Some(0), "{complained}");
    assert_eq!(complained.matches("broker disconnected").count(), kills, "{complained}");
    let number = published(&message);
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
fn counts_survive_a_broker_that_forgets_everything() {
    outages(Memory::None);
}

#[test]
fn several_stations_are_published_with_their_state() {
    let Some(broker) = Broker::start(Memory::None) else { return };
    let (mut bench, mut other) = (Harness::simulated(), Harness::simulated());
    let digest = bench.flash("model.onnx", &brightness_model(0.4));
    other.flash("model.onnx", &brightness_model(0.4));
    let second = other.line.host_end();
    let publish = ["publish", "--discovery", "--client", "pc", "--port", second.to_str().unwrap()];
    let address = format!("mqtt://127.0.0.1:{}", broker.port);
    let output = bench.run(&[&publish[..], &["--broker", &address]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("two stations have the name bench"), "{output:?}");

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
    subscriber.wait_for("nuclei/host/pc/status", "online");
    let found = &subscriber.on("homeassistant/sensor/nuclei_hood_2/count/config")[0];
    let found: Value = serde_json::from_str(found).unwrap();
    assert_eq!(found["state_topic"], "nuclei/hood_2/count");
    assert_eq!(found["device"]["name"], "hood 2");
    assert_eq!(subscriber.counts("hood_2")[0]["station"], "hood 2");
    assert_eq!(subscriber.counts("bench")[0]["model"], digest.as_str());

    // One station disconnects; the other's counts continue.
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
    let (code, message, complained) = publisher.end();
    assert_eq!(code, Some(0), "{complained}");
    for topic in ["bench", "hood_2", "host/pc"] {
        subscriber.wait_for(&format!("nuclei/{topic}/status"), "offline");
    }
    let number = published(&message);
    let counts = || [subscriber.counts("bench"), subscriber.counts("hood_2")].concat();
    until("all counts are there", || (counts().len() >= number).then_some(()));
    let counts = counts();
    let ids: HashSet<&str> = counts.iter().map(|count| count["id"].as_str().unwrap()).collect();
    assert_eq!((counts.len(), ids.len()), (number, number));
    assert_whole(&subscriber.counts("hood_2"));
}

#[test]
fn what_a_full_queue_drops_is_counted_and_reported() {
    let Some(mut broker) = Broker::start(Memory::None) else { return };
    let bench = Harness::simulated();
    bench.flash("model.onnx", &brightness_model(0.4));
    let mut publisher =
        Publisher::start(&mut bench.host(&["publish"]), broker.port, &["--queue-capacity", "5"]);
    publisher.wait_until("nuclei_published_counts_total", |published| published >= 5);
    broker.kill();
    publisher.wait_until("nuclei_dropped_counts_total", |dropped| dropped >= 5);
    let metrics = publisher.metrics();
    assert_eq!(metrics["nuclei_broker_up"], 0);

    // Counts left behind at the end are reported.
    publisher.process.signal(Signal::SIGINT);
    assert_eq!(publisher.process.wait().code(), Some(1));
    let complained = rest(publisher.process.stderr());
    assert_eq!(complained.matches("the queue is full (5 counts)").count(), 1, "{complained}");
    assert!(complained.contains(" counts did not reach the broker"), "{complained}");
}

#[test]
fn a_killed_host_is_published_as_away() {
    let Some(broker) = Broker::start(Memory::None) else { return };
    let bench = Harness::simulated();
    let subscriber = Subscriber::new(broker.port);
    let mut publisher = Publisher::start(&mut bench.host(&["publish"]), broker.port, &["--client", "pc"]);
    subscriber.wait_for("nuclei/host/pc/status", "online");
    publisher.process.kill();
    subscriber.wait_for("nuclei/host/pc/status", "offline");
}

#[test]
fn what_cannot_be_published_says_why() {
    let bench = Harness::simulated();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let strict = format!("mqtt://{}", strict_broker());
    for (arguments, code, words) in [
        (&["--broker", "broker.lab"][..], 2, "expected mqtt://HOST"),
        (&["--broker", "mqtt://broker.lab", "--ca", "ca.pem"], 2, "write mqtts:// in --broker"),
        (&["--broker", "mqtts://broker.lab", "--cert", "host.pem"], 2, "--key <FILE>"),
        (
            &["--broker", "mqtts://broker.lab", "--ca", "/dev/null"],
            2,
            "/dev/null cannot be read: it is a pipe or a device",
        ),
        (&["--broker", "mqtts://broker.lab", "--ca", "/nowhere/ca.pem"], 2, "/nowhere/ca.pem cannot be read"),
        (&["--broker", "mqtt://broker.lab", "--queue", "5"], 2, "--queue-capacity sets how many"),
        (&["--broker", "mqtt://broker.lab", "--queue", "/proc/queue"], 1, "that this user can write to"),
        (&["--broker", "mqtt://broker.lab", "--topic", "a/b"], 2, "letters, digits"),
        (&["--broker", "mqtt://broker.lab", "--queue-bound", "0"], 2, "--queue-capacity"),
        (&["--broker", "mqtt://broker.lab", "--login", "/nowhere/login"], 2, "/nowhere/login cannot be read"),
        (
            &["--broker", "mqtt://broker.lab", "--prometheus", &taken],
            2,
            "choose another address with --prometheus",
        ),
        (&["--broker", &strict], 1, "give user and password with --login"),
    ] {
        let output = bench.run(&[&["publish"], arguments].concat());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(message.contains(words), "{arguments:?}: {message}");
    }
}

/// The address of a broker that rejects everybody.
fn strict_broker() -> SocketAddr {
    /// MQTT 5's CONNACK with reason 0x87, not authorized.
    const NOT_AUTHORISED: [u8; 5] = [0x20, 3, 0, 0x87, 0];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(&NOT_AUTHORISED).unwrap();
        // Until the other side has closed, since closing earlier would discard the response.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    address
}

#[test]
fn a_publisher_that_is_killed_loses_no_count() {
    let Some(mut broker) = Broker::start(Memory::Persistent) else { return };
    let bench = Harness::simulated();
    bench.flash("model.onnx", &brightness_model(0.4));
    let subscriber = Subscriber::new(broker.port);
    broker.wait_until_saved();
    let queue = bench.path("queue");
    let start = |port| {
        let publish = ["publish", "--queue", queue.to_str().unwrap()];
        Publisher::start(&mut bench.host(&publish), port, &[])
    };
    // The last count that each publisher had before it was killed, with and without a broker.
    let mut seen = Vec::new();
    for with_broker in [false, true, false] {
        let mut publisher = start(broker.port);
        // Its own counts, besides the earlier ones.
        publisher.wait_until("nuclei_frames_total{station=\"bench\"}", |frames| frames >= 15);
        if !with_broker {
            broker.kill();
            publisher.wait_until("nuclei_queued_counts", |queued| queued >= 20);
        }
        seen.push(publisher.metrics()["nuclei_frame{station=\"bench\"}"]);
        publisher.process.kill();
        if !with_broker {
            broker.restart();
        }
    }
    let publisher = start(broker.port);
    publisher.wait_until("nuclei_published_counts_total", |published| published >= 40);
    let (code, _, complained) = publisher.end();
    assert_eq!(code, Some(0), "{complained}");
    assert!(complained.contains(" from an earlier run"), "{complained}");

    let all = subscriber.counts("bench");
    let counts = once(all.clone());
    let frames: Vec<u64> = counts.iter().map(frame).collect();
    println!("{} counts, 3 kills, {} came twice under one id", frames.len(), all.len() - frames.len());
    assert!(frames.is_sorted_by(|a, b| a < b), "out of order: {frames:?}");
    // Without a publisher, counts may be missed: at most one gap per kill, after the last count it had.
    let gaps = frames.windows(2).filter(|pair| pair[1] > pair[0] + 1);
    let kills: Vec<usize> = gaps.map(|gap| seen.iter().filter(|&&seen| seen <= gap[0]).count()).collect();
    assert!(kills.first() != Some(&0) && kills.is_sorted_by(|a, b| a < b), "{kills:?} {seen:?} {frames:?}");
    assert!(seen.iter().all(|seen| frames.contains(seen)), "{seen:?} {frames:?}");
}

#[test]
fn a_broker_and_a_station_that_come_later_are_joined() {
    let Some(mut broker) = Broker::start(Memory::None) else { return };
    let bench = Harness::simulated();
    bench.flash("model.onnx", &brightness_model(0.4));
    broker.kill();
    let port = bench.path("port");
    let mut command = Command::new(program("nuclei-host"));
    command.arg("publish").arg("--port").arg(&port);
    let mut publisher = Publisher::start(&mut command, broker.port, &[]);
    std::os::unix::fs::symlink(bench.line.host_end(), &port).unwrap();
    publisher.wait_until("nuclei_queued_counts", |queued| queued >= 5);
    assert_eq!(publisher.metrics()["nuclei_broker_up"], 0);
    broker.restart();
    let subscriber = Subscriber::new(broker.port);
    subscriber.wait_for("nuclei/bench/status", "online");
    subscriber.wait_for_counts("bench", 5);
    publisher.process.signal(Signal::SIGINT);
    assert_eq!(publisher.process.wait().code(), Some(0));
    let complained = rest(publisher.process.stderr());
    let message = ["does not exist", "no broker at", "bench: station connected on", "broker connected; "];
    for words in message {
        assert_eq!(
            complained.lines().filter(|line| line.contains(words)).count(),
            1,
            "{words}\n{complained}"
        );
    }
}

#[test]
fn an_encrypted_connection_is_made_with_those_alone_who_are_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (lab, other) = (Authority::new("lab"), Authority::new("other"));
    std::fs::write(path("lab.pem"), lab.pem()).unwrap();
    std::fs::write(path("other.pem"), other.pem()).unwrap();
    for (name, authority, of) in
        [("broker", &lab, "127.0.0.1"), ("host", &lab, "pc"), ("stranger", &other, "pc")]
    {
        let (certificate, key) = authority.certify(of);
        std::fs::write(path(&format!("{name}.pem")), certificate).unwrap();
        std::fs::write(path(&format!("{name}.key")), key).unwrap();
    }
    for (name, text, mode) in [
        ("login", "bench\nsecret\n", 0o600),
        ("wrong", "bench\nwrong\n", 0o600),
        ("open", "bench\nsecret\n", 0o644),
    ] {
        std::fs::write(path(name), text).unwrap();
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let Some(passwords) = in_path("mosquitto_passwd") else {
        eprintln!("SKIPPED: no mosquitto_passwd on this machine; apt-get install mosquitto");
        return;
    };
    let mut command = Command::new(passwords);
    command.args(["-b", "-c", &path("passwords"), "bench", "secret"]);
    assert!(command.output().unwrap().status.success());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listener = format!(
        "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\ncafile {}\ncertfile {}\nkeyfile {}\n\
         require_certificate true\n",
        path("passwords"),
        path("lab.pem"),
        path("broker.pem"),
        path("broker.key")
    );
    let Some(broker) = Broker::with(Memory::None, &listener) else { return };
    let bench = Harness::simulated();
    bench.flash("model.onnx", &brightness_model(0.4));
    let with = |authority: &str, host: &str, login: &str| {
        let (certificate, key) = (path(&format!("{host}.pem")), path(&format!("{host}.key")));
        ["--ca", &path(authority), "--cert", &certificate, "--key", &key, "--login", &path(login)]
            .map(str::to_owned)
            .to_vec()
    };
    let right = with("lab.pem", "host", "login");
    let here = format!("mqtts://127.0.0.1:{port}");
    let by_name = format!("mqtts://localhost:{port}");
    let plain = format!("mqtts://127.0.0.1:{}", broker.port);
    let unencrypted = format!("mqtt://127.0.0.1:{port}");
    for (address, arguments, code, words) in [
        (&here, with("other.pem", "host", "login"), 1, "is not signed by a CA that this host trusts"),
        (&here, with("lab.pem", "stranger", "login"), 1, "it does not trust this host"),
        (&here, with("lab.pem", "host", "wrong"), 1, "give user and password with --login"),
        (&here, with("lab.pem", "host", "open"), 2, "is readable by other users (mode 644)"),
        (&by_name, right.clone(), 1, "its certificate is for another name"),
        (&plain, right.clone(), 1, "the TLS handshake failed"),
        (&unencrypted, right.clone(), 2, "has no encryption"),
    ] {
        let output = bench.host(&["publish", "--broker", address]).args(&arguments).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(message.contains(words), "{arguments:?}: {message}");
        assert_eq!(message.lines().count(), 2, "one line, and what to do: {message}");
    }

    let subscriber = Subscriber::new(broker.port);
    let right: Vec<&str> = right.iter().map(String::as_str).collect();
    let publisher = Publisher::of(&here, &mut bench.host(&["publish"]), &right);
    subscriber.wait_for_counts("bench", 10);
    let (code, message, complained) = publisher.end();
    assert_eq!((code, complained.as_str()), (Some(0), ""));
    let number = published(&message);
    until("all counts are there", || (subscriber.counts("bench").len() >= number).then_some(()));
    assert_whole(&subscriber.counts("bench"));

    // Credentials from the environment, and the warning about plain connections.
    let mut command = bench.host(&["publish"]);
    command.env("NUCLEI_MQTT_USER", "bench").env("NUCLEI_MQTT_PASSWORD", "secret");
    let publisher = Publisher::of(&here, &mut command, &right[..6]);
    subscriber.wait_for_counts("bench", 3);
    assert_eq!(publisher.end().0, Some(0));
    let publisher = Publisher::start(&mut bench.host(&["publish"]), broker.port, &right[6..]);
    let (_, _, complained) = publisher.end();
    assert!(complained.contains("without encryption"), "{complained}");
}

/// Who signs certificates.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self { params, key: KeyPair::generate().unwrap() }
    }

    fn pem(&self) -> String {
        self.params.self_signed(&self.key).unwrap().pem()
    }

    /// A certificate for a name or an address, and its private key.
    fn certify(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = Issuer::from_params(&self.params, &self.key);
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    }
}
