//! Sessions with live stations: frames shown, published and recorded as they arrive, across reconnects.

mod actions;
mod count_stats;
mod error;
mod reconnect;
mod sink;
mod station_monitor;
mod trend;

pub use count_stats::CountSummary;
pub use reconnect::{ReconnectOutcome, StopCondition, StopReason, reconnect};
pub use sink::FrameSink;
pub use station_monitor::StationMonitor;
