//! A real Mosquitto, a subscriber, and a proxy that can block a publisher.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{Client, Event, Incoming, MqttOptions};
use serde_json::Value;
use tempfile::TempDir;

use crate::browser::in_path;
use crate::harness::{Process, until};

/// Debian's path, which is not in every user's PATH.
const DEBIAN: &str = "/usr/sbin/mosquitto";
/// What the subscriber subscribes to.
const TOPICS: [&str; 2] = ["nuclei/#", "homeassistant/#"];

/// What a killed broker remembers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Sessions and messages, from the disk.
    Persistent,
    /// Nothing.
    None,
}

/// A broker on this machine.
pub struct Broker {
    process: Process,
    program: PathBuf,
    folder: TempDir,
    pub port: u16,
}

impl Broker {
    /// Starts one; `None`, with a message, if this machine has none.
    pub fn start(memory: Memory) -> Option<Self> {
        Self::with(memory, "")
    }

    /// Starts one with additional listeners.
    pub fn with(memory: Memory, listeners: &str) -> Option<Self> {
        let Some(program) =
            in_path("mosquitto").or_else(|| Some(DEBIAN.into()).filter(|path: &PathBuf| path.is_file()))
        else {
            eprintln!("SKIPPED: no Mosquitto on this machine; apt-get install mosquitto");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let persistence = match memory {
            Memory::Persistent => format!(
                "persistence true\npersistence_location {}/\nautosave_on_changes true\nautosave_interval 1\n",
                folder.path().display()
            ),
            Memory::None => "persistence false\n".to_owned(),
        };
        // Without limits of its own, it delivers a message to its subscriber before it acknowledges it.
        let settings = format!(
            "per_listener_settings true\nuser root\nmax_inflight_messages 0\nmax_queued_messages 0\n{persistence}\
             listener {port} 127.0.0.1\nallow_anonymous true\n{listeners}"
        );
        std::fs::write(folder.path().join("mosquitto.conf"), settings).unwrap();
        let process = start(&program, folder.path(), port);
        Some(Self { process, program, folder, port })
    }

    /// As `kill -9` does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub fn restart(&mut self) {
        self.process = start(&self.program, self.folder.path(), self.port);
    }

    /// Waits until subscriptions are on the disk.
    pub fn wait_until_saved(&self) {
        let database = self.folder.path().join("mosquitto.db");
        until("the broker has saved the subscriptions", || {
            let saved = std::fs::read(&database).ok()?;
            let holds = |topic: &str| saved.windows(topic.len()).any(|bytes| bytes == topic.as_bytes());
            TOPICS.into_iter().all(holds).then_some(())
        });
    }
}

fn start(program: &Path, folder: &Path, port: u16) -> Process {
    let mut command = Command::new(program);
    command.arg("-c").arg(folder.join("mosquitto.conf"));
    let process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    until("the broker listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    process
}

/// A received message.
#[derive(Debug, Clone)]
pub struct Received {
    pub topic: String,
    pub content: String,
}

/// Records the broker's messages, and reconnects when the broker returns.
pub struct Subscriber {
    received: Arc<Mutex<Vec<Received>>>,
    subscribed: Arc<AtomicUsize>,
}

impl Subscriber {
    /// A subscriber with a session at the broker.
    pub fn new(port: u16) -> Self {
        let mut options = MqttOptions::new("subscriber", "127.0.0.1", port);
        options.set_clean_start(false).set_session_expiry_interval(Some(3600));
        let (client, mut connection) = Client::new(options, TOPICS.len());
        let subscriber = Self { received: Arc::default(), subscribed: Arc::default() };
        let (received, subscribed) = (Arc::clone(&subscriber.received), Arc::clone(&subscriber.subscribed));
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Incoming::ConnAck(ack))) if !ack.session_present => {
                        for topic in TOPICS {
                            client.subscribe(topic, QoS::AtLeastOnce).unwrap();
                        }
                    }
                    Ok(Event::Incoming(Incoming::SubAck(_))) => {
                        subscribed.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(Event::Incoming(Incoming::Publish(message))) => {
                        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                        let message =
                            Received { topic: text(&message.topic), content: text(&message.payload) };
                        received.lock().unwrap().push(message);
                    }
                    Ok(_) => {}
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        subscriber.wait_until_subscribed(1);
        subscriber
    }

    /// Waits until it has subscribed this many times: once, and again to each broker without its session.
    pub fn wait_until_subscribed(&self, times: usize) {
        until("the subscriber has subscribed", || {
            (self.subscribed.load(Ordering::SeqCst) >= times * TOPICS.len()).then_some(())
        });
    }

    /// The messages of a topic, in order.
    pub fn on(&self, topic: &str) -> Vec<String> {
        let received = self.received.lock().unwrap();
        received
            .iter()
            .filter(|message| message.topic == topic)
            .map(|message| message.content.clone())
            .collect()
    }

    /// The received counts of a station, in order.
    pub fn counts(&self, station: &str) -> Vec<Value> {
        let counts = self.on(&format!("nuclei/{station}/count"));
        counts.iter().map(|content| serde_json::from_str(content).unwrap()).collect()
    }

    /// Waits until the last message of a topic is this one.
    pub fn wait_for(&self, topic: &str, content: &str) {
        until(&format!("{topic} is {content}"), || {
            (self.on(topic).last().map(String::as_str) == Some(content)).then_some(())
        });
    }

    /// Waits until this many more counts of a station have arrived.
    pub fn wait_for_counts(&self, station: &str, more: usize) {
        let before = self.counts(station).len();
        until("more counts come", || (self.counts(station).len() >= before + more).then_some(()));
    }
}

/// A proxy to the broker that can be closed.
pub struct Gate {
    pub port: u16,
    is_open: Arc<AtomicBool>,
}

impl Gate {
    /// An open one to the broker at that port.
    pub fn new(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate =
            Self { port: listener.local_addr().unwrap().port(), is_open: Arc::new(AtomicBool::new(true)) };
        let is_open = Arc::clone(&gate.is_open);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                if !is_open.load(Ordering::SeqCst) {
                    continue;
                }
                if let Ok(broker) = TcpStream::connect(("127.0.0.1", broker)) {
                    pass(stream.try_clone().unwrap(), broker.try_clone().unwrap());
                    pass(broker, stream);
                }
            }
        });
        gate
    }

    pub fn shut(&self) {
        self.is_open.store(false, Ordering::SeqCst);
    }

    pub fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}
