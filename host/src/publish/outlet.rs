//! One station's way out.

use std::sync::Arc;

use host_console::Failure;
use serde::Serialize;
use shared::wire::Identity;

use super::metrics::{Metrics, StationLabel};
use super::outbox::Outbox;
use super::topics::{Level, OFFLINE, ONLINE, Topics};
use crate::records::frame_record::FrameRecord;
use crate::station::link_state::LinkState;

/// A count as it is published.
#[derive(Debug, Serialize)]
struct CountMessage<'a> {
    /// The same for the same frame alone, however often the message comes.
    id: String,
    #[serde(flatten)]
    record: &'a FrameRecord,
}

/// Publishes what one station tells.
#[derive(Debug)]
pub struct Outlet {
    station: Level,
    topics: Topics,
    outbox: Arc<Outbox>,
    metrics: Metrics,
}

impl Outlet {
    /// The outlet of a station that answers.
    pub fn new(station: Level, topics: Topics, outbox: Arc<Outbox>, metrics: Metrics) -> Self {
        let outlet = Self { station, topics, outbox, metrics };
        outlet.tell_link(LinkState::Up);
        outlet
    }

    /// Lets Home Assistant find the station's count under `prefix`.
    pub fn announce(&self, prefix: &Level, identity: &Identity) {
        let (topic, content) = self.topics.discovery(prefix, &self.station, identity);
        self.outbox.state(topic, content.to_string());
    }

    /// Publishes a frame's count.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be said in JSON.
    pub fn frame(&self, record: &FrameRecord) -> Result<(), Failure> {
        // A station that was started anew numbers its frames anew, at a later time.
        let id = format!("{}-{}-{}", self.station, record.time_unix_ms, record.frame);
        let content = serde_json::to_string(&CountMessage { id, record });
        let content = content.map_err(|error| Failure::failed(error, ""))?;
        self.outbox.count(self.topics.count(&self.station), content);
        let label = self.label();
        self.metrics.frames.get_or_create(&label).inc();
        self.metrics.doubted.get_or_create(&label).inc_by(u64::from(!record.trusted));
        self.metrics.count.get_or_create(&label).set(record.count.into());
        self.metrics.frame.get_or_create(&label).set(record.frame.into());
        Ok(())
    }

    /// Publishes whether the station answers.
    pub fn link(&self, state: LinkState, message: &str) {
        self.note(message);
        self.tell_link(state);
    }

    /// Tells the person who publishes what happened at the station.
    pub fn note(&self, message: &str) {
        eprintln!("{}: {message}", self.station);
    }

    fn tell_link(&self, state: LinkState) {
        let (word, is_up) = match state {
            LinkState::Up => (ONLINE, 1),
            LinkState::Lost | LinkState::Absent => (OFFLINE, 0),
        };
        self.metrics.station_up.get_or_create(&self.label()).set(is_up);
        self.outbox.state(self.topics.status(&self.station), word.to_owned());
    }

    fn label(&self) -> StationLabel {
        [("station", self.station.to_string())]
    }
}

impl Drop for Outlet {
    /// Nothing comes from the station any more.
    fn drop(&mut self) {
        self.tell_link(LinkState::Lost);
    }
}
