//! Counts published to an MQTT broker, at least once each, and as Prometheus metrics.
//!
//! One [`StationPublisher`] per station fills the common [`Outbox`], a bounded queue that an [`MqttPublisher`] drains
//! to the broker, and the common [`Metrics`]. A count stays in the queue until the broker has acknowledged it, so an
//! outage loses none. MQTT's quality of service 1 may deliver some of the last few twice; each message carries an `id`
//! by which a subscriber recognizes them. A queue on disk survives the program.

mod broker_address;
mod credentials;
mod disk_queue;
mod message;
mod metrics;
mod mqtt_publisher;
mod outbox;
mod station_publisher;
mod tls;
mod topics;

pub use broker_address::{BrokerAddress, Scheme};
pub use credentials::Credentials;
pub use metrics::Metrics;
pub use mqtt_publisher::{ConnectOptions, MqttPublisher};
pub use outbox::Outbox;
pub use station_publisher::StationPublisher;
pub use tls::TlsFiles;
pub use topics::{TopicLevel, Topics};
