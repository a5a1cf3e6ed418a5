//! Requests from the service to the frames thread.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use shared::DutyCycle;
use shared::wire::{Acquisition, Settings, Stream};

use crate::inference::Pipeline;

/// How to take one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameRequest {
    /// When frames are taken.
    pub acquisition: Acquisition,
    /// Brightness of the illumination.
    pub illumination: DutyCycle,
    /// Whether to stream its masks.
    pub masks: Stream,
    /// Whether to stream its preview.
    pub preview: Stream,
    /// The capture it belongs to.
    pub token: Option<u32>,
}

impl FrameRequest {
    const fn of(settings: &Settings) -> Self {
        let Settings { acquisition, illumination, masks, preview, .. } = *settings;
        Self { acquisition, illumination, masks, preview, token: None }
    }
}

/// The next command for the frames thread.
pub enum FrameCommand {
    /// Run this model from now on.
    Run(Box<Pipeline>),
    /// Restart from the first image, as the generation of that number.
    RestartSource(u32),
    /// Try to open the camera.
    Open,
    /// Take a frame.
    Grab(FrameRequest),
}

/// Whether a camera is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameraReadiness {
    /// There is.
    Ready,
    /// None; retry then.
    RetryAt(Instant),
    /// It has reached its last image.
    EndOfInput,
}

/// Requests from the service to the frames thread. Nothing here blocks the service.
pub struct FrameControl {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

struct Wanted {
    is_over: bool,
    shot: FrameRequest,
    pipeline: Option<Box<Pipeline>>,
    generation: u32,
}

impl Wanted {
    /// Settings, with a capture that is wanted still wanted.
    const fn set(&mut self, settings: &Settings) {
        self.shot = FrameRequest { token: self.shot.token, ..FrameRequest::of(settings) };
    }
}

impl FrameControl {
    /// A control with these settings.
    pub const fn new(settings: &Settings) -> Self {
        let wanted =
            Wanted { is_over: false, shot: FrameRequest::of(settings), pipeline: None, generation: 0 };
        Self { wanted: Mutex::new(wanted), changed: Condvar::new() }
    }

    /// Applies settings from the next frame on.
    pub fn set(&self, settings: &Settings) {
        self.change(|wanted| wanted.set(settings));
    }

    /// Requests the next frame for a capture; `None` cancels the request.
    pub fn trigger(&self, token: Option<u32>) {
        self.change(|wanted| wanted.shot.token = token);
    }

    /// Requests that this model runs.
    pub fn run(&self, pipeline: Box<Pipeline>) {
        self.change(|wanted| wanted.pipeline = Some(pipeline));
    }

    /// Requests that a recording restarts with these settings from its first image; the number of the generation that
    /// will answer it.
    pub fn restart_source(&self, settings: &Settings) -> u32 {
        let mut generation = 0;
        self.change(|wanted| {
            wanted.set(settings);
            wanted.generation = wanted.generation.wrapping_add(1);
            generation = wanted.generation;
        });
        generation
    }

    /// Ends the frames thread.
    pub fn end(&self) {
        self.change(|wanted| wanted.is_over = true);
    }

    /// Waits for the next command; `None` at the end. `generation` is the last one applied.
    pub fn next(&self, readiness: CameraReadiness, generation: u32) -> Option<FrameCommand> {
        let mut wanted = self.lock();
        loop {
            if wanted.is_over {
                return None;
            }
            if let Some(pipeline) = wanted.pipeline.take() {
                return Some(FrameCommand::Run(pipeline));
            }
            if wanted.generation != generation {
                return Some(FrameCommand::RestartSource(wanted.generation));
            }
            let now = Instant::now();
            wanted = match readiness {
                CameraReadiness::Ready
                    if wanted.shot.acquisition == Acquisition::Continuous || wanted.shot.token.is_some() =>
                {
                    let shot = wanted.shot;
                    wanted.shot.token = None;
                    return Some(FrameCommand::Grab(shot));
                }
                CameraReadiness::RetryAt(then) if then <= now => return Some(FrameCommand::Open),
                CameraReadiness::RetryAt(then) => {
                    self.changed.wait_timeout(wanted, then - now).unwrap_or_else(PoisonError::into_inner).0
                }
                CameraReadiness::Ready | CameraReadiness::EndOfInput => {
                    self.changed.wait(wanted).unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        illumination: DutyCycle::OFF,
        pixel_size: None,
        acquisition: Acquisition::Triggered,
        masks: Stream::On,
        preview: Stream::Off,
    };

    #[test]
    fn triggered_frames_are_taken_one_for_each_capture() {
        let control = FrameControl::new(&SETTINGS);
        std::thread::scope(|scope| {
            let frames = scope.spawn(|| {
                let mut tokens = Vec::new();
                while let Some(FrameCommand::Grab(shot)) = control.next(CameraReadiness::Ready, 0) {
                    tokens.push(shot.token);
                    if shot.token == Some(1) {
                        control.trigger(Some(2));
                    } else {
                        control.end();
                    }
                }
                tokens
            });
            control.trigger(Some(1));
            assert_eq!(frames.join().unwrap(), [Some(1), Some(2)]);
        });
    }

    #[test]
    fn every_picture_of_a_restarted_recording_goes_to_a_capture() {
        let control = FrameControl::new(&Settings { acquisition: Acquisition::Continuous, ..SETTINGS });
        let generation = control.restart_source(&SETTINGS);
        assert!(matches!(control.next(CameraReadiness::EndOfInput, 0), Some(FrameCommand::RestartSource(_))));
        std::thread::scope(|scope| {
            let next = scope.spawn(|| control.next(CameraReadiness::Ready, generation));
            control.trigger(Some(1));
            let Some(FrameCommand::Grab(shot)) = next.join().unwrap() else { panic!("no frame") };
            assert_eq!((shot.acquisition, shot.token), (Acquisition::Triggered, Some(1)));
        });
    }

    #[test]
    fn an_absent_camera_is_looked_for_and_a_finished_one_is_not() {
        let control = FrameControl::new(&Settings { acquisition: Acquisition::Continuous, ..SETTINGS });
        assert!(matches!(
            control.next(CameraReadiness::RetryAt(Instant::now()), 0),
            Some(FrameCommand::Open)
        ));
        let generation =
            control.restart_source(&Settings { acquisition: Acquisition::Continuous, ..SETTINGS });
        assert!(
            matches!(control.next(CameraReadiness::EndOfInput, 0), Some(FrameCommand::RestartSource(found)) if found == generation)
        );
        assert!(matches!(control.next(CameraReadiness::Ready, generation), Some(FrameCommand::Grab(_))));
        control.end();
        assert!(control.next(CameraReadiness::EndOfInput, generation).is_none());
    }
}
