//! Counts sent on to an MQTT broker, each once, and told to Prometheus.
//!
//! A viewer a station tells its [`Outlet`] what comes. Outlets fill one [`Outbox`], a bounded queue that a
//! [`Courier`] empties into the broker, and one set of [`Metrics`]. A count stays in the queue until the broker has
//! acknowledged it, so that a broker which goes away loses none. MQTT's quality of service 1 may then deliver some
//! of the last few twice; each message carries an `id` by which its reader tells.

mod broker_address;
mod courier;
mod metrics;
mod outbox;
mod outlet;
mod topics;

pub use broker_address::BrokerAddress;
pub use courier::{Courier, Login};
pub use metrics::Metrics;
pub use outbox::Outbox;
pub use outlet::Outlet;
pub use topics::{Level, Topics};
