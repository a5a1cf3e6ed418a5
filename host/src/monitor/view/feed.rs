//! The channel from a station's thread to its viewers: the current state first, then every message.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::{Receiver, Sender, channel};

use super::command::ViewCommand;
use super::message::{Topic, ViewMessage};

/// Messages that a viewer may lag behind before it misses some.
const LAG: usize = 64;

/// A viewer's connection to one station: messages in, commands out.
#[derive(Debug, Clone)]
pub struct ViewerChannel {
    /// The messages.
    pub feed: Arc<Feed>,
    /// The commands.
    pub commands: SyncSender<ViewCommand>,
}

/// The channel of one station among several.
#[derive(Debug, Clone)]
pub struct StationChannel {
    /// The station's port.
    pub port: String,
    /// Its channel.
    pub channel: ViewerChannel,
}

/// The newest message of each topic, and a broadcast of all.
#[derive(Debug)]
pub struct Feed {
    latest: Mutex<BTreeMap<Topic, Arc<ViewMessage>>>,
    messages: Sender<Arc<ViewMessage>>,
    viewers: AtomicUsize,
}

impl Default for Feed {
    fn default() -> Self {
        Self { latest: Mutex::default(), messages: channel(LAG).0, viewers: AtomicUsize::new(0) }
    }
}

impl Feed {
    /// Sends a message to all viewers.
    pub fn publish(&self, message: ViewMessage) {
        let message = Arc::new(message);
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.insert(message.topic(), Arc::clone(&message));
        // Within the lock, so that a new viewer misses nothing and sees nothing twice. There may be no viewer.
        let _ = self.messages.send(message);
    }

    /// The newest message of each topic, and the messages from now on.
    pub fn follow(self: &Arc<Self>) -> (Vec<Arc<ViewMessage>>, Receiver<Arc<ViewMessage>>, ViewerGuard) {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        self.viewers.fetch_add(1, Ordering::Relaxed);
        (latest.values().cloned().collect(), self.messages.subscribe(), ViewerGuard(Arc::clone(self)))
    }

    /// The state without frames, for a viewer that missed messages. The messages still in its queue end in the same
    /// state.
    pub fn state(&self) -> Vec<Arc<ViewMessage>> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.range(..Topic::Frame).map(|(_, message)| Arc::clone(message)).collect()
    }

    /// Number of viewers.
    pub fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Relaxed)
    }
}

/// Counts as one viewer until it is dropped.
#[derive(Debug)]
pub struct ViewerGuard(Arc<Feed>);

impl Drop for ViewerGuard {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;
    use crate::station::link_state::LinkState;

    fn link(message: &str) -> ViewMessage {
        ViewMessage::Link { state: LinkState::Up, message: message.to_owned() }
    }

    fn preview(frame: u32) -> ViewMessage {
        ViewMessage::Preview { frame, jpeg: b"jpeg".to_vec() }
    }

    fn described(messages: &[Arc<ViewMessage>]) -> Vec<String> {
        let described = |message: &Arc<ViewMessage>| match &**message {
            ViewMessage::Link { message, .. } => message.clone(),
            ViewMessage::Preview { frame, .. } => format!("preview {frame}"),
            other => format!("{other:?}"),
        };
        messages.iter().map(described).collect()
    }

    #[test]
    fn a_new_viewer_gets_the_newest_of_each_topic_and_then_every_message() {
        let feed = Arc::new(Feed::default());
        ["one", "two"].into_iter().for_each(|message| feed.publish(link(message)));
        feed.publish(preview(258));
        let (latest, mut messages, guard) = feed.follow();
        assert_eq!(described(&latest), ["two", "preview 258"]);
        assert_eq!(feed.viewers(), 1);
        feed.publish(link("three"));
        assert_eq!(described(&[messages.try_recv().unwrap()]), ["three"]);
        assert!(matches!(messages.try_recv(), Err(TryRecvError::Empty)));
        drop(guard);
        assert_eq!(feed.viewers(), 0);
    }

    #[test]
    fn a_lagging_viewer_misses_frames_and_gets_the_state() {
        let feed = Arc::new(Feed::default());
        let (_, mut messages, _guard) = feed.follow();
        feed.publish(link("up"));
        (1..=2 * LAG as u32).for_each(|frame| feed.publish(preview(frame)));
        assert!(matches!(messages.try_recv(), Err(TryRecvError::Lagged(_))));
        assert_eq!(described(&feed.state()), ["up"]);
        assert_eq!(described(&[messages.try_recv().unwrap()]), [format!("preview {}", LAG + 1)]);
    }
}
