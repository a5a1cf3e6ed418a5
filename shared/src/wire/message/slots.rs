//! The slots, and the progress of a model upload.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{KeyId, ModelDigest, UnixSeconds};

/// A place for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Slot {
    /// In the program itself; cannot be written.
    Factory,
    /// The first writable slot.
    A,
    /// The second writable slot.
    B,
}

/// What a writable slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SlotState {
    /// Nothing of use.
    Empty,
    /// A model that is arriving or has arrived.
    Staged,
    /// A model that runs on trial.
    Trial,
    /// A confirmed model.
    Confirmed,
}

impl core::fmt::Display for SlotState {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty",
            Self::Staged => "staged",
            Self::Trial => "trial",
            Self::Confirmed => "confirmed",
        })
    }
}

/// The content of the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotReport {
    /// The slot that runs.
    pub active: Slot,
    /// The factory model.
    pub factory: ModelDigest,
    /// Slot A.
    pub a: SlotContent,
    /// Slot B.
    pub b: SlotContent,
}

/// What one slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotContent {
    /// Its state.
    pub state: SlotState,
    /// The model, if any.
    pub digest: Option<ModelDigest>,
    /// Its file's bytes.
    pub length: u32,
}

/// The progress of staging and activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageProgress {
    /// Nothing is staged.
    Idle,
    /// Receiving chunks: all before `received` are stored.
    Receiving {
        /// The model.
        digest: ModelDigest,
        /// Bytes stored without gaps from the start.
        received: u32,
        /// Bytes of the file.
        length: u32,
    },
    /// The model is verified, loaded and tried on its golden frame.
    Verifying {
        /// The model.
        digest: ModelDigest,
    },
    /// The model runs on trial.
    Trial {
        /// The model.
        digest: ModelDigest,
        /// Real frames still to pass.
        frames_left: u16,
    },
    /// The model is confirmed.
    Confirmed {
        /// The model.
        digest: ModelDigest,
    },
    /// The model was rejected or reverted; the previous model runs.
    Failed {
        /// The model.
        digest: ModelDigest,
        /// Why.
        reason: ModelRefusal,
    },
}

/// Why a model was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum ModelRefusal {
    /// The file is over the station's limit.
    #[error("the file is larger than the {limit} bytes that the station accepts")]
    TooLarge {
        /// The limit.
        limit: u32,
    },
    /// The bytes that arrived are not those announced.
    #[error("the file's SHA-256 differs from the announced one")]
    DigestMismatch,
    /// The bytes are not an ONNX model.
    #[error("the file is not an ONNX model")]
    NotOnnx,
    /// The model has no manifest.
    #[error("the model has no nuclei manifest in its metadata")]
    NoManifest,
    /// The manifest's format is another one.
    #[error("the manifest has format {found}, but the station supports {supported}")]
    ManifestVersion {
        /// The format found.
        found: u16,
        /// The format understood.
        supported: u16,
    },
    /// The manifest cannot be read or contradicts itself.
    #[error("the manifest is damaged, or contradicts itself or the network")]
    BadManifest,
    /// The inference engine cannot run the network.
    #[error("the network uses operators or shapes that the station cannot run")]
    Unsupported,
    /// The golden frame's labels are not the expected ones.
    #[error("the golden frame did not give the expected labels")]
    GoldenMismatch,
    /// The model failed on real frames.
    #[error("the model failed on real frames during its trial")]
    TrialFailed,
    /// The station restarted too often during the trial.
    #[error("the station restarted too often during the model's trial")]
    TrialInterrupted,
    /// The operator reverted it.
    #[error("it was reverted on request")]
    Reverted,
    /// The slot could not be written or read.
    #[error("the station's storage failed or is full")]
    Storage,
    /// The file is not signed, and the station trusts only certain keys.
    #[error("the file is not signed, and the station only accepts models signed by a trusted key")]
    Unsigned,
    /// The file was signed with an unknown key.
    #[error("the file is signed by key {key}, which the station does not trust")]
    UnknownKey {
        /// The key.
        key: KeyId,
    },
    /// The signature does not match key and file.
    #[error("the file does not match its signature")]
    BadSignature,
    /// A model that was signed later has been confirmed.
    #[error("it was signed {} before a model that the station has already confirmed", Span(confirmed.0.saturating_sub(signed.0)))]
    Older {
        /// When it was signed.
        signed: UnixSeconds,
        /// When the newest confirmed one was.
        confirmed: UnixSeconds,
    },
}

/// Seconds in the largest unit that they fill.
struct Span(u64);

impl core::fmt::Display for Span {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7200 => write!(f, "{} minutes", seconds / 60),
            seconds @ 7200..172_800 => write!(f, "{} hours", seconds / 3600),
            seconds => write!(f, "{} days", seconds / 86_400),
        }
    }
}
