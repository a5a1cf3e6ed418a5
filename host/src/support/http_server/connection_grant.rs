//! Whether a connection has shown that it may be here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Whether a connection has shown that it may be here: an extension of its requests. Where connections are scarce,
/// those that have not make room.
#[derive(Debug, Clone, Default)]
pub struct ConnectionGrant(Arc<AtomicBool>);

impl ConnectionGrant {
    /// The connection has made a request that is allowed.
    pub fn grant(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// For the table of connections, which does not keep one open.
    pub(super) fn watch(&self) -> ConnectionWatch {
        ConnectionWatch(Arc::downgrade(&self.0))
    }
}

/// An [`ConnectionGrant`] seen from outside its connection.
#[derive(Debug)]
pub(super) struct ConnectionWatch(Weak<AtomicBool>);

impl ConnectionWatch {
    /// Whether the connection, or the WebSocket that it has become, still exists.
    pub(super) fn is_open(&self) -> bool {
        self.0.strong_count() > 0
    }

    pub(super) fn is_granted(&self) -> bool {
        self.0.upgrade().is_some_and(|granted| granted.load(Ordering::Relaxed))
    }
}
