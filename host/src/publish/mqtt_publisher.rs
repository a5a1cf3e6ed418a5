//! The connection to the broker.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use host_console::{Failure, warning};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, PubAckReason};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, StateError};
use rumqttc::{Outgoing, TlsConfiguration, Transport};
use rustls::client::ClientConfig;
use thiserror::Error;
use tokio::runtime::Runtime;

use super::broker_address::BrokerAddress;
use super::credentials::Credentials;
use super::message::MessageKind;
use super::outbox::{MAX_IN_FLIGHT, Outbox};
use super::tls::TlsTrustError;
use super::topics::{OFFLINE, ONLINE, Topics};

/// A connection that is silent for longer is closed, by either side.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Pause between attempts to connect to the broker.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Time allowed for queued messages at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How to connect to the broker.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    /// User and password.
    pub credentials: Option<Credentials>,
    /// TLS settings; `None` for a connection without encryption.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Why publishing failed.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// There is no connection; the message names its causes.
    #[error("{0}")]
    Connection(Box<ConnectionError>),
    /// The two sides do not trust each other's certificates.
    #[error(transparent)]
    Trust(TlsTrustError),
    /// The connection closed while a message was sent.
    #[error("the connection has ended")]
    Ended,
    /// This machine cannot make a connection.
    #[error("this machine cannot open connections: {0}")]
    System(#[from] std::io::Error),
}

impl BrokerError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::Connection(error) => matches!(**error, ConnectionError::ConnectionRefused(_)),
            Self::Trust(_) => true,
            Self::Ended | Self::System(_) => false,
        }
    }

    fn next_step(&self) -> &'static str {
        match self {
            Self::Trust(error) => error.next_step(),
            refusal if refusal.is_refusal() => "give user and password with --login",
            _ => "start the broker, or give another with --broker",
        }
    }
}

impl From<ConnectionError> for BrokerError {
    fn from(error: ConnectionError) -> Self {
        let trust = match &error {
            // This one does not expose its source.
            ConnectionError::MqttState(StateError::Deserialization(read)) => TlsTrustError::behind(read),
            ConnectionError::Tls(error) => {
                TlsTrustError::behind(error).or_else(|| Some(TlsTrustError::Other(error.to_string())))
            }
            error => TlsTrustError::behind(error),
        };
        trust.map_or_else(|| Self::Connection(Box::new(error)), Self::Trust)
    }
}

/// Sends the messages of an [`Outbox`] to the broker, on a thread of its own.
#[derive(Debug)]
pub struct MqttPublisher {
    outbox: Arc<Outbox>,
    topics: Topics,
    thread: JoinHandle<()>,
}

impl MqttPublisher {
    /// Connects to the broker, and retries for as long as it is not available.
    ///
    /// # Errors
    /// [`Failure`] when the broker rejects this host, or this host does not trust the broker.
    pub fn start(
        address: &BrokerAddress,
        connect_options: ConnectOptions,
        topics: Topics,
        outbox: Arc<Outbox>,
    ) -> Result<Self, Failure> {
        let mut options = MqttOptions::new(topics.client.to_string(), &address.host, address.port);
        // The outbox knows what to resend, so that the broker needs no session.
        options.set_clean_start(true);
        options.set_keep_alive(KEEP_ALIVE);
        options.set_outgoing_inflight_upper_limit(MAX_IN_FLIGHT as u16);
        options.set_last_will(LastWill::new(topics.host_status(), OFFLINE, QoS::AtLeastOnce, true, None));
        if let Some(Credentials { user, password }) = connect_options.credentials {
            options.set_credentials(user, password);
        }
        if let Some(tls) = connect_options.tls {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
        }
        let failed = |error: BrokerError| {
            Failure::failed(format!("cannot publish to the broker at {address}: {error}"), error.next_step())
        };
        let system = |error| failed(BrokerError::System(error));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
        let connection = match runtime.block_on(connect(&options)) {
            Ok(connection) => Some(connection),
            Err(error) if error.is_refusal() => return Err(failed(error)),
            Err(error) => {
                warning!("no broker at {address}: {error}; counts are queued");
                None
            }
        };
        outbox.set_state(topics.host_status(), ONLINE.to_owned());
        let shared = Arc::clone(&outbox);
        let thread = std::thread::spawn(move || run(&runtime, &options, connection, &shared));
        Ok(Self { outbox, topics, thread })
    }

