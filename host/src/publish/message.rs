//! Messages to the broker.

/// A message to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttMessage {
    /// A count's number in the queue; 0 of a state.
    pub number: u64,
    /// Its topic.
    pub topic: String,
    /// Its payload, UTF-8.
    pub content: String,
    /// Whether it is queued or retained.
    pub kind: MessageKind,
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// A count: queued until the broker has acknowledged it.
    Count,
    /// A state: the broker retains the newest, and each connection sends it again.
    State,
}
