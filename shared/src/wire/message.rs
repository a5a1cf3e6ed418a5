//! The messages, as a table: what the host asks, what the station answers, what it tells unasked.
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
//! | any | [`Response::Refused`] | |

use heapless::String;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::units::{DutyCycle, Microseconds, PixelSize};

/// Version of everything in this module and of the packet layout.
pub const PROTOCOL_VERSION: u16 = 1;

/// Longest name of a picture, camera or station, in bytes of UTF-8.
pub const MAX_NAME: usize = 96;
/// A short name.
pub type Name = String<MAX_NAME>;

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
    /// The first eight bytes in hexadecimal: enough to tell models apart by eye. `{:#}` gives all 32.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let shown = if f.alternate() { 32 } else { 8 };
        self.0[..shown].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What the host asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Opens a conversation. Answered whatever version is asked for.
    Hello {
        /// The host's [`PROTOCOL_VERSION`].
        protocol: u16,
    },
    /// How the station is.
    Status,
    /// What the slots hold.
    Slots,
    /// Announces a model for the inactive slot. The same announcement resumes where it stopped.
    Stage {
        /// Bytes of the file.
        length: u32,
        /// Its digest.
        digest: ModelDigest,
    },
    /// A piece of the announced model, as bulk bytes. Pieces may arrive in any order and twice.
    StageChunk {
        /// The model that it belongs to.
        digest: ModelDigest,
        /// Byte offset in the file; a multiple of `CHUNK`.
        offset: u32,
    },
    /// Verifies, loads and tries the staged model, then activates it on trial.
    Activate {
        /// The model meant.
        digest: ModelDigest,
    },
    /// How far staging and activation are.
    StageStatus,
    /// Goes back to the model before the active one.
    Revert {
        /// The active model to leave; another active model makes this a no-op.
        digest: ModelDigest,
    },
    /// The settings in force.
    Settings,
    /// Changes one setting.
    Set(Setting),
    /// Takes the next frame, keeps it and its result for reading. The same token gives the same frame.
    Capture {
        /// Chosen by the host, other than that of the last capture.
        token: u32,
    },
    /// Reads a piece of a captured frame.
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
}

/// What the station answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// Who answers.
    Hello(Identity),
    /// How the station is.
    Status(Status),
    /// What the slots hold.
    Slots(SlotReport),
    /// How far staging and activation are.
    Stage(StageProgress),
    /// The settings in force.
    Settings(Settings),
    /// A capture's state.
    Capture(CaptureState),
    /// A piece of a captured frame, as bulk bytes.
    CaptureData {
        /// The capture's token.
        token: u32,
        /// Byte offset in the part.
        offset: u32,
    },
    /// The bytes that came.
    Echo,
    /// The request was understood and not done.
    Refused(Refusal),
}

/// What the station tells unasked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A frame's result. Never dropped.
    Frame(FrameReport),
    /// A piece of a frame's masks (mask codec), as bulk bytes. Dropped and counted on a slow line.
    Masks(Piece),
    /// A piece of a frame's preview (JPEG), as bulk bytes. Dropped and counted on a slow line.
    Preview(Piece),
    /// Something changed.
    Notice(Notice),
}

/// Which piece of a longer run of bytes a packet's bulk bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The frame's number.
    pub frame: u32,
    /// Byte offset of this piece.
    pub offset: u32,
    /// Bytes in all.
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

/// How the station is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Time since start, ms.
    pub uptime_ms: u64,
    /// Whether a camera delivers.
    pub camera: CameraState,
    /// The camera's name.
    pub camera_name: Name,
    /// The model that runs.
    pub model: ModelDigest,
    /// Frames counted since start.
    pub frames: u32,
    /// Camera frames passed over since a newer one was there.
    pub frames_skipped: u32,
    /// Mask and preview frames not sent since the line was slow.
    pub frames_unsent: u32,
    /// Damaged packets received.
    pub damaged_packets: u32,
    /// Threads that the network runs on.
    pub threads: u16,
}

