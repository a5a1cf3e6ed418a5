//! A simulated fluorescence microscope: frames with stained nuclei, and their ground truth.

use shared::{Channels, Image, LabelImage, Microseconds};

use self::optics::Optics;
use self::specimen::Specimen;
use super::frame_pacer::FramePacer;
use super::{Camera, CameraError, Frame, Grab, GrabStrategy, unix_ms_now};

mod chromatin;
mod nucleus;
mod optics;
mod random;
mod specimen;

/// Minimum and maximum side of a simulated image, px.
const SIDES: std::ops::RangeInclusive<u32> = 64..=4096;
/// Minimum image area per nucleus, px; at higher density they would pile up.
const ROOM: u32 = 900;

/// A microscope with a living specimen. Frame `n` is the same for the same seed, whichever frames were grabbed.
pub(super) struct Simulated {
    width: u32,
    height: u32,
    specimen: Specimen,
    optics: Optics,
    pacer: FramePacer,
    started: bool,
}

impl Simulated {
    /// A microscope with about `nuclei` nuclei in view.
    pub(super) fn new(
        width: u32,
        height: u32,
        seed: u64,
        nuclei: u32,
        pacer: FramePacer,
    ) -> Result<Self, CameraError> {
        if !SIDES.contains(&width) || !SIDES.contains(&height) {
            return Err(CameraError::SimulatedSize { width, height });
        }
        let most = width * height / ROOM;
        if nuclei > most {
            return Err(CameraError::SimulatedNuclei { width, height, most, given: nuclei });
        }
        Ok(Self {
            width,
            height,
            specimen: Specimen::new(width, height, seed, nuclei),
            optics: Optics::new(width as usize, height as usize, seed),
            pacer,
            started: false,
        })
    }

    /// The image of the current specimen, and its nuclei.
    fn scene(&self) -> Result<(Image, LabelImage), CameraError> {
        let (width, height) = (self.width, self.height);
        let size = |_| CameraError::SimulatedSize { width, height };
        let (samples_hw, labels_hw) = self.optics.expose(&self.specimen);
        let image = Image::new(width, height, Channels::Grey, samples_hw).map_err(size)?;
        let mut truth = LabelImage::new(width, height, labels_hw).map_err(size)?;
        truth.make_consecutive();
        Ok((image, truth))
    }
}

impl Camera for Simulated {
    fn name(&self) -> &str {
        "simulated microscope"
    }

    fn grab(&mut self, strategy: GrabStrategy) -> Result<Grab, CameraError> {
        let skipped = self.pacer.wait(strategy);
        // A pause of hours need not be simulated step by step.
        for _ in 0..skipped.min(1000) + u32::from(self.started) {
            self.specimen.step();
        }
        self.started = true;
        let time_unix_ms = unix_ms_now();
        let (image, truth) = self.scene()?;
        Ok(Grab::Frame(Box::new(Frame {
            time_unix_ms,
            source: Default::default(),
            image,
            exposure: None,
            truth: Some(truth),
            convert: Microseconds(0),
            skipped,
        })))
    }
}

#[cfg(test)]
mod tests;
