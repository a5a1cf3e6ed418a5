//! The page's side of the thread that holds the station.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use host_console::Failure;
use shared::decode_masks;
use shared::wire::{Identity, Piece, Settings, Status};

use super::command::Command;
use super::feed::{Feed, Topic};
use super::gates::Gates;
use super::pieces::Pieces;
use super::server::{PageAddress, serve};
use super::view::{LinkState, NucleiView, StationView, View, Work};
use crate::frame_record::FrameRecord;
use crate::link::Traffic;

/// Things asked for that may wait.
const MAX_COMMANDS: usize = 16;

/// What a page shows, and what is asked for on it.
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
    /// Serves a page at that address, with the gates kept from last time.
    ///
    /// # Errors
    /// [`Failure`] when the address is taken or the gates' file is damaged.
    pub fn open(address: SocketAddr) -> Result<(Self, PageAddress), Failure> {
        let place = Gates::place();
        let gates = place.as_deref().map(Gates::load).transpose()?.unwrap_or_default();
        let feed = Arc::new(Feed::default());
        let (sender, commands) = sync_channel(MAX_COMMANDS);
        let page = serve(address, Arc::clone(&feed), sender)?;
        feed.tell(Topic::Gates, &View::Gates(gates));
        feed.tell(Topic::Work, &View::Work(&Work::default()));
        let (masks, preview, pixels, work) = Default::default();
        Ok((Self { feed, commands, gates, place, masks, preview, pixels, work }, page))
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
        self.feed.tell(Topic::Frame, &View::Frame { record, trend, frames_per_second });
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
