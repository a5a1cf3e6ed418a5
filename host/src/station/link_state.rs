//! Whether a station is connected.

use serde::{Deserialize, Serialize};

/// Whether a station is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// It answers.
    Up,
    /// It has stopped answering.
    Lost,
    /// It has never answered yet.
    Absent,
}
