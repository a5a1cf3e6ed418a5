//! Typed requests, each with its expected response.

use std::time::Duration;

use shared::wire::{
    Change, FlatFieldDigest, ModelDigest, Request, Response, Setting, Settings, SlotReport, StageProgress,
    Status, Stream,
};

use super::{Line, LinkError, Station, Tries};

impl<L: Line> Station<L> {
    /// The station's status.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn status(&mut self) -> Result<Status, LinkError> {
        match self.request(&Request::Status, &[])?.0 {
            Response::Status(status) => Ok(status),
            _ => Err(self.unfitting()),
        }
    }

    /// The station's status, requested once; `None` without a response in time.
    ///
    /// # Errors
    /// [`LinkError`], but for [`LinkError::Silent`].
    pub fn status_within(&mut self, wait: Duration) -> Result<Option<Status>, LinkError> {
        match self.ask(&Request::Status, &[], Tries { attempts: 1, wait, is_over: || false }) {
            Ok((Response::Status(status), _)) => Ok(Some(status)),
            Ok(_) => Err(self.unfitting()),
            Err(LinkError::Silent { .. }) => Ok(None),
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
            _ => Err(self.unfitting()),
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
            _ => Err(self.unfitting()),
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
            _ => Err(self.unfitting()),
        }
    }

    /// The flat field applied to its frames, if any.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn flat_field(&mut self) -> Result<Option<FlatFieldDigest>, LinkError> {
        match self.request(&Request::FlatField, &[])?.0 {
            Response::FlatField(digest) => Ok(digest),
            _ => Err(self.unfitting()),
        }
    }

    /// Stops masks and previews to free the line; returns the previous settings.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn quieten(&mut self) -> Result<Settings, LinkError> {
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
