//! The topic tree, and how Home Assistant finds it.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde_json::{Value, json};
use shared::wire::Identity;
use thiserror::Error;

use crate::station::slug::{is_slug_letter, station_slug};

/// Status while counts arrive; these are the values that Home Assistant expects.
pub const ONLINE: &str = "online";
/// Status while none can arrive.
pub const OFFLINE: &str = "offline";

/// One level of a topic: letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicLevel(String);

/// A text is not a topic level.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid topic level: use letters, digits, - and _ only")]
pub struct TopicLevelError;

impl TopicLevel {
    /// The level for a name, with `_` for characters that a level does not allow.
    pub fn of_name(name: &str) -> Self {
        Self(station_slug(name))
    }
}

impl FromStr for TopicLevel {
    type Err = TopicLevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || !text.chars().all(is_slug_letter) {
            return Err(TopicLevelError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl Display for TopicLevel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The topics of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// The first level of every topic.
    pub root: TopicLevel,
    /// The host's MQTT client identifier.
    pub client: TopicLevel,
}

impl Topics {
    /// A station's counts.
    pub fn count(&self, station: &TopicLevel) -> String {
        format!("{}/{station}/count", self.root)
    }

    /// Whether a station answers; retained.
    pub fn status(&self, station: &TopicLevel) -> String {
        format!("{}/{station}/status", self.root)
    }

    /// Whether the host is connected; retained, and its last will. One level deeper than a station's, so that no
    /// station's name can collide.
    pub fn host_status(&self) -> String {
        format!("{}/host/{}/status", self.root, self.client)
    }

    /// Topic and content of the message by which Home Assistant finds a station's count under `prefix`; retained.
    pub fn discovery(
        &self,
        prefix: &TopicLevel,
        station: &TopicLevel,
        identity: &Identity,
    ) -> (String, Value) {
        let device = format!("{}_{station}", self.root);
        let content = json!({
            "name": "Nuclei",
            "unique_id": format!("{device}_count"),
            "state_topic": self.count(station),
            "value_template": "{{ value_json.count }}",
            "unit_of_measurement": "nuclei",
            "state_class": "measurement",
            "json_attributes_topic": self.count(station),
            "availability": [{ "topic": self.status(station) }, { "topic": self.host_status() }],
            "availability_mode": "all",
            "device": {
                "identifiers": [device],
                "name": identity.name,
                "model": "nuclei-station",
                "sw_version": identity.version,
            },
            "origin": { "name": "nuclei-host", "sw_version": env!("CARGO_PKG_VERSION") },
        });
        (format!("{prefix}/sensor/{device}/count/config"), content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_holds_nothing_that_a_topic_gives_a_meaning() {
        for (name, expected) in
            [("bench-1", "bench-1"), ("a/b+c#", "a_b_c_"), ("Zähler 2", "Z_hler_2"), ("", "_")]
        {
            let level = TopicLevel::of_name(name);
            assert_eq!(level.to_string(), expected);
            assert_eq!(expected.parse(), Ok(level));
        }
        for text in ["", "a/b", "+", "#", "$SYS", "a b"] {
            assert_eq!(text.parse::<TopicLevel>(), Err(TopicLevelError), "{text}");
        }
    }
}
