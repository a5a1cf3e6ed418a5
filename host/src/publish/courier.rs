//! The connection to the broker.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use host_console::Failure;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, PubAckReason};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, StateError};
use rumqttc::{Outgoing, TlsConfiguration, Transport};
use rustls::client::ClientConfig;
use thiserror::Error;
use tokio::runtime::Runtime;

use super::broker_address::BrokerAddress;
use super::encryption::Distrust;
use super::login::Login;
use super::outbox::{MessageKind, Outbox, WINDOW};
use super::topics::{OFFLINE, ONLINE, Topics};

/// A broker that is silent for longer is lost, and so is this host to the broker.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Pause between attempts to reach a broker that went away.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// What waits at the end gets so long to reach the broker.
const END_PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How the broker is to be met.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Who it is told this is.
    pub login: Option<Login>,
    /// How the connection is encrypted, where it is.
    pub encryption: Option<Arc<ClientConfig>>,
}

/// Why the broker takes nothing.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// There is no connection to it; its causes stand in its words.
    #[error("{0}")]
    Connection(Box<ConnectionError>),
    /// An encrypted connection wants trust that is not there.
    #[error(transparent)]
    Distrust(Distrust),
    /// The connection ended while a message was handed over.
    #[error("the connection has ended")]
    Ended,
    /// This machine has no means to talk with it.
    #[error("no connection can be made on this machine: {0}")]
    System(#[from] std::io::Error),
}

impl BrokerError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::Connection(error) => matches!(**error, ConnectionError::ConnectionRefused(_)),
            Self::Distrust(_) => true,
            Self::Ended | Self::System(_) => false,
        }
    }

    fn next_step(&self) -> &'static str {
        match self {
            Self::Distrust(distrust) => distrust.next_step(),
            refusal if refusal.is_refusal() => {
                "say who you are with --login, as the broker's administrator knows you"
            }
            _ => "start the broker, or name another with --broker",
        }
    }
}

impl From<ConnectionError> for BrokerError {
    fn from(error: ConnectionError) -> Self {
        let distrust = match &error {
            // This one does not tell its source.
            ConnectionError::MqttState(StateError::Deserialization(read)) => Distrust::behind(read),
            ConnectionError::Tls(error) => {
                Distrust::behind(error).or_else(|| Some(Distrust::Other(error.to_string())))
            }
            error => Distrust::behind(error),
        };
        distrust.map_or_else(|| Self::Connection(Box::new(error)), Self::Distrust)
    }
}

/// Takes messages from an [`Outbox`] to the broker, in a thread of its own.
#[derive(Debug)]
pub struct Courier {
    outbox: Arc<Outbox>,
    topics: Topics,
    thread: JoinHandle<()>,
}

impl Courier {
    /// Connects to the broker. One that is not there is waited for, now and from then on.
    ///
    /// # Errors
    /// [`Failure`] when the broker does not let this host in, or this host does not trust it.
    pub fn start(
        address: &BrokerAddress,
        access: Access,
        topics: Topics,
        outbox: Arc<Outbox>,
    ) -> Result<Self, Failure> {
        let mut options = MqttOptions::new(topics.client.to_string(), &address.host, address.port);
        // The outbox knows what is to be sent again; the broker need not remember this host.
        options.set_clean_start(true);
        options.set_keep_alive(KEEP_ALIVE);
        options.set_outgoing_inflight_upper_limit(WINDOW as u16);
        options.set_last_will(LastWill::new(topics.host_status(), OFFLINE, QoS::AtLeastOnce, true, None));
        if let Some(Login { user, password }) = access.login {
            options.set_credentials(user, password);
        }
        if let Some(encryption) = access.encryption {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(encryption)));
        }
        let failed = |error: BrokerError| {
            Failure::failed(format!("the broker at {address} takes no counts: {error}"), error.next_step())
        };
        let system = |error| failed(BrokerError::System(error));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
        let connection = match runtime.block_on(connect(&options)) {
            Ok(connection) => Some(connection),
            Err(error) if error.is_refusal() => return Err(failed(error)),
            Err(error) => {
                eprintln!("no broker is at {address}: {error}; counts wait for it");
                None
            }
        };
        outbox.state(topics.host_status(), ONLINE.to_owned());
        let shared = Arc::clone(&outbox);
        let thread = std::thread::spawn(move || deliver(&runtime, &options, connection, &shared));
        Ok(Self { outbox, topics, thread })
    }

    /// Gives what waits a moment to reach the broker; how many counts did not.
    pub fn finish(self) -> usize {
        self.outbox.state(self.topics.host_status(), OFFLINE.to_owned());
        self.outbox.close();
        let until = Instant::now() + END_PATIENCE;
        while !self.thread.is_finished() && Instant::now() < until {
            std::thread::sleep(LOOK_AGAIN);
        }
        self.outbox.queued()
    }
}

/// A connection that the broker has accepted. Each has a client of its own: on a broker that forgot this host, one
/// that reconnects drops what was not acknowledged.
struct Connection {
    client: AsyncClient,
    events: EventLoop,
}

async fn connect(options: &MqttOptions) -> Result<Connection, BrokerError> {
    let (client, mut events) = AsyncClient::new(options.clone(), WINDOW);
    while !matches!(events.poll().await?, Event::Incoming(Incoming::ConnAck(_))) {}
    Ok(Connection { client, events })
}

/// Delivers until all is said and acknowledged, waiting for a broker that is not there.
fn deliver(runtime: &Runtime, options: &MqttOptions, first: Option<Connection>, outbox: &Outbox) {
    let mut next = first;
    loop {
        let connection = next.take().unwrap_or_else(|| reach(runtime, options, outbox));
        outbox.connected();
        let Err(error) = runtime.block_on(converse(connection, outbox)) else { return };
        outbox.disconnected();
        eprintln!("the broker is lost: {error}; counts wait for it to come back");
    }
}

/// Waits until the broker takes a connection.
fn reach(runtime: &Runtime, options: &MqttOptions, outbox: &Outbox) -> Connection {
    let mut is_refused = false;
    loop {
        std::thread::sleep(TRY_AGAIN);
        match runtime.block_on(connect(options)) {
            Ok(connection) => {
                eprintln!("the broker is there; {} counts wait for it", outbox.queued());
                return connection;
            }
            Err(error) if error.is_refusal() && !is_refused => {
                eprintln!("the broker is there and refuses: {error}; {}", error.next_step());
                is_refused = true;
            }
            Err(_) => {}
        }
    }
}

async fn converse(Connection { client, mut events }: Connection, outbox: &Outbox) -> Result<(), BrokerError> {
    tokio::try_join!(send(&client, outbox), listen(&mut events, outbox)).map(|_| ())
}

/// Hands over what is to be sent, and takes leave when that was all.
async fn send(client: &AsyncClient, outbox: &Outbox) -> Result<(), BrokerError> {
    while !outbox.is_done() {
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

/// Takes in what the broker says, until leave is taken.
async fn listen(events: &mut EventLoop, outbox: &Outbox) -> Result<(), BrokerError> {
    let mut is_refused = false;
    loop {
        match events.poll().await? {
            Event::Outgoing(Outgoing::Publish(packet)) => outbox.sent(packet),
            Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
            Event::Incoming(Incoming::PubAck(ack)) => match ack.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {
                    outbox.acknowledged(ack.pkid);
                }
                reason => {
                    let refused = outbox.refused(ack.pkid);
                    if let (Some(message), false) = (refused, is_refused) {
                        eprintln!(
                            "the broker refuses {}: {reason:?}; such messages are dropped until its access rules allow them",
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
