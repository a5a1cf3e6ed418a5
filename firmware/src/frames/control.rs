//! What the service wants of the frames' thread.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use shared::DutyCycle;
use shared::wire::{Acquisition, Settings, Stream};

use crate::inference::Pipeline;

/// How one frame is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shot {
    /// When frames are taken.
    pub acquisition: Acquisition,
    /// The brightness that it is taken at.
    pub illumination: DutyCycle,
    /// Whether its masks are streamed.
    pub masks: Stream,
    /// Whether its preview is streamed.
    pub preview: Stream,
    /// The capture that it is for.
    pub token: Option<u32>,
}

impl Shot {
    const fn of(settings: &Settings) -> Self {
        let Settings { acquisition, illumination, masks, preview, .. } = *settings;
        Self { acquisition, illumination, masks, preview, token: None }
    }
}

/// What the frames' thread does next.
pub enum Order {
    /// Run this model from now on.
    Run(Box<Pipeline>),
    /// Begin with the first picture, as the opening of that number.
    Rewind(u32),
    /// Look for the camera.
    Open,
    /// Take a frame.
    Grab(Shot),
}

/// Whether there is a camera to take frames from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// There is.
    Ready,
    /// There is none; it is looked for then.
    After(Instant),
    /// It came to its end.
    Never,
}

/// Wishes of the service, fulfilled by the frames' thread. Nothing here blocks the service.
pub struct FrameControl {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

struct Wanted {
    is_over: bool,
    shot: Shot,
    pipeline: Option<Box<Pipeline>>,
    opening: u32,
}

impl Wanted {
    /// Settings, with a capture that is wanted still wanted.
    const fn set(&mut self, settings: &Settings) {
        self.shot = Shot { token: self.shot.token, ..Shot::of(settings) };
    }
}

impl FrameControl {
    /// A control with these settings in force.
    pub const fn new(settings: &Settings) -> Self {
        let wanted = Wanted { is_over: false, shot: Shot::of(settings), pipeline: None, opening: 0 };
        Self { wanted: Mutex::new(wanted), changed: Condvar::new() }
    }

    /// Puts settings in force from the next frame on.
    pub fn set(&self, settings: &Settings) {
        self.change(|wanted| wanted.set(settings));
    }

    /// Wants the next frame for a capture; `None` wants it no more.
    pub fn trigger(&self, token: Option<u32>) {
        self.change(|wanted| wanted.shot.token = token);
    }

    /// Wants this model to run.
    pub fn run(&self, pipeline: Box<Pipeline>) {
        self.change(|wanted| wanted.pipeline = Some(pipeline));
    }

    /// Wants a recording to begin anew with these settings in force, from its first picture on; the number of
    /// the opening that will answer it.
    pub fn rewind(&self, settings: &Settings) -> u32 {
        let mut opening = 0;
        self.change(|wanted| {
            wanted.set(settings);
            wanted.opening = wanted.opening.wrapping_add(1);
            opening = wanted.opening;
        });
        opening
    }

    /// Ends the frames' thread.
    pub fn end(&self) {
        self.change(|wanted| wanted.is_over = true);
    }

    /// Waits for the next thing to do; `None` when it is over. `opening` is the one done last.
    pub fn next(&self, readiness: Readiness, opening: u32) -> Option<Order> {
        let mut wanted = self.lock();
        loop {
            if wanted.is_over {
                return None;
            }
            if let Some(pipeline) = wanted.pipeline.take() {
                return Some(Order::Run(pipeline));
            }
            if wanted.opening != opening {
                return Some(Order::Rewind(wanted.opening));
            }
            let now = Instant::now();
            wanted = match readiness {
                Readiness::Ready
                    if wanted.shot.acquisition == Acquisition::Continuous || wanted.shot.token.is_some() =>
                {
                    let shot = wanted.shot;
                    wanted.shot.token = None;
                    return Some(Order::Grab(shot));
                }
                Readiness::After(then) if then <= now => return Some(Order::Open),
                Readiness::After(then) => {
                    self.changed.wait_timeout(wanted, then - now).unwrap_or_else(PoisonError::into_inner).0
                }
                Readiness::Ready | Readiness::Never => {
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
                while let Some(Order::Grab(shot)) = control.next(Readiness::Ready, 0) {
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
    fn no_picture_of_a_recording_that_begins_anew_for_captures_goes_to_nobody() {
        let control = FrameControl::new(&Settings { acquisition: Acquisition::Continuous, ..SETTINGS });
        let opening = control.rewind(&SETTINGS);
        assert!(matches!(control.next(Readiness::Never, 0), Some(Order::Rewind(_))));
        std::thread::scope(|scope| {
            let next = scope.spawn(|| control.next(Readiness::Ready, opening));
            control.trigger(Some(1));
            let Some(Order::Grab(shot)) = next.join().unwrap() else { panic!("no frame") };
            assert_eq!((shot.acquisition, shot.token), (Acquisition::Triggered, Some(1)));
        });
    }

    #[test]
    fn an_absent_camera_is_looked_for_and_a_finished_one_is_not() {
        let control = FrameControl::new(&Settings { acquisition: Acquisition::Continuous, ..SETTINGS });
        assert!(matches!(control.next(Readiness::After(Instant::now()), 0), Some(Order::Open)));
        let opening = control.rewind(&Settings { acquisition: Acquisition::Continuous, ..SETTINGS });
        assert!(matches!(control.next(Readiness::Never, 0), Some(Order::Rewind(found)) if found == opening));
        assert!(matches!(control.next(Readiness::Ready, opening), Some(Order::Grab(_))));
        control.end();
        assert!(control.next(Readiness::Never, opening).is_none());
    }
}
