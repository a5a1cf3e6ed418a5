//! Plays the images of a folder or zip as a camera.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use shared::wire::truncated_name;
use shared::{decode_image, picture_stem};

use super::frame_pacer::FramePacer;
use super::picture_store::PictureStore;
use super::{Camera, CameraError, Frame, Grab, GrabStrategy, Repeat, microseconds, unix_ms_now};

/// A camera that shows images one after the other, sorted by name.
pub(super) struct PictureCamera<W> {
    store: PictureStore,
    name: String,
    path: PathBuf,
    pacer: FramePacer,
    repeat: Repeat,
    /// Index of the next image.
    next: usize,
    damaged: HashSet<usize>,
    warn: W,
}

impl<W: FnMut(&str) + Send> PictureCamera<W> {
    /// Opens a folder or zip. An image that cannot be decoded is skipped, and reported to `warn` once.
    pub(super) fn open(path: &Path, pacer: FramePacer, repeat: Repeat, warn: W) -> Result<Self, CameraError> {
        let store = PictureStore::open(path)?;
        let name = format!("images from {}", path.file_name().unwrap_or(path.as_os_str()).display());
        Ok(Self { store, name, path: path.to_owned(), pacer, repeat, next: 0, damaged: HashSet::new(), warn })
    }

    /// Skips `skipped` images.
    fn skip(&mut self, skipped: u32) {
        let count = self.store.names().len();
        let next = self.next.saturating_add(skipped as usize);
        self.next = match self.repeat {
            Repeat::Once => next.min(count),
            Repeat::Forever => next % count,
        };
    }

    /// The frame of an image; `None` if it cannot be read or decoded.
    fn frame(&mut self, index: usize, skipped: u32) -> Option<Frame> {
        let start = Instant::now();
        let time_unix_ms = unix_ms_now();
        let source = truncated_name(picture_stem(&self.store.names()[index]));
        let reason = match self.store.read(index) {
            Ok(bytes) => match decode_image(&bytes) {
                Ok(image) => {
                    let convert = microseconds(start.elapsed());
                    let (exposure, truth) = (None, None);
                    return Some(Frame { time_unix_ms, source, image, exposure, truth, convert, skipped });
                }
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        if self.damaged.insert(index) {
            (self.warn)(&format!("skipping {}: {reason}", self.store.place_of(index)));
        }
        None
    }
}

impl<W: FnMut(&str) + Send> Camera for PictureCamera<W> {
    fn name(&self) -> &str {
        &self.name
    }

    fn grab(&mut self, strategy: GrabStrategy) -> Result<Grab, CameraError> {
        let skipped = self.pacer.wait(strategy);
        self.skip(skipped);
        let count = self.store.names().len();
        for _ in 0..count {
            if self.next == count {
                if self.repeat == Repeat::Once {
                    break;
                }
                self.next = 0;
            }
            let index = self.next;
            self.next += 1;
            if let Some(frame) = self.frame(index, skipped) {
                return Ok(Grab::Frame(Box::new(frame)));
            }
        }
        if self.damaged.len() == count {
            return Err(CameraError::NoPictures { path: self.path.clone() });
        }
        Ok(Grab::Finished)
    }
}

#[cfg(test)]
mod tests;
