//! Requests by what they ask for, each with the one answer that fits it.

use std::time::Duration;

use shared::wire::{
    Change, FlatFieldDigest, ModelDigest, Request, Response, Setting, Settings, SlotReport, StageProgress,
    Status, Stream,
};

use super::{Line, LinkError, Station, Tries};

impl<L: Line> Station<L> {
    /// How the station is.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn status(&mut self) -> Result<Status, LinkError> {
        match self.request(&Request::Status, &[])?.0 {
            Response::Status(status) => Ok(status),
            _ => Err(self.unfitting()),
        }
    }

    /// How the station is, asked once; `None` where no answer comes in time.
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

    /// What its slots hold.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn slots(&mut self) -> Result<SlotReport, LinkError> {
        let answer = self.request(&Request::Slots, &[])?.0;
        self.slot_report(answer)
    }

    /// What its slots hold after it left the model.
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

    /// How far staging is.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn stage_status(&mut self) -> Result<StageProgress, LinkError> {
        let answer = self.request(&Request::StageStatus, &[])?.0;
        self.stage_progress(answer)
    }

    /// How far staging is after [`Change::Stage`] or [`Change::Activate`].
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

    /// Show the current settings.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn settings(&mut self) -> Result<Settings, LinkError> {
        let answer = self.request(&Request::Settings, &[])?.0;
        self.settings_of(answer)
    }

    /// Show the current settings after one was changed.
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

    /// The flat field that its frames are corrected by, if any.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn flat_field(&mut self) -> Result<Option<FlatFieldDigest>, LinkError> {
        match self.request(&Request::FlatField, &[])?.0 {
            Response::FlatField(digest) => Ok(digest),
            _ => Err(self.unfitting()),
        }
    }

    /// Stops masks and previews, so that the line is free; the settings before.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn quieten(&mut self) -> Result<Settings, LinkError> {
        let before = self.settings()?;
        self.stream(Stream::Off, Stream::Off)?;
        Ok(before)
    }

    /// Streams masks and previews, or not. A station that does so already is not asked: it may want a
    /// signature for nothing.
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
