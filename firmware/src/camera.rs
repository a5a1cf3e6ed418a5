//! Frame sources: a V4L2 camera, a folder or zip of images, a simulated microscope.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use shared::wire::Name;
use shared::{Image, LabelImage, Microseconds};

use crate::runtime::log;

mod error;
mod flat_fielded;
mod frame_pacer;
mod latest_channel;
mod picture_store;
mod pictures;
mod pixels;
mod simulated;
mod v4l2;

pub use error::CameraError;
pub use flat_fielded::FlatFielded;

/// A camera image with its metadata.
#[derive(Debug, Clone)]
pub struct Frame {
    /// When it was taken: ms since 1970 by the station's clock.
    pub time_unix_ms: u64,
    /// The image's file stem if the source is a folder or zip, else empty.
    pub source: Name,
    /// The image.
    pub image: Image,
    /// Exposure time, if the camera reports it.
    pub exposure: Option<Microseconds>,
    /// The nuclei of a simulated scene.
    pub truth: Option<LabelImage>,
    /// Time for decoding or conversion; 0 if the camera needs neither.
    pub convert: Microseconds,
    /// Camera frames skipped before this one.
    pub skipped: u32,
}

/// The result of grabbing a frame.
#[derive(Debug)]
pub enum Grab {
    /// The next frame.
    Frame(Box<Frame>),
    /// The source has reached its last image.
    Finished,
}

/// Which frame to grab. The names are those of Basler's pylon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrabStrategy {
    /// The latest frame of the camera, or the next one if that was already taken. Older frames are skipped.
    LatestOnly,
    /// For triggered acquisition: the next image of a folder or simulator, with none skipped, or the first frame of
    /// a live camera whose exposure begins after the call.
    OneByOne,
}

/// A source of frames, one per call.
pub trait Camera: Send {
    /// The camera's name.
    fn name(&self) -> &str;

    /// Waits for the next frame.
    ///
    /// # Errors
    /// [`CameraError`] when the camera is disconnected or silent. Open it again then.
    fn grab(&mut self, strategy: GrabStrategy) -> Result<Grab, CameraError>;
}

/// What follows the last image of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeat {
    /// Stop.
    Once,
    /// It starts over.
    #[default]
    Forever,
}

/// The configured camera: `kind = "v4l2"`, `"pictures"` or `"simulated"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CameraSource {
    /// A V4L2 camera.
    V4l2 {
        /// Its device file.
        #[serde(default = "first_device")]
        device: PathBuf,
        /// Requested width, px; the camera uses its nearest mode.
        #[serde(default = "default_width")]
        width: u32,
        /// Requested height, px.
        #[serde(default = "default_height")]
        height: u32,
    },
    /// Images of a folder or zip, sorted by name.
    Pictures {
        /// A folder, a zip, or one image.
        path: PathBuf,
        /// Images per second, 0.1 to 240.
        #[serde(default = "pictures_a_second")]
        frames_per_second: f32,
        /// What follows the last image.
        #[serde(default)]
        repeat: Repeat,
    },
    /// A simulated fluorescence microscope with known ground truth.
    Simulated {
        /// Pixels across.
        #[serde(default = "default_width")]
        width: u32,
        /// Pixels down.
        #[serde(default = "default_height")]
        height: u32,
        /// The same seed gives the same frames.
        #[serde(default = "default_seed")]
        seed: u64,
        /// Approximate number of nuclei in view.
        #[serde(default = "default_nuclei")]
        nuclei: u32,
        /// Frames per second, 0.1 to 240.
        #[serde(default = "scenes_a_second")]
        frames_per_second: f32,
    },
}

fn first_device() -> PathBuf {
    PathBuf::from("/dev/video0")
}

const fn default_width() -> u32 {
    640
}

const fn default_height() -> u32 {
    480
}

const fn default_seed() -> u64 {
    1
}

const fn default_nuclei() -> u32 {
    60
}

const fn pictures_a_second() -> f32 {
    2.0
}

const fn scenes_a_second() -> f32 {
    10.0
}

impl Default for CameraSource {
    /// The first camera that Linux found.
    fn default() -> Self {
        Self::V4l2 { device: first_device(), width: default_width(), height: default_height() }
    }
}

impl CameraSource {
    /// Opens the camera. A damaged image in a folder is reported on standard error and skipped.
    ///
    /// # Errors
    /// [`CameraError`].
    pub fn open(&self) -> Result<Box<dyn Camera>, CameraError> {
        Ok(match self {
            Self::V4l2 { device, width, height } => {
                Box::new(v4l2::V4l2Camera::open(device, *width, *height)?)
            }
            Self::Pictures { path, frames_per_second, repeat } => {
                let pacer = frame_pacer::FramePacer::new(*frames_per_second)?;
                let warn = |warning: &str| log!("warning: {warning}");
                Box::new(pictures::PictureCamera::open(path, pacer, *repeat, warn)?)
            }
            Self::Simulated { width, height, seed, nuclei, frames_per_second } => {
                let pacer = frame_pacer::FramePacer::new(*frames_per_second)?;
                Box::new(simulated::Simulated::new(*width, *height, *seed, *nuclei, pacer)?)
            }
        })
    }
}

/// The station's clock, ms since 1970; 0 before that.
fn unix_ms_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// A duration as sent on the wire, saturating at about an hour.
pub(crate) fn microseconds(duration: Duration) -> Microseconds {
    Microseconds(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_has_defaults_and_no_unknown_fields() {
        let read = |text: &str| toml::from_str::<CameraSource>(text);
        assert_eq!(read("kind = \"v4l2\"").unwrap(), CameraSource::default());
        assert_eq!(
            read("kind = \"simulated\"\nnuclei = 40").unwrap(),
            CameraSource::Simulated { width: 640, height: 480, seed: 1, nuclei: 40, frames_per_second: 10.0 }
        );
        assert_eq!(
            read("kind = \"pictures\"\npath = \"a.zip\"\nrepeat = \"once\"").unwrap(),
            CameraSource::Pictures { path: "a.zip".into(), frames_per_second: 2.0, repeat: Repeat::Once }
        );
        for bad in ["kind = \"webcam\"", "kind = \"pictures\"", "kind = \"simulated\"\nnucleii = 4", ""] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_opened_says_what_to_do() {
        let simulated = |width, nuclei, frames_per_second| CameraSource::Simulated {
            width,
            height: 480,
            seed: 1,
            nuclei,
            frames_per_second,
        };
        let cases = [
            (
                CameraSource::V4l2 { device: "/dev/no-such-camera".into(), width: 640, height: 480 },
                "connect it",
            ),
            (
                CameraSource::Pictures {
                    path: "/no/such/folder".into(),
                    frames_per_second: 1.0,
                    repeat: Repeat::Once,
                },
                "check the path",
            ),
            (simulated(640, 60, 0.0), "0.1 to 240"),
            (simulated(640, 60, f32::NAN), "0.1 to 240"),
            (simulated(8, 60, 10.0), "64 to 4096"),
            (simulated(640, 100_000, 10.0), "at most"),
        ];
        for (source, remedy) in cases {
            let Err(error) = source.open() else { panic!("{source:?} opened") };
            assert!(error.to_string().contains(remedy), "{error}");
        }
    }
}