/// Whether a camera delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CameraState {
    /// Frames come.
    Running,
    /// There is none; the station keeps looking.
    Absent,
    /// A folder of pictures came to its end.
    Finished,
}

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
    /// A model that has proved itself.
    Confirmed,
}

/// What the slots hold.
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
    /// The model, where there is one.
    pub digest: Option<ModelDigest>,
    /// Its file's bytes.
    pub length: u32,
}

/// How far staging and activation are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageProgress {
    /// Nothing is staged.
    Idle,
    /// Chunks are awaited: all before `received` are held.
    Receiving {
        /// The model.
        digest: ModelDigest,
        /// Bytes held without a gap from the start.
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
    /// The model has proved itself.
    Confirmed {
        /// The model.
        digest: ModelDigest,
    },
    /// The model was refused or reverted; the one before runs.
    Failed {
        /// The model.
        digest: ModelDigest,
        /// Why.
        reason: ModelRefusal,
    },
}

/// Why a model is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum ModelRefusal {
    /// The file is over the station's limit.
    #[error("the file is longer than the {limit} bytes that the station takes")]
    TooLarge {
        /// The limit.
        limit: u32,
    },
    /// The bytes that arrived are not those announced.
    #[error("the file's SHA-256 is not the one announced")]
    DigestMismatch,
    /// The bytes are not an ONNX model.
    #[error("the file is not an ONNX model")]
    NotOnnx,
    /// The model says nothing about itself.
    #[error("the model has no nuclei manifest in its metadata")]
    NoManifest,
    /// The manifest's format is another one.
    #[error("the manifest's format {found} is not the {supported} that the station understands")]
    ManifestVersion {
        /// The format found.
        found: u16,
        /// The format understood.
        supported: u16,
    },
    /// The manifest cannot be read or contradicts itself.
    #[error("the manifest is damaged or contradicts itself or the network")]
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
}

/// Why a request was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum Refusal {
    /// The message is none of this version.
    #[error("the station does not know this request")]
    Unknown,
    /// The versions differ.
    #[error("the station speaks protocol {station}")]
    Protocol {
        /// The station's version.
        station: u16,
    },
    /// Nothing of that digest or token is there.
    #[error("the station holds nothing of that name")]
    NotFound,
    /// An offset or length is outside its object.
    #[error("the offset or length is out of range")]
    OutOfRange,
    /// The state does not allow it now.
    #[error("the station is busy with a model's verification or trial")]
    Busy,
    /// The model cannot be run.
    #[error("the model is refused: {0}")]
    Model(ModelRefusal),
}

/// A setting to change. It holds until the station restarts; the TOML file holds what lasts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Setting {
    /// Brightness of the illumination.
    Illumination(DutyCycle),
    /// The camera's scale; `None` forgets it.
    PixelSize(Option<PixelSize>),
    /// When frames are taken. Continuous again when the host leaves.
    Acquisition(Acquisition),
    /// Whether masks are streamed.
    Masks(Stream),
    /// Whether previews are streamed.
    Preview(Stream),
}

/// When frames are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Acquisition {
    /// One after the other; the newest wins.
    Continuous,
    /// One for each [`Request::Capture`], none passed over.
    Triggered,
}

/// Whether something is streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Not sent.
    Off,
    /// Sent as the line allows.
    On,
}

/// The settings in force.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Brightness of the illumination.
    pub illumination: DutyCycle,
    /// The camera's scale, where it is known.
    pub pixel_size: Option<PixelSize>,
    /// When frames are taken.
    pub acquisition: Acquisition,
    /// Whether masks are streamed.
    pub masks: Stream,
    /// Whether previews are streamed.
    pub preview: Stream,
}

