//! What the terminal's viewer was told so far.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;

use crate::monitor::web::{FrameWords, StationView, Work};
use crate::records::gates::Gates;
use crate::station::link_state::LinkState;

/// Counts of the trend, frames of the sizes, and frames whose nuclei are kept: as many as on the page.
const HISTORY: usize = 120;
const SIZES: usize = 30;
const KEEP_NUCLEI: usize = 8;

/// What viewers are told, as far as a terminal shows it.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Told {
    Station(StationView),
    Link { state: LinkState, message: String },
    Gates(Gates),
    Work(Work),
    Frame(Frame),
    Nuclei(Nuclei),
}

/// A frame's result.
#[derive(Debug, Clone, Deserialize)]
pub struct Frame {
    pub frame: u32,
    pub count: u32,
    pub trusted: bool,
    pub trend: String,
    pub words: FrameWords,
}

/// A frame's nuclei.
#[derive(Debug, Clone, Deserialize)]
pub struct Nuclei {
    pub frame: u32,
    pub found: u32,
    pub within: u32,
    pub nuclei: Vec<Nucleus>,
}

/// A nucleus.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Nucleus {
    pub area_px: u32,
}

/// A count of the trend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    pub count: u32,
    pub trusted: bool,
}

/// The number shown large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    pub count: u32,
    /// The frame that it is of.
    pub frame: u32,
    /// Nuclei found, where gates leave some out.
    pub found: Option<u32>,
}

/// What there is to show.
#[derive(Debug, Default)]
pub struct Screen {
    /// The station's port.
    pub port: String,
    /// Whether the station answers, and why it does not.
    pub link: Option<(LinkState, String)>,
    pub station: Option<StationView>,
    pub frame: Option<Frame>,
    pub gates: Gates,
    pub work: Work,
    pub counts: VecDeque<Counted>,
    pub sizes: VecDeque<Vec<u32>>,
    /// Whether the person was asked if the model is to be left.
    pub asks_to_revert: bool,
    nuclei: BTreeMap<u32, Nuclei>,
    newest: Option<u32>,
}

impl Screen {
    /// That of the station on a port.
    pub fn of(port: String) -> Self {
        Self { port, ..Self::default() }
    }

    /// What the station is called: by its port until it has told its name.
    pub fn name(&self) -> &str {
        self.station.as_ref().map_or(&self.port, |station| &station.name)
    }

    /// Takes in what viewers are told. What a terminal does not show is passed over.
    pub fn hear(&mut self, json: &str) {
        match serde_json::from_str(json) {
            Ok(Told::Station(station)) => self.station = Some(station),
            Ok(Told::Link { state, message }) => {
                if state != LinkState::Up {
                    // A station that was started anew counts its frames from one.
                    self.nuclei.clear();
                    self.newest = None;
                }
                self.link = Some((state, message));
            }
            Ok(Told::Gates(gates)) => self.gates = gates,
            Ok(Told::Work(work)) => self.work = work,
            Ok(Told::Frame(frame)) => {
                push(&mut self.counts, HISTORY, Counted { count: frame.count, trusted: frame.trusted });
                self.frame = Some(frame);
            }
            Ok(Told::Nuclei(nuclei)) => {
                push(&mut self.sizes, SIZES, nuclei.nuclei.iter().map(|nucleus| nucleus.area_px).collect());
                self.newest = Some(nuclei.frame);
                self.nuclei.insert(nuclei.frame, nuclei);
                while self.nuclei.len() > KEEP_NUCLEI {
                    self.nuclei.pop_first();
                }
            }
            Err(_) => {}
        }
    }

    /// Whether the station answers.
    pub fn is_up(&self) -> bool {
        matches!(self.link, Some((LinkState::Up, _)))
    }

    /// The number to show large: with gates, nuclei within them, of the newest frame whose nuclei came.
    pub fn shown(&self) -> Option<Shown> {
        let frame = self.frame.as_ref()?;
        let nuclei = self.nuclei.get(&frame.frame).or_else(|| self.nuclei.get(&self.newest?));
        Some(match nuclei.filter(|_| self.gates != Gates::default()) {
            Some(nuclei) => Shown { count: nuclei.within, frame: nuclei.frame, found: Some(nuclei.found) },
            None => Shown { count: frame.count, frame: frame.frame, found: None },
        })
    }

    /// What is told of recording, flashing and of what was asked for last.
    pub fn told(&self) -> &str {
        if self.asks_to_revert {
            return "go back to the model before this one?  Y: yes, any other key: no";
        }
        self.work.flashing.as_deref().or(self.work.told.as_deref()).unwrap_or_default()
    }
}

fn push<T>(last: &mut VecDeque<T>, most: usize, value: T) {
    if last.len() == most {
        last.pop_front();
    }
    last.push_back(value);
}
