//! The viewers' side of the thread that holds the station.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use host_console::Failure;
use shared::decode_masks;
use shared::wire::{Identity, Piece, Settings, Status};

use super::command::Command;
use super::feed::{Feed, Seat, Topic};
use super::pieces::Pieces;
use super::view::{NucleiView, StationView, View, Work};
use super::words::FrameWords;
use crate::records::frame_record::FrameRecord;
use crate::records::gates::Gates;
use crate::station::client::Traffic;
use crate::station::link_state::LinkState;

/// Things asked for that may wait.
const MAX_COMMANDS: usize = 16;

/// What viewers are shown, and what they ask for.
#[derive(Debug)]
pub struct Panel {
    feed: Arc<Feed>,
    commands: Receiver<Command>,
    gates: Gates,
    place: Option<PathBuf>,
    masks: Pieces,
    preview: Pieces,
    /// Pixels of the last frame.
    pixels: u32,
    work: Work,
}

impl Panel {
    /// With the gates kept from last time, and a seat for whoever serves viewers.
    ///
    /// # Errors
    /// [`Failure`] when the gates' file is damaged.
    pub fn new() -> Result<(Self, Seat), Failure> {
        Ok(Self::with_gates(Gates::kept()?, Gates::place()))
    }

    /// With these gates; others are kept at `place`, where there is one.
    pub fn with_gates(gates: Gates, place: Option<PathBuf>) -> (Self, Seat) {
        let feed = Arc::new(Feed::default());
        let (sender, commands) = sync_channel(MAX_COMMANDS);
        feed.tell(Topic::Gates, &View::Gates(gates));
        feed.tell(Topic::Work, &View::Work(&Work::default()));
        let seat = Seat { feed: Arc::clone(&feed), commands: sender };
        let (masks, preview, pixels, work) = Default::default();
        (Self { feed, commands, gates, place, masks, preview, pixels, work }, seat)
    }

    /// The gates in force.
    pub const fn gates(&self) -> Gates {
        self.gates
    }

    /// What was asked for next, if anything.
    pub fn asked(&self) -> Option<Command> {
        self.commands.try_recv().ok()
    }

    /// Tells how the station is.
    pub fn station(
        &self,
        line: (&str, u32),
        identity: &Identity,
        status: &Status,
        settings: &Settings,
        traffic: Traffic,
    ) {
        let view = StationView::new(line, identity, status, settings, traffic, self.feed.viewers());
        self.feed.tell(Topic::Station, &View::Station(view));
    }

    /// Tells whether the station answers.
    pub fn link(&self, state: LinkState, message: &str) {
        self.feed.tell(Topic::Link, &View::Link { state, message: message.to_owned() });
    }

    /// Tells a frame's result.
    pub fn frame(&mut self, record: &FrameRecord, trend: &'static str, frames_per_second: f64) {
        self.pixels = record.width.saturating_mul(record.height);
        let words = FrameWords::new(record, frames_per_second);
        self.feed.tell(Topic::Frame, &View::Frame { record, trend, frames_per_second, words });
    }

    /// Takes a piece of a frame's masks in, and shows its nuclei when they are whole.
    pub fn masks(&mut self, piece: Piece, bytes: &[u8]) {
        let Some((frame, bytes)) = self.masks.push(piece, bytes) else { return };
        let Ok(labels) = decode_masks(&bytes, self.pixels) else { return };
        if let Ok(nuclei) = NucleiView::new(frame, &labels, &self.gates) {
            self.feed.outline(frame, &View::Nuclei(nuclei));
        }
    }

    /// Takes a piece of a frame's preview in, and shows it when it is whole.
    pub fn preview(&mut self, piece: Piece, bytes: &[u8]) {
        if let Some((frame, jpeg)) = self.preview.push(piece, bytes) {
            self.feed.show(frame, &jpeg);
        }
    }

    /// Puts other gates in force, from the next frame on, and keeps them.
    ///
    /// # Errors
    /// [`Failure`] when they cannot be kept; they are in force all the same.
    pub fn set_gates(&mut self, gates: Gates) -> Result<(), Failure> {
        self.gates = gates;
        self.feed.tell(Topic::Gates, &View::Gates(gates));
        self.place.as_deref().map_or(Ok(()), |place| gates.save(place))
    }

    /// Changes what is told of the work besides counting.
    pub fn work(&mut self, change: impl FnOnce(&mut Work)) {
        change(&mut self.work);
        self.feed.tell(Topic::Work, &View::Work(&self.work));
    }

    /// Tells what came of something asked for.
    pub fn told(&mut self, outcome: Result<String, Failure>) {
        self.work(|work| {
            work.failed = outcome.is_err();
            work.told = Some(outcome.unwrap_or_else(|failure| failure.to_string()));
        });
    }
}