/// A capture's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CaptureState {
    /// The frame is awaited or computed: ask again with the same token.
    Pending,
    /// The frame and its result can be read.
    Ready(CaptureInfo),
    /// The pictures came to their end: there is no further frame.
    Finished,
    /// No camera delivers.
    CameraAbsent,
}

/// What a capture holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptureInfo {
    /// The frame's result.
    pub report: FrameReport,
    /// Bytes of the picture (PNG).
    pub picture_length: u32,
    /// Bytes of the labels (mask codec).
    pub labels_length: u32,
    /// Bytes of the true labels (mask codec) where the camera knows them, else 0.
    pub truth_length: u32,
}

/// What to read of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CapturePart {
    /// The picture, PNG.
    Picture,
    /// The labels found, mask codec.
    Labels,
    /// The true labels of a simulated scene, mask codec.
    Truth,
}

/// A frame's count with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrameReport {
    /// The frame's number since the station's start.
    pub frame: u32,
    /// When it was taken: ms since 1970 by the station's clock.
    pub time_unix_ms: u64,
    /// The picture's own name, where the camera is a folder; else empty.
    pub source: Name,
    /// The model that counted.
    pub model: ModelDigest,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Nuclei found.
    pub count: u32,
    /// Nuclei in the scene, where the camera is simulated and so knows.
    pub true_count: Option<u32>,
    /// Area-weighted median equivalent diameter, px; 0 without nuclei.
    pub median_diameter_px: f32,
    /// Share of the picture that nuclei cover, 0 to 1.
    pub confluence: f32,
    /// Factor by which the picture was resized for the network.
    pub scale: f32,
    /// Exposure time, where the camera tells.
    pub exposure: Option<Microseconds>,
    /// Brightness of the illumination.
    pub illumination: DutyCycle,
    /// Focus score: see `Evidence`.
    pub focus: f32,
    /// Share of saturated pixels, 0 to 1.
    pub saturated: f32,
    /// Why the count cannot be trusted; empty where it can.
    pub doubts: Doubts,
    /// Where the time went.
    pub times: StageTimes,
    /// Camera frames passed over before this one.
    pub skipped: u32,
}

/// Reasons not to trust a count, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Doubts(pub u16);

impl Doubts {
    /// No reason.
    pub const NONE: Self = Self(0);
    /// The picture is out of focus.
    pub const OUT_OF_FOCUS: Self = Self(1);
    /// Too many pixels are saturated.
    pub const SATURATED: Self = Self(1 << 1);
    /// The picture has too little contrast to hold anything.
    pub const BLANK: Self = Self(1 << 2);
    /// Nuclei cover so much that neighbours cannot be told apart.
    pub const TOO_DENSE: Self = Self(1 << 3);
    /// The nuclei are smaller or larger than the model can be resized to.
    pub const OFF_SCALE: Self = Self(1 << 4);

    /// Every reason with what a person is told.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::OUT_OF_FOCUS, "out of focus"),
        (Self::SATURATED, "saturated"),
        (Self::BLANK, "blank picture"),
        (Self::TOO_DENSE, "too dense"),
        (Self::OFF_SCALE, "nuclei too small or too large"),
    ];

    /// Both sets of reasons.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The reasons in words.
    pub fn reasons(self) -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().filter(move |&(doubt, _)| self.contains(doubt)).map(|(_, words)| words)
    }
}

/// Where a frame's time went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StageTimes {
    /// Decoding or converting the camera's frame.
    pub convert: Microseconds,
    /// Stretching, resizing and tiling.
    pub preprocess: Microseconds,
    /// The network, all tiles and passes.
    pub network: Microseconds,
    /// Watershed and labels.
    pub extraction: Microseconds,
    /// Focus, saturation and object measures.
    pub evidence: Microseconds,
    /// Encoding masks and preview.
    pub encode: Microseconds,
}

/// Something changed at the station.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// The camera came, went or ended.
    Camera(CameraState),
    /// Staging or activation went on by itself.
    Stage(StageProgress),
}
