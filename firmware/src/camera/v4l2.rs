//! A camera that Linux drives, through V4L2.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ::v4l::buffer::{Flags, Type};
use ::v4l::io::mmap::Stream;
use ::v4l::io::traits::CaptureStream as _;
use ::v4l::video::Capture as _;
use ::v4l::{Device, FourCC};
use shared::Microseconds;

use super::latest_channel::{Freshness, LatestReceiver, LatestSender, RecvError, latest_channel};
use super::pixels::{PixelFormat, PixelLayout, convert};
use super::{Camera, CameraError, Frame, Grab, GrabStrategy, microseconds, unix_ms_now};

/// Timeout for a frame; slow cameras expose for a second or two.
const FRAME_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of driver buffers.
const BUFFERS: u32 = 4;
/// Number of consecutive damaged frames that is tolerated; cameras start with a few.
const MAX_DAMAGED: u32 = 30;
/// `V4L2_CID_EXPOSURE_ABSOLUTE`, in units of 100 µs.
const EXPOSURE_ABSOLUTE: u32 = 0x009a_0902;

/// A frame from the driver.
struct RawFrame {
    bytes: Vec<u8>,
    time_unix_ms: u64,
    exposure: Option<Microseconds>,
}

/// The driver's frame numbers; a gap means frames were lost before they reached the station.
#[derive(Default)]
struct Sequence(Option<u32>);

impl Sequence {
    /// A larger gap is ignored: the driver restarted, or does not count.
    const LARGEST_GAP: u32 = 1 << 16;

    /// Frames lost between the frame before and this one.
    fn lost_before(&mut self, number: u32) -> u32 {
        let before = self.0.replace(number);
        let gap = before.map_or(0, |before| number.wrapping_sub(before).wrapping_sub(1));
        if gap > Self::LARGEST_GAP { 0 } else { gap }
    }
}

/// What the capture thread reports once the device is open.
struct Opened {
    name: String,
    layout: PixelLayout,
}

/// A camera with its own capture thread, so that the newest frame is always available.
pub(super) struct V4l2Camera {
    device: PathBuf,
    name: String,
    layout: PixelLayout,
    // Declared before the thread: dropping the receiver ends the thread.
    frames: Option<LatestReceiver<RawFrame, CameraError>>,
    thread: Option<JoinHandle<()>>,
}

impl V4l2Camera {
    /// Opens a device file and starts capturing at the size nearest to the requested one.
    pub(super) fn open(device: &Path, width: u32, height: u32) -> Result<Self, CameraError> {
        let (sender, frames) = latest_channel();
        let (report, opened) = mpsc::channel();
        let path = device.to_owned();
        // The device is only used on this thread, because the bindings panic if its driver returns nonsense.
        let thread = thread::Builder::new()
            .name("camera".to_owned())
            .spawn(move || capture(&path, (width, height), &report, sender))
            .map_err(|source| CameraError::Open { device: device.to_owned(), source })?;
        let lost = || CameraError::Lost { device: device.to_owned(), source: None };
        let Opened { name, layout } = opened.recv().map_err(|_| lost())??;
        Ok(Self { device: device.to_owned(), name, layout, frames: Some(frames), thread: Some(thread) })
    }

    fn next_raw(&self, freshness: Freshness) -> Result<(RawFrame, u32), CameraError> {
        let lost = || CameraError::Lost { device: self.device.clone(), source: None };
        let frames = self.frames.as_ref().ok_or_else(lost)?;
        // The capture thread times out first, with the better reason.
        match frames.recv(freshness, 3 * FRAME_TIMEOUT) {
            Ok(received) => Ok((received.item, received.skipped)),
            Err(RecvError::Ended(reason)) => Err(reason.unwrap_or_else(lost)),
            Err(RecvError::TimedOut) => Err(silent(&self.device)),
        }
    }
}

fn silent(device: &Path) -> CameraError {
    CameraError::Silent { device: device.to_owned(), seconds: FRAME_TIMEOUT.as_secs() }
}

impl Camera for V4l2Camera {
    fn name(&self) -> &str {
        &self.name
    }

    fn grab(&mut self, strategy: GrabStrategy) -> Result<Grab, CameraError> {
        let freshness = match strategy {
            GrabStrategy::LatestOnly => Freshness::Any,
            GrabStrategy::OneByOne => Freshness::BegunAfterCall,
        };
        let mut skipped = 0u32;
        let mut damaged = 0;
        loop {
            let (raw, newly_skipped) = self.next_raw(freshness)?;
            skipped = skipped.saturating_add(newly_skipped);
            let start = Instant::now();
            match convert(&raw.bytes, self.layout) {
                Ok(image) => {
                    return Ok(Grab::Frame(Box::new(Frame {
                        time_unix_ms: raw.time_unix_ms,
                        source: Default::default(),
                        image,
                        exposure: raw.exposure,
                        truth: None,
                        convert: microseconds(start.elapsed()),
                        skipped,
                    })));
                }
                Err(source) => {
                    damaged += 1;
                    skipped = skipped.saturating_add(1);
                    if damaged >= MAX_DAMAGED {
                        return Err(CameraError::Damaged {
                            device: self.device.clone(),
                            frames: damaged,
                            source,
                        });
                    }
                }
            }
        }
    }
}

