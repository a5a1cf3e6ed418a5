//! The messages: the host's requests, the station's responses, and its events.
//!
//! postcard does not describe itself. A variant or field that has shipped is never edited, moved or
//! removed; a new field is a new variant, appended, and [`PROTOCOL_VERSION`] is raised.
//! Integers have fixed widths. Every request may be retried safely.
//!
//! | request | answered by | trailing bulk bytes |
//! | --- | --- | --- |
//! | [`Request::Hello`] | [`Response::Hello`] | |
//! | [`Request::Status`] | [`Response::Status`] | |
//! | [`Request::Slots`], [`Request::Revert`] | [`Response::Slots`] | |
//! | [`Request::Stage`], [`Request::StageChunk`], [`Request::Activate`], [`Request::StageStatus`] | [`Response::Stage`] | chunk, on the request |
//! | [`Request::Settings`], [`Request::Set`] | [`Response::Settings`] | |
//! | [`Request::Capture`] | [`Response::Capture`] | |
//! | [`Request::ReadCapture`] | [`Response::CaptureData`] | data, on the response |
//! | [`Request::Echo`] | [`Response::Echo`] | the same bytes on both |
//! | [`Request::Challenge`] | [`Response::Challenge`] | |
//! | [`Request::FlatField`] | [`Response::FlatField`] | |
//! | [`Request::Resend`] | [`Response::Resend`], and an [`Event::Sequenced`] for each missing event | |
//! | [`Request::Change`] | as the request without a signature | |
//! | any | [`Response::Refused`] | |
//!
//! A station that trusts keys refuses [`Request::Stage`], [`Request::Activate`], [`Request::Revert`] and
//! [`Request::Set`]: it takes them as a [`Change`] that one of the keys signed.
//!
//! A frame's result and a notice are sent as [`Event::Sequenced`], whose number shows what came before it. A host that is
//! missing some requests them with [`Request::Resend`], as often as it likes: a [`Nack`] that arrives twice, late or from
//! another host causes needless copies, and nothing worse. [`Request::Hello`] opens a new conversation: the station skips
//! what waited to be sent, and a host that wants it requests it.

mod frame;
mod sequenced;
mod settings;
mod slots;
mod trust;

use heapless::String;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use frame::{CaptureInfo, CapturePart, CaptureState, FrameReport, QcFlags, StageTimes};
pub use sequenced::{BootId, EventRange, Nack, RETRANSMIT_CAPACITY, ReliableEvent, SequencedEvent};
pub use settings::{Acquisition, Setting, Settings, Stream};
pub use slots::{ModelRefusal, Slot, SlotContent, SlotReport, SlotState, StageProgress};
pub use trust::{
    Challenge, Change, Downgrade, KeyId, Nonce, Signature, SignedChange, Trust, TrustRefusal, UnixSeconds,
};

/// Version of everything in this module and of the packet layout.
pub const PROTOCOL_VERSION: u16 = 1;

/// Longest name of an image, camera or station, in bytes of UTF-8.
pub const MAX_NAME: usize = 96;
/// A short name.
pub type Name = String<MAX_NAME>;

/// As many whole characters of a text as fit into a [`Name`].
pub fn truncated_name(text: &str) -> Name {
    let mut name = Name::new();
    for character in text.chars() {
        if name.push(character).is_err() {
            break;
        }
    }
    name
}

/// SHA-256 of a whole model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelDigest(pub [u8; 32]);

impl ModelDigest {
    /// The digest of a model file.
    pub fn of(onnx: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(onnx).into())
    }
}

impl core::fmt::Display for ModelDigest {
    /// The first eight bytes in hexadecimal, enough to distinguish models by eye. `{:#}` prints all 32.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let shown = if f.alternate() { 32 } else { 8 };
        self.0[..shown].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// SHA-256 of a flat field's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlatFieldDigest(pub [u8; 32]);

impl core::fmt::Display for FlatFieldDigest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Requests of the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Opens a conversation. Answered for any version.
    Hello {
        /// The host's [`PROTOCOL_VERSION`].
        protocol: u16,
    },
    /// The station's status.
    Status,
    /// The content of the slots.
    Slots,
    /// Announces a model for the inactive slot. The same announcement resumes where it stopped.
    Stage {
        /// Bytes of the file.
        length: u32,
        /// Its digest.
        digest: ModelDigest,
    },
    /// A chunk of the announced model, as bulk bytes. Chunks may arrive in any order and repeatedly.
    StageChunk {
        /// Its model.
        digest: ModelDigest,
        /// Byte offset in the file; a multiple of `CHUNK`.
        offset: u32,
    },
    /// Verifies, loads and tries the staged model, then activates it on trial.
    Activate {
        /// The model meant.
        digest: ModelDigest,
    },
    /// The progress of staging and activation.
    StageStatus,
    /// Reverts to the previous model.
    Revert {
        /// The active model to leave; another active model makes this a no-op.
        digest: ModelDigest,
    },
    /// The current settings.
    Settings,
    /// Changes one setting.
    Set(Setting),
    /// Captures the next frame, and stores it with its result for reading. The same token returns the same frame.
    Capture {
        /// Chosen by the host, other than that of the last capture.
        token: u32,
    },
    /// Reads a chunk of a captured frame.
    ReadCapture {
        /// The capture's token.
        token: u32,
        /// What to read.
        part: CapturePart,
        /// Byte offset in the part.
        offset: u32,
    },
    /// Sends the bulk bytes back: a test of the line.
    Echo,
    /// Whom the station trusts, and the challenge for signing a change.
    Challenge,
    /// A signed change. The last accepted one may be repeated: it gets the same response and is not executed again.
    Change(SignedChange),
    /// The flat field applied to frames.
    FlatField,
    /// Requests the frame results and notices that the host is missing, and asks how far the station is.
    Resend(Nack),
}

