//! What the terminal shows of one station.

use std::collections::{BTreeMap, VecDeque};

use crate::monitor::view::{Activity, FrameView, StationView, ViewMessage};
use crate::records::gates::Gates;
use crate::station::link_state::LinkState;

/// Counts of the trend, frames of the histogram, and frames whose gated counts are held: as many as on the page.
const HISTORY: usize = 120;
const HISTOGRAM_FRAMES: usize = 30;
const GATED_FRAMES: usize = 8;

/// A count of the trend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrendPoint {
    pub count: u32,
    pub trusted: bool,
}

/// The number shown large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DisplayedCount {
    pub count: u32,
    /// Its frame.
    pub frame: u32,
    /// Nuclei found, if gates exclude some.
    pub found: Option<usize>,
}

/// A frame's nuclei: how many there are, and how many are within the gates.
#[derive(Debug)]
struct GatedCount {
    found: usize,
    within: usize,
}

/// What the terminal shows of one station.
#[derive(Debug, Default)]
pub struct ScreenState {
    /// The station's port.
    pub port: String,
    /// Whether the station answers, and why it does not.
    pub link: Option<(LinkState, String)>,
    pub station: Option<StationView>,
    pub frame: Option<FrameView>,
    pub gates: Gates,
    pub activity: Activity,
    pub counts: VecDeque<TrendPoint>,
    /// Areas of the nuclei of the newest frames, px.
    pub areas: VecDeque<Vec<u32>>,
    /// Whether the person must confirm that the model is reverted.
    pub confirms_revert: bool,
    gated: BTreeMap<u32, GatedCount>,
    newest: Option<u32>,
}

impl ScreenState {
    /// The empty state of the station on a port.
    pub fn of(port: String) -> Self {
        Self { port, ..Self::default() }
    }

    /// The station's name, or its port until the name is known.
    pub fn name(&self) -> &str {
        self.station.as_ref().map_or(&self.port, |station| &station.name)
    }

    /// Applies a message. Images are ignored.
    pub fn apply(&mut self, message: &ViewMessage) {
        match message {
            ViewMessage::Station(station) => self.station = Some(station.clone()),
            ViewMessage::Link { state, message } => {
                if *state != LinkState::Up {
                    // A restarted station numbers its frames from 1 again.
                    self.gated.clear();
                    self.newest = None;
                }
                self.link = Some((*state, message.clone()));
            }
            ViewMessage::Gates(gates) => self.gates = *gates,
            ViewMessage::Activity(activity) => self.activity = activity.clone(),
            ViewMessage::Frame(frame) => {
                let point = TrendPoint { count: frame.record.count, trusted: frame.record.trusted };
                push(&mut self.counts, HISTORY, point);
                self.frame = Some(FrameView::clone(frame));
            }
            ViewMessage::Nuclei(nuclei) => {
                push(&mut self.areas, HISTOGRAM_FRAMES, nuclei.areas_px().collect());
                self.newest = Some(nuclei.frame);
                let gated = GatedCount { found: nuclei.found, within: nuclei.within };
                self.gated.insert(nuclei.frame, gated);
                while self.gated.len() > GATED_FRAMES {
                    self.gated.pop_first();
                }
            }
            ViewMessage::Preview { .. } => {}
        }
    }

    /// Whether the station answers.
    pub fn is_up(&self) -> bool {
        matches!(self.link, Some((LinkState::Up, _)))
    }

    /// The number to show large: with gates, the nuclei within them, of the newest frame whose nuclei have arrived.
    pub fn displayed_count(&self) -> Option<DisplayedCount> {
        let record = &self.frame.as_ref()?.record;
        let (count, frame) = (record.count, record.frame);
        if self.gates == Gates::default() {
            return Some(DisplayedCount { count, frame, found: None });
        }
        let gated = self.gated.get_key_value(&frame).or_else(|| self.gated.get_key_value(&self.newest?));
        Some(match gated {
            Some((&frame, gated)) => {
                DisplayedCount { count: gated.within as u32, frame, found: Some(gated.found) }
            }
            None => DisplayedCount { count, frame, found: None },
        })
    }

    /// The line about recording, flashing and the last command.
    pub fn message(&self) -> &str {
        if self.confirms_revert {
            return "revert to the previous model?  Y: yes, any other key: no";
        }
        self.activity.flashing.as_deref().or(self.activity.result.as_deref()).unwrap_or_default()
    }
}

fn push<T>(newest: &mut VecDeque<T>, capacity: usize, value: T) {
    if newest.len() == capacity {
        newest.pop_front();
    }
    newest.push_back(value);
}
