//! The station thread's side of the viewers' channel.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use host_console::Failure;
use shared::decode_labels;
use shared::wire::{Fragment, Identity, Settings, Status};

use super::command::ViewCommand;
use super::display::FrameText;
use super::feed::{Feed, ViewerChannel};
use super::fragment_assembler::FragmentAssembler;
use super::message::{Activity, FrameView, NucleiView, StationView, ViewMessage};
use crate::records::frame_record::FrameRecord;
use crate::records::gates::Gates;
use crate::station::client::LinkStats;
use crate::station::link_state::LinkState;

/// Commands that may wait.
const MAX_COMMANDS: usize = 16;

/// Publishes one station's results to its viewers, and receives their commands.
#[derive(Debug)]
pub struct ViewPublisher {
    feed: Arc<Feed>,
    commands: Receiver<ViewCommand>,
    gates: Gates,
    gates_path: Option<PathBuf>,
    labels: FragmentAssembler,
    preview: FragmentAssembler,
    /// Pixels of the newest frame.
    pixels: u32,
    activity: Activity,
}

impl ViewPublisher {
    /// A publisher with the gates saved last time, and the channel for its viewers.
    ///
    /// # Errors
    /// [`Failure`] when the gates' file is damaged.
    pub fn new() -> Result<(Self, ViewerChannel), Failure> {
        Ok(Self::with_gates(Gates::saved()?, Gates::path()))
    }

    /// A publisher with these gates, which saves later ones at `gates_path`.
    pub fn with_gates(gates: Gates, gates_path: Option<PathBuf>) -> (Self, ViewerChannel) {
        let feed = Arc::new(Feed::default());
        let (sender, commands) = sync_channel(MAX_COMMANDS);
        feed.publish(ViewMessage::Gates(gates));
        feed.publish(ViewMessage::Activity(Activity::default()));
        let channel = ViewerChannel { feed: Arc::clone(&feed), commands: sender };
        let (labels, preview, pixels, activity) = Default::default();
        (Self { feed, commands, gates, gates_path, labels, preview, pixels, activity }, channel)
    }

    /// The current gates.
    pub const fn gates(&self) -> Gates {
        self.gates
    }

    /// The next command, if there is one.
    pub fn next_command(&self) -> Option<ViewCommand> {
        self.commands.try_recv().ok()
    }

    /// Publishes the station's state. `line` is the port and its baud rate.
    pub fn publish_station(
        &self,
        line: (&str, u32),
        identity: &Identity,
        status: &Status,
        settings: &Settings,
        link: LinkStats,
    ) {
        let view = StationView::new(line, identity, status, settings, link, self.feed.viewers());
        self.feed.publish(ViewMessage::Station(view));
    }

    /// Publishes whether the station answers.
    pub fn set_link_state(&self, state: LinkState, message: &str) {
        self.feed.publish(ViewMessage::Link { state, message: message.to_owned() });
    }

    /// Publishes a frame's result.
    pub fn publish_frame(&mut self, record: FrameRecord, trend: &'static str, frames_per_second: f64) {
        self.pixels = record.width.saturating_mul(record.height);
        let text = FrameText::new(&record, frames_per_second);
        let view = FrameView { record, trend, frames_per_second, text };
        self.feed.publish(ViewMessage::Frame(Box::new(view)));
    }

    /// Adds a fragment of a frame's encoded label image, and publishes its nuclei once it is complete.
    pub fn add_labels(&mut self, fragment: Fragment, bytes: &[u8]) {
        let Some((frame, bytes)) = self.labels.push(fragment, bytes) else { return };
        let Ok(labels) = decode_labels(&bytes, self.pixels) else { return };
        if let Ok(nuclei) = NucleiView::new(frame, &labels, &self.gates) {
            self.feed.publish(ViewMessage::Nuclei(nuclei));
        }
    }

    /// Adds a fragment of a frame's preview, and publishes it once it is complete.
    pub fn add_preview(&mut self, fragment: Fragment, bytes: &[u8]) {
        if let Some((frame, jpeg)) = self.preview.push(fragment, bytes) {
            self.feed.publish(ViewMessage::Preview { frame, jpeg });
        }
    }

    /// Applies and saves other gates, from the next frame on.
    ///
    /// # Errors
    /// [`Failure`] when they cannot be saved; they are in force all the same.
    pub fn set_gates(&mut self, gates: Gates) -> Result<(), Failure> {
        self.gates = gates;
        self.feed.publish(ViewMessage::Gates(gates));
        self.gates_path.as_deref().map_or(Ok(()), |path| gates.save(path))
    }

    /// Changes and publishes the activity.
    pub fn update_activity(&mut self, change: impl FnOnce(&mut Activity)) {
        change(&mut self.activity);
        self.feed.publish(ViewMessage::Activity(self.activity.clone()));
    }

    /// Publishes the result of a command.
    pub fn set_result(&mut self, result: Result<String, Failure>) {
        self.update_activity(|activity| {
            activity.failed = result.is_err();
            activity.result = Some(result.unwrap_or_else(|failure| failure.to_string()));
        });
    }
}
