//! Typed requests, each with its expected response.

use std::time::Duration;

use shared::wire::{
    Change, FlatFieldDigest, ModelDigest, Request, Response, Setting, Settings, SlotReport, StageProgress,
    Status, Stream,
};

use super::{LinkError, RetryPolicy, StationClient, Transport};

impl<T: Transport> StationClient<T> {
    /// The station's status.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn status(&mut self) -> Result<Status, LinkError> {
        match self.request(&Request::Status, &[])?.0 {
            Response::Status(status) => Ok(status),
            _ => Err(self.unexpected()),
        }
    }

    /// The station's status, requested once; `None` without a response in time.
    ///
    /// # Errors
    /// [`LinkError`], but for [`LinkError::Timeout`].
    pub fn status_within(&mut self, wait: Duration) -> Result<Option<Status>, LinkError> {
        match self.transact(
            &Request::Status,
            &[],
            RetryPolicy { max_attempts: 1, per_attempt_timeout: wait, cancelled: || false },
        ) {
            Ok((Response::Status(status), _)) => Ok(Some(status)),
            Ok(_) => Err(self.unexpected()),
            Err(LinkError::Timeout { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The content of its slots.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn slots(&mut self) -> Result<SlotReport, LinkError> {
        let answer = self.request(&Request::Slots, &[])?.0;
        self.slot_report(answer)
    }

    /// The slots after the revert.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn revert(&mut self, digest: ModelDigest) -> Result<SlotReport, LinkError> {
        let answer = self.change(Change::Revert { digest })?;
        self.slot_report(answer)
    }

    fn slot_report(&self, answer: Response) -> Result<SlotReport, LinkError> {
        match answer {
            Response::Slots(slots) => Ok(slots),
            _ => Err(self.unexpected()),
        }
    }

    /// The progress of staging.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn stage_status(&mut self) -> Result<StageProgress, LinkError> {
        let answer = self.request(&Request::StageStatus, &[])?.0;
        self.stage_progress(answer)
    }

    /// The progress of staging after [`Change::Stage`] or [`Change::Activate`].
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn stage(&mut self, change: Change) -> Result<StageProgress, LinkError> {
        let answer = self.change(change)?;
        self.stage_progress(answer)
    }

    fn stage_progress(&self, answer: Response) -> Result<StageProgress, LinkError> {
        match answer {
            Response::Stage(progress) => Ok(progress),
            _ => Err(self.unexpected()),
        }
    }

    /// The current settings.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn settings(&mut self) -> Result<Settings, LinkError> {
        let answer = self.request(&Request::Settings, &[])?.0;
        self.settings_of(answer)
    }

    /// The settings after one was changed.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn set(&mut self, setting: Setting) -> Result<Settings, LinkError> {
        let answer = self.change(Change::Set(setting))?;
        self.settings_of(answer)
    }

    fn settings_of(&self, answer: Response) -> Result<Settings, LinkError> {
        match answer {
            Response::Settings(settings) => Ok(settings),
            _ => Err(self.unexpected()),
        }
    }

    /// The flat field applied to its frames, if any.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn flat_field(&mut self) -> Result<Option<FlatFieldDigest>, LinkError> {
        match self.request(&Request::FlatField, &[])?.0 {
            Response::FlatField(digest) => Ok(digest),
            _ => Err(self.unexpected()),
        }
    }

    /// Stops masks and previews to free the line; returns the previous settings.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn pause_streams(&mut self) -> Result<Settings, LinkError> {
        let before = self.settings()?;
        self.stream(Stream::Off, Stream::Off)?;
        Ok(before)
    }

    /// Turns masks and previews on or off. If nothing changes, it sends no request, since that could need a signature
    /// for nothing.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn stream(&mut self, masks: Stream, preview: Stream) -> Result<(), LinkError> {
        let now = self.settings()?;
        if now.masks != masks {
            self.set(Setting::Masks(masks))?;
        }
        if now.preview != preview {
            self.set(Setting::Preview(preview))?;
        }
        Ok(())
    }
}