    /// Gives queued messages a few seconds to reach the broker; how many counts did not.
    pub fn finish(self) -> usize {
        self.outbox.set_state(self.topics.host_status(), OFFLINE.to_owned());
        self.outbox.close();
        let until = Instant::now() + DRAIN_TIMEOUT;
        while !self.thread.is_finished() && Instant::now() < until {
            std::thread::sleep(POLL_INTERVAL);
        }
        self.outbox.queued()
    }
}

/// A connection that the broker has accepted. Each has a client of its own: a client that reconnects drops what was
/// not acknowledged where the broker has no session for it.
struct BrokerConnection {
    client: AsyncClient,
    events: EventLoop,
}

async fn connect(options: &MqttOptions) -> Result<BrokerConnection, BrokerError> {
    let (client, mut events) = AsyncClient::new(options.clone(), MAX_IN_FLIGHT);
    while !matches!(events.poll().await?, Event::Incoming(Incoming::ConnAck(_))) {}
    Ok(BrokerConnection { client, events })
}

/// Publishes until the outbox is drained, over as many connections as that takes.
fn run(runtime: &Runtime, options: &MqttOptions, first: Option<BrokerConnection>, outbox: &Outbox) {
    let mut next = first;
    loop {
        let connection = next.take().unwrap_or_else(|| reconnect(runtime, options, outbox));
        outbox.on_connected();
        let Err(error) = runtime.block_on(drive(connection, outbox)) else { return };
        outbox.on_disconnected();
        warning!("broker disconnected: {error}; counts are queued until it is back");
    }
}

/// Retries until the broker accepts a connection.
fn reconnect(runtime: &Runtime, options: &MqttOptions, outbox: &Outbox) -> BrokerConnection {
    let mut is_refused = false;
    loop {
        std::thread::sleep(RETRY_DELAY);
        match runtime.block_on(connect(options)) {
            Ok(connection) => {
                warning!("broker connected; {} counts are queued", outbox.queued());
                return connection;
            }
            Err(error) if error.is_refusal() && !is_refused => {
                warning!("the broker rejects this host: {error}; {}", error.next_step());
                is_refused = true;
            }
            Err(_) => {}
        }
    }
}

async fn drive(
    BrokerConnection { client, mut events }: BrokerConnection,
    outbox: &Outbox,
) -> Result<(), BrokerError> {
    tokio::try_join!(send(&client, outbox), receive(&mut events, outbox)).map(|_| ())
}

/// Sends messages until the outbox is drained, and disconnects.
async fn send(client: &AsyncClient, outbox: &Outbox) -> Result<(), BrokerError> {
    while !outbox.is_drained() {
        while let Some(message) = outbox.next() {
            let is_retained = message.kind == MessageKind::State;
            let published =
                client.publish(message.topic, QoS::AtLeastOnce, is_retained, message.content).await;
            published.map_err(|_| BrokerError::Ended)?;
        }
        outbox.changed().await;
    }
    client.disconnect().await.map_err(|_| BrokerError::Ended)
}

/// Handles what the broker sends, until the client has disconnected.
async fn receive(events: &mut EventLoop, outbox: &Outbox) -> Result<(), BrokerError> {
    let mut is_refused = false;
    loop {
        match events.poll().await? {
            Event::Outgoing(Outgoing::Publish(packet)) => outbox.on_sent(packet),
            Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
            Event::Incoming(Incoming::PubAck(ack)) => match ack.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {
                    outbox.on_ack(ack.pkid);
                }
                reason => {
                    let rejected = outbox.on_rejected(ack.pkid);
                    if let (Some(message), false) = (rejected, is_refused) {
                        warning!(
                            "the broker rejects {}: {reason:?}; such messages are dropped until its \
                                 access rules allow them",
                            message.topic
                        );
                        is_refused = true;
                    }
                }
            },
            _ => {}
        }
    }
}
