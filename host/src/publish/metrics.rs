//! Metrics for Prometheus.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use host_console::Failure;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::support::http_server::HttpServer;

/// Content type of the OpenMetrics text format, version 1.0.0.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The label with the station's name.
pub type StationLabel = [(&'static str, String); 1];

/// All metrics. Clones share their values.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Nuclei in a station's last frame.
    pub count: Family<StationLabel, Gauge>,
    /// Number of a station's last frame.
    pub frame: Family<StationLabel, Gauge>,
    /// Frames received from a station.
    pub frames: Family<StationLabel, Counter>,
    /// Frames with an unreliable count.
    pub doubted: Family<StationLabel, Counter>,
    /// 1 while a station answers.
    pub station_up: Family<StationLabel, Gauge>,
    /// 1 while the broker is connected.
    pub broker_up: Gauge,
    /// Counts that the broker has not acknowledged yet.
    pub queued: Gauge,
    /// Counts acknowledged by the broker.
    pub published: Counter,
    /// Counts dropped or rejected: it refused them, or the queue was full.
    pub dropped: Counter,
}

impl Metrics {
    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("nuclei");
        registry.register("count", "Nuclei in the station's last frame", self.count.clone());
        registry.register("frame", "Number of the station's last frame", self.frame.clone());
        registry.register("frames", "Frames received from the station", self.frames.clone());
        registry.register("doubted_frames", "Frames whose count is unreliable", self.doubted.clone());
        registry.register("station_up", "Whether the station answers", self.station_up.clone());
        registry.register("broker_up", "Whether the broker is connected", self.broker_up.clone());
        registry.register("queued_counts", "Counts queued for the broker", self.queued.clone());
        registry.register("published_counts", "Counts acknowledged by the broker", self.published.clone());
        registry.register("dropped_counts", "Counts dropped or rejected", self.dropped.clone());
        registry
    }

    /// Serves them at `/metrics` until the program ends; the address that was bound.
    ///
    /// # Errors
    /// [`Failure`] when the address is taken or is none of this machine.
    pub fn serve(&self, address: SocketAddr) -> Result<SocketAddr, Failure> {
        let server = HttpServer::bind(address).map_err(|error| {
            Failure::usage(
                format!("cannot serve metrics at {address}: {error}"),
                "choose another address with --prometheus, such as 127.0.0.1:0 for any free port",
            )
        })?;
        let bound = server.address();
        let registry = Arc::new(self.registry());
        let metrics = move || async move {
            let mut text = String::new();
            let encoded = encode(&mut text, &registry);
            encoded.map_or_else(
                |error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
                |()| ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
            )
        };
        server.serve("metrics endpoint", Router::new().route("/metrics", get(metrics)));
        Ok(bound)
    }
}
