//! Where a station's frames go.

use crate::monitor::view::ViewPublisher;
use crate::publish::StationPublisher;

/// Where a station's frames go.
#[derive(Debug)]
pub enum FrameSink {
    /// Standard output, one line of text per frame.
    Text,
    /// Standard output, one JSON object per frame.
    Json,
    /// An MQTT broker.
    Mqtt(Box<StationPublisher>),
    /// The web page.
    Web(Box<ViewPublisher>),
    /// The view on this terminal.
    Terminal(Box<ViewPublisher>),
}

impl FrameSink {
    /// The publisher of an interactive view; `None` of other sinks.
    pub(super) fn publisher(&self) -> Option<&ViewPublisher> {
        match self {
            Self::Text | Self::Json | Self::Mqtt(_) => None,
            Self::Web(publisher) | Self::Terminal(publisher) => Some(publisher),
        }
    }

    pub(super) fn publisher_mut(&mut self) -> Option<&mut ViewPublisher> {
        match self {
            Self::Text | Self::Json | Self::Mqtt(_) => None,
            Self::Web(publisher) | Self::Terminal(publisher) => Some(publisher),
        }
    }
}