/// Responses of the station.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// Who answers.
    Hello(Identity),
    /// The station's status.
    Status(Status),
    /// The content of the slots.
    Slots(SlotReport),
    /// The progress of staging and activation.
    Stage(StageProgress),
    /// The current settings.
    Settings(Settings),
    /// A capture's state.
    Capture(CaptureState),
    /// A chunk of a captured frame, as bulk bytes.
    CaptureData {
        /// The capture's token.
        token: u32,
        /// Byte offset in the part.
        offset: u32,
    },
    /// The received bytes.
    Echo,
    /// The request was understood but refused.
    Refused(Refusal),
    /// Whom the station trusts, and the challenge for signing a change.
    Challenge(Challenge),
    /// The flat field applied to frames, if any.
    FlatField(Option<FlatFieldDigest>),
    /// Which frame results and notices can be resent, and how far the station has sent them.
    Resend(EventRange),
}

/// Events sent by the station without a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "each is encoded or handled at once, never held in numbers")]
pub enum Event {
    /// A frame's result or a notice. Resent until the host acknowledges it.
    Sequenced(SequencedEvent),
    /// A fragment of a frame's masks (label codec), as bulk bytes. Dropped and counted on a slow line.
    Masks(Fragment),
    /// A fragment of a frame's preview (JPEG), as bulk bytes. Dropped and counted on a slow line.
    Preview(Fragment),
}

/// Which part of a larger object a packet's bulk bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment {
    /// The frame's number.
    pub frame: u32,
    /// Byte offset of this fragment.
    pub offset: u32,
    /// Bytes of the whole object.
    pub total: u32,
}

/// Who the station is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The station's [`PROTOCOL_VERSION`].
    pub protocol: u16,
    /// The station's program version.
    pub version: Name,
    /// The station's own name, from its settings.
    pub name: Name,
}

/// The station's status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Time since start, ms.
    pub uptime_ms: u64,
    /// The state of the camera.
    pub camera: CameraState,
    /// The camera's name.
    pub camera_name: Name,
    /// The model that runs.
    pub model: ModelDigest,
    /// Frames counted since start.
    pub frames: u32,
    /// Camera frames skipped because a newer one was available.
    pub frames_skipped: u32,
    /// Masks and previews not sent because the line was slow.
    pub frames_unsent: u32,
    /// Damaged packets received.
    pub damaged_packets: u32,
    /// Threads that the network runs on.
    pub threads: u16,
}

/// The state of the camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CameraState {
    /// Frames come.
    Running,
    /// None; the station keeps trying.
    Absent,
    /// A folder of images has reached its end.
    Finished,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum Refusal {
    /// The message is unknown to this version.
    #[error("the station does not know this request")]
    Unknown,
    /// The versions differ.
    #[error("the station speaks protocol {station}")]
    Protocol {
        /// The station's version.
        station: u16,
    },
    /// There is nothing with that digest or token.
    #[error("the station has nothing with that name")]
    NotFound,
    /// An offset or length is outside its object.
    #[error("the offset or length is out of range")]
    OutOfRange,
    /// The current state does not allow it.
    #[error("the station is busy verifying or trying a model")]
    Busy,
    /// The model cannot be run.
    #[error("model rejected: {0}")]
    Model(ModelRefusal),
    /// The station does not accept it from this sender.
    #[error(transparent)]
    Trust(TrustRefusal),
}

/// Something changed at the station.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// The camera connected, disconnected or ended.
    Camera(CameraState),
    /// Staging or activation progressed.
    Stage(StageProgress),
}
