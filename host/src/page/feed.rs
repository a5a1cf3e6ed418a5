//! What viewers are told: the state as it is, then every change.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::ws::Message;
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, Sender, channel};

/// Changes that a viewer may lag behind before it misses some.
const LAG: usize = 64;

/// What is told of; a new viewer gets the last of each.
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

/// The last of each topic, and the changes as they come.
#[derive(Debug)]
pub struct Feed {
    latest: Mutex<BTreeMap<Topic, Message>>,
    changes: Sender<Message>,
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
        // What is told here has names for keys and no other reason to fail.
        let Ok(text) = serde_json::to_string(value) else { return };
        self.publish(topic, Message::Text(text.into()));
    }

    /// Shows viewers a frame's preview: its number in four bytes, least first, then a JPEG.
    pub fn show(&self, frame: u32, jpeg: &[u8]) {
        let bytes = [&frame.to_le_bytes(), jpeg].concat();
        self.publish(Topic::Preview, Message::Binary(bytes.into()));
    }

    fn publish(&self, topic: Topic, message: Message) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.insert(topic, message.clone());
        // Within the lock, so that a new viewer misses nothing and sees nothing twice. Nobody may be there.
        let _ = self.changes.send(message);
    }

    /// What a new viewer is told first, and the changes from then on.
    pub fn follow(self: &Arc<Self>) -> (Vec<Message>, Receiver<Message>, Viewing) {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        self.viewers.fetch_add(1, Ordering::Relaxed);
        (latest.values().cloned().collect(), self.changes.subscribe(), Viewing(Arc::clone(self)))
    }

    /// How many are watching.
    pub fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Relaxed)
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
        assert_eq!(changes.try_recv().unwrap(), Message::Text("3".into()));
        drop(viewing);
        assert_eq!(feed.viewers(), 0);
    }

    #[test]
    fn a_viewer_that_lags_misses_frames_and_holds_up_nobody() {
        let feed = Arc::new(Feed::default());
        let (_, mut changes, _viewing) = feed.follow();
        for count in 0..2 * LAG {
            feed.tell(Topic::Frame, &count);
        }
        assert!(matches!(changes.try_recv(), Err(tokio::sync::broadcast::error::TryRecvError::Lagged(_))));
        assert_eq!(changes.try_recv().unwrap(), Message::Text(LAG.to_string().into()));
    }
}
