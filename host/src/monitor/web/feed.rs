//! What viewers are told: the state as it is, then every change.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::ws::Message;
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, Sender, channel};

use super::command::Command;

/// Changes that a viewer may lag behind before it misses some.
const LAG: usize = 64;

/// What is told of, the state before what is of one frame; a new viewer gets the last of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Who and how the station is.
    Station,
    /// The line to it.
    Link,
    /// Which nuclei count.
    Gates,
    /// Recording, flashing, and what came of a button.
    Work,
    /// A frame's result.
    Frame,
    /// A frame's picture.
    Preview,
    /// A frame's nuclei.
    Nuclei,
}

/// Something told.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What it is about.
    pub topic: Topic,
    /// The frame's number, where it is about a frame's picture or nuclei.
    pub frame: Option<u32>,
    /// What viewers get.
    pub message: Message,
}

/// What a viewer needs: what is told, and a place for what it asks for.
#[derive(Debug, Clone)]
pub struct Seat {
    /// What is told.
    pub feed: Arc<Feed>,
    /// What is asked for.
    pub commands: SyncSender<Command>,
}

/// The seat of those who watch one station.
#[derive(Debug, Clone)]
pub struct StationSeat {
    /// The station's port.
    pub port: String,
    /// Where it is followed.
    pub seat: Seat,
}

/// The last of each topic, and the changes as they come.
#[derive(Debug)]
pub struct Feed {
    latest: Mutex<BTreeMap<Topic, Message>>,
    changes: Sender<Change>,
    viewers: AtomicUsize,
}

impl Default for Feed {
    fn default() -> Self {
        Self { latest: Mutex::default(), changes: channel(LAG).0, viewers: AtomicUsize::new(0) }
    }
}

impl Feed {
    /// Tells viewers something as JSON.
    pub fn tell(&self, topic: Topic, value: &impl Serialize) {
        self.tell_of(topic, None, value);
    }

    /// Tells viewers of a frame's nuclei as JSON.
    pub fn outline(&self, frame: u32, value: &impl Serialize) {
        self.tell_of(Topic::Nuclei, Some(frame), value);
    }

    fn tell_of(&self, topic: Topic, frame: Option<u32>, value: &impl Serialize) {
        // What is told here has names for keys and no other reason to fail.
        let Ok(text) = serde_json::to_string(value) else { return };
        self.publish(Change { topic, frame, message: Message::Text(text.into()) });
    }

    /// Shows viewers a frame's preview: its number in four bytes, least first, then a JPEG.
    pub fn show(&self, frame: u32, jpeg: &[u8]) {
        let bytes = [&frame.to_le_bytes(), jpeg].concat();
        let message = Message::Binary(bytes.into());
        self.publish(Change { topic: Topic::Preview, frame: Some(frame), message });
    }

    fn publish(&self, change: Change) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.insert(change.topic, change.message.clone());
        // Within the lock, so that a new viewer misses nothing and sees nothing twice. Nobody may be there.
        let _ = self.changes.send(change);
    }

    /// What a new viewer is told first, and the changes from then on.
    pub fn follow(self: &Arc<Self>) -> (Vec<Message>, Receiver<Change>, Viewing) {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        self.viewers.fetch_add(1, Ordering::Relaxed);
        (latest.values().cloned().collect(), self.changes.subscribe(), Viewing(Arc::clone(self)))
    }

    /// The state as it is, for a viewer that missed changes. What still waits for it ends with the same state.
    /// Frames that it missed stay missed.
    pub fn state(&self) -> Vec<Message> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_state = |topic: &Topic| *topic < Topic::Frame;
        latest.iter().filter(|(topic, _)| is_state(topic)).map(|(_, message)| message.clone()).collect()
    }

    /// How many are watching.
    pub fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Relaxed)
    }
}

/// What one viewer is sent: every count, and pictures with their outlines as fast as it draws them.
#[derive(Debug, Default)]
pub struct Pace {
    /// The frame that it is drawing.
    drawing: Option<u32>,
}

impl Pace {
    /// Whether a change goes to the viewer. Nuclei come before their picture: they choose the frame.
    pub fn takes(&mut self, change: &Change) -> bool {
        match (change.topic, change.frame) {
            (Topic::Nuclei, frame) if self.drawing.is_none() => {
                self.drawing = frame;
                true
            }
            (Topic::Nuclei, _) => false,
            (Topic::Preview, frame) => self.drawing == frame,
            _ => true,
        }
    }

    /// The viewer has drawn what it was sent.
    pub fn drawn(&mut self) {
        self.drawing = None;
    }
}

/// A viewer counts as one until this is dropped.
#[derive(Debug)]
pub struct Viewing(Arc<Feed>);

impl Drop for Viewing {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_viewer_gets_the_last_of_each_topic_and_then_every_change() {
        let feed = Arc::new(Feed::default());
        for count in [1, 2] {
            feed.tell(Topic::Frame, &count);
        }
        feed.show(258, b"jpeg");
        let (latest, mut changes, viewing) = feed.follow();
        assert_eq!(latest, [Message::Text("2".into()), Message::Binary(b"\x02\x01\0\0jpeg".to_vec().into())]);
        assert_eq!(feed.viewers(), 1);
        feed.tell(Topic::Frame, &3);
        assert_eq!(changes.try_recv().unwrap().message, Message::Text("3".into()));
        drop(viewing);
        assert_eq!(feed.viewers(), 0);
    }

    #[test]
    fn pictures_come_as_fast_as_they_are_drawn_and_with_their_own_outlines() {
        let mut pace = Pace::default();
        let change = |topic, frame| Change { topic, frame, message: Message::Text("".into()) };
        let (nuclei, preview) =
            (|frame| change(Topic::Nuclei, Some(frame)), |frame| change(Topic::Preview, Some(frame)));
        assert!(pace.takes(&nuclei(1)));
        // Another frame is not sent before this one is drawn; counts always are.
        assert!(
            !pace.takes(&nuclei(2)) && !pace.takes(&preview(2)) && pace.takes(&change(Topic::Frame, None))
        );
        assert!(pace.takes(&preview(1)));
        assert!(!pace.takes(&nuclei(3)));
        pace.drawn();
        assert!(pace.takes(&nuclei(4)) && !pace.takes(&preview(3)) && pace.takes(&preview(4)));
    }

    #[test]
    fn a_viewer_that_missed_changes_learns_the_state() {
        let feed = Arc::new(Feed::default());
        feed.tell(Topic::Link, &"lost");
        let (_, mut changes, _viewing) = feed.follow();
        feed.tell(Topic::Link, &"up");
        (0..2 * LAG).for_each(|count| feed.tell(Topic::Frame, &count));
        assert!(matches!(changes.try_recv(), Err(tokio::sync::broadcast::error::TryRecvError::Lagged(_))));
        assert_eq!(feed.state(), [Message::Text("\"up\"".into())]);
    }

    #[test]
    fn a_viewer_that_lags_misses_frames_and_holds_up_nobody() {
        let feed = Arc::new(Feed::default());
        let (_, mut changes, _viewing) = feed.follow();
        for count in 0..2 * LAG {
            feed.tell(Topic::Frame, &count);
        }
        assert!(matches!(changes.try_recv(), Err(tokio::sync::broadcast::error::TryRecvError::Lagged(_))));
        assert_eq!(changes.try_recv().unwrap().message, Message::Text(LAG.to_string().into()));
    }
}
