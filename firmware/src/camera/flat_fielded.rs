//! A camera that applies its flat field to every frame.

use std::sync::Arc;
use std::time::Instant;

use shared::FlatField;

use super::{Camera, CameraError, Grab, GrabStrategy, microseconds};

/// A camera with its flat field.
pub struct FlatFielded {
    camera: Box<dyn Camera>,
    flat_field: Arc<FlatField>,
}

impl FlatFielded {
    /// The camera, corrected.
    pub fn new(camera: Box<dyn Camera>, flat_field: Arc<FlatField>) -> Self {
        Self { camera, flat_field }
    }
}

impl Camera for FlatFielded {
    fn name(&self) -> &str {
        self.camera.name()
    }

    fn grab(&mut self, strategy: GrabStrategy) -> Result<Grab, CameraError> {
        let mut grab = self.camera.grab(strategy)?;
        if let Grab::Frame(frame) = &mut grab {
            let start = Instant::now();
            self.flat_field.correct(&mut frame.image).map_err(CameraError::FlatField)?;
            frame.convert.0 = frame.convert.0.saturating_add(microseconds(start.elapsed()).0);
        }
        Ok(grab)
    }
}

#[cfg(test)]
mod tests {
    use shared::{FrameSum, Image};

    use super::*;
    use crate::camera::CameraSource;

    const SIMULATED: CameraSource =
        CameraSource::Simulated { width: 96, height: 64, seed: 3, nuclei: 5, frames_per_second: 200.0 };

    fn next(camera: &mut dyn Camera) -> Result<Image, CameraError> {
        match camera.grab(GrabStrategy::OneByOne)? {
            Grab::Frame(frame) => Ok(frame.image),
            Grab::Finished => panic!("a simulated camera has no end"),
        }
    }

    fn flat_field(like: &Image, shaded: impl Fn(usize) -> u8) -> Arc<FlatField> {
        let picture = |sample: &dyn Fn(usize) -> u8| {
            let samples = (0..like.samples_hwc().len()).map(sample).collect();
            FrameSum::new(&Image::new(like.width(), like.height(), like.channels(), samples).unwrap())
        };
        Arc::new(FlatField::new(&picture(&shaded), &picture(&|_| 0), "", 0).unwrap())
    }

    #[test]
    fn frames_are_corrected_and_those_of_another_size_are_refused_with_a_remedy() {
        let mut plain = SIMULATED.open().unwrap();
        let mut expected = next(plain.as_mut()).unwrap();
        let flat_field = flat_field(&expected, |at| 100 + (at % 100) as u8);
        flat_field.correct(&mut expected).unwrap();
        let mut camera = FlatFielded::new(SIMULATED.open().unwrap(), flat_field);
        assert_eq!(camera.name(), plain.name());
        assert_eq!(next(&mut camera).unwrap(), expected);

        let small = Image::black(8, 8, expected.channels()).unwrap();
        let mut camera = FlatFielded::new(SIMULATED.open().unwrap(), self::flat_field(&small, |_| 100));
        let error = next(&mut camera).unwrap_err().to_string();
        assert!(error.contains("8x8") && error.contains("nuclei-host station calibrate"), "{error}");
    }
}
