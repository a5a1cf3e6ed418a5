//! What one station publishes.

use std::sync::Arc;

use host_console::{Failure, warning};
use serde::Serialize;
use shared::wire::Identity;

use super::metrics::{Metrics, StationLabel};
use super::outbox::Outbox;
use super::topics::{OFFLINE, ONLINE, TopicLevel, Topics};
use crate::records::frame_record::FrameRecord;
use crate::station::link_state::LinkState;

/// A count as it is published.
#[derive(Debug, Serialize)]
struct CountMessage<'a> {
    /// Names this frame, and no other, however often the message arrives.
    id: String,
    #[serde(flatten)]
    record: &'a FrameRecord,
}

/// Publishes the counts and the state of one station.
#[derive(Debug)]
pub struct StationPublisher {
    station: TopicLevel,
    topics: Topics,
    outbox: Arc<Outbox>,
    metrics: Metrics,
}

impl StationPublisher {
    /// The publisher of a station that is connected.
    pub fn new(station: TopicLevel, topics: Topics, outbox: Arc<Outbox>, metrics: Metrics) -> Self {
        let publisher = Self { station, topics, outbox, metrics };
        publisher.publish_link_state(LinkState::Up);
        publisher
    }

    /// Lets Home Assistant find the station's count under `prefix`.
    pub fn announce(&self, prefix: &TopicLevel, identity: &Identity) {
        let (topic, content) = self.topics.discovery(prefix, &self.station, identity);
        self.outbox.set_state(topic, content.to_string());
    }

    /// Publishes a frame's count.
    ///
    /// # Errors
    /// [`Failure`] when the record cannot be written as JSON.
    pub fn publish_frame(&self, record: &FrameRecord) -> Result<(), Failure> {
        // A restarted station numbers its frames from 1 again, at a later time.
        let id = format!("{}-{}-{}", self.station, record.time_unix_ms, record.frame);
        let content = serde_json::to_string(&CountMessage { id, record });
        let content = content.map_err(|error| Failure::failed(error, "please report this"))?;
        self.outbox.push_count(self.topics.count(&self.station), content);
        let label = self.label();
        self.metrics.frames.get_or_create(&label).inc();
        self.metrics.doubted.get_or_create(&label).inc_by(u64::from(!record.trusted));
        self.metrics.count.get_or_create(&label).set(record.count.into());
        self.metrics.frame.get_or_create(&label).set(record.frame.into());
        Ok(())
    }

    /// Publishes whether the station is connected, and logs `message`.
    pub fn set_link_state(&self, state: LinkState, message: &str) {
        self.log(message);
        self.publish_link_state(state);
    }

    /// Writes a line about the station to standard error.
    pub fn log(&self, message: &str) {
        warning!("{}: {message}", self.station);
    }

    fn publish_link_state(&self, state: LinkState) {
        let (word, is_up) = match state {
            LinkState::Up => (ONLINE, 1),
            LinkState::Lost | LinkState::Absent => (OFFLINE, 0),
        };
        self.metrics.station_up.get_or_create(&self.label()).set(is_up);
        self.outbox.set_state(self.topics.status(&self.station), word.to_owned());
    }

    fn label(&self) -> StationLabel {
        [("station", self.station.to_string())]
    }
}

impl Drop for StationPublisher {
    /// No more counts come from the station.
    fn drop(&mut self) {
        self.publish_link_state(LinkState::Lost);
    }
}
