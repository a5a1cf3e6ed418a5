//! Counts sent on to an MQTT broker, each once, and told to Prometheus.
//!
//! A viewer a station tells its [`Outlet`] what comes. Outlets fill one [`Outbox`], a bounded queue that a
//! [`Courier`] empties into the broker, and one set of [`Metrics`]. A count stays in the queue until the broker has
//! acknowledged it, so that a broker which goes away loses none. MQTT's quality of service 1 may then deliver some
//! of the last few twice; each message carries an `id` by which its reader tells. A queue that is kept in a folder goes on
//! where an earlier program was killed.

mod broker_address;
mod courier;
mod encryption;
mod login;
mod metrics;
mod outbox;
mod outlet;
mod queue_log;
mod topics;

pub use broker_address::{BrokerAddress, Scheme};
pub use courier::{Access, Courier};
pub use encryption::Credentials;
pub use login::Login;
pub use metrics::Metrics;
pub use outbox::Outbox;
pub use outlet::Outlet;
pub use topics::{Level, Topics};