impl Drop for V4l2Camera {
    /// Waits for the capture thread, so that the device can be opened again.
    fn drop(&mut self) {
        self.frames = None;
        if let Some(thread) = self.thread.take() {
            // The thread printed its own panic.
            let _ = thread.join();
        }
    }
}

/// The capture thread: opens the device, reports how, and sends frames until it fails or nobody receives them.
fn capture(
    device: &Path,
    wished: (u32, u32),
    report: &mpsc::Sender<Result<Opened, CameraError>>,
    sender: LatestSender<RawFrame, CameraError>,
) {
    let (camera, mut stream) = match start(device, wished) {
        Ok((camera, stream, opened)) => {
            if report.send(Ok(opened)).is_err() {
                return;
            }
            (camera, stream)
        }
        Err(error) => {
            // The opener of the camera waits for this.
            let _ = report.send(Err(error));
            return;
        }
    };
    let mut sequence = Sequence::default();
    loop {
        match stream.next() {
            Ok((bytes, meta)) => {
                sender.count_lost(sequence.lost_before(meta.sequence));
                if meta.flags.contains(Flags::ERROR) {
                    sender.count_lost(1);
                    continue;
                }
                let bytes = &bytes[..(meta.bytesused as usize).min(bytes.len())];
                let raw = RawFrame {
                    bytes: bytes.to_vec(),
                    time_unix_ms: unix_ms_now(),
                    exposure: exposure(&camera),
                };
                if !sender.send(raw) {
                    return;
                }
            }
            // After a timeout the bindings would queue a buffer twice, so the device is reopened instead.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return sender.end(silent(device)),
            Err(error) => {
                return sender.end(CameraError::Lost { device: device.to_owned(), source: Some(error) });
            }
        }
    }
}

fn start(device: &Path, wished: (u32, u32)) -> Result<(Device, Stream<'static>, Opened), CameraError> {
    let refused = |source| CameraError::Open { device: device.to_owned(), source };
    let camera = Device::with_path(device).map_err(refused)?;
    let name = camera.query_caps().map_err(refused)?.card;
    let layout = negotiate(&camera, device, wished)?;
    let mut stream = Stream::with_buffers(&camera, Type::VideoCapture, BUFFERS).map_err(refused)?;
    stream.set_timeout(FRAME_TIMEOUT);
    Ok((camera, stream, Opened { name, layout }))
}

/// Sets the best format supported by both camera and station.
fn negotiate(
    camera: &Device,
    device: &Path,
    (width, height): (u32, u32),
) -> Result<PixelLayout, CameraError> {
    let refused = |source| CameraError::Open { device: device.to_owned(), source };
    let offered: Vec<FourCC> =
        camera.enum_formats().map_err(refused)?.into_iter().map(|format| format.fourcc).collect();
    for format in PixelFormat::ALL {
        let fourcc = FourCC::new(format.fourcc());
        if !offered.contains(&fourcc) {
            continue;
        }
        let set = camera.set_format(&::v4l::Format::new(width, height, fourcc)).map_err(refused)?;
        if set.fourcc == fourcc {
            return Ok(PixelLayout { format, width: set.width, height: set.height, stride: set.stride });
        }
    }
    let names: Vec<String> = offered.iter().map(ToString::to_string).collect();
    let offered = if names.is_empty() { "no format".to_owned() } else { names.join(", ") };
    Err(CameraError::Format { device: device.to_owned(), offered })
}

/// The current exposure time, if the camera has that control.
fn exposure(camera: &Device) -> Option<Microseconds> {
    match camera.control(EXPOSURE_ABSOLUTE).ok()?.value {
        ::v4l::control::Value::Integer(hundreds) => {
            u32::try_from(hundreds.checked_mul(100)?).ok().map(Microseconds)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_also_across_the_wrap_and_a_new_start_is_none() {
        let lost = |numbers: &[u32]| {
            let mut sequence = Sequence::default();
            numbers.iter().map(|&number| sequence.lost_before(number)).collect::<Vec<_>>()
        };
        assert_eq!(lost(&[7, 8, 11, 12]), [0, 0, 2, 0]);
        assert_eq!(lost(&[u32::MAX - 1, u32::MAX, 1]), [0, 0, 1]);
        assert_eq!(lost(&[900, 0, 1, 1, 1]), [0; 5]);
    }
}
