//! How frames are shown.

use crate::monitor::web::Panel;
use crate::publish::Outlet;

/// How a station's frames are shown.
#[derive(Debug)]
pub enum Show {
    /// A line for a person.
    Lines,
    /// A JSON object a line.
    Json,
    /// To an MQTT broker.
    Broker(Box<Outlet>),
    /// On a page.
    Page(Box<Panel>),
    /// On this terminal.
    Terminal(Box<Panel>),
}

impl Show {
    /// What viewers are shown, where there are viewers.
    pub(super) fn panel(&self) -> Option<&Panel> {
        match self {
            Self::Lines | Self::Json | Self::Broker(_) => None,
            Self::Page(panel) | Self::Terminal(panel) => Some(panel),
        }
    }

    pub(super) fn panel_mut(&mut self) -> Option<&mut Panel> {
        match self {
            Self::Lines | Self::Json | Self::Broker(_) => None,
            Self::Page(panel) | Self::Terminal(panel) => Some(panel),
        }
    }
}
