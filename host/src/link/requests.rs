//! Requests by what they ask for, each with the one answer that fits it.

use std::time::Duration;

use shared::wire::{Request, Response, Setting, Settings, SlotReport, StageProgress, Status, Stream};

use super::{Line, LinkError, Station};

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
        match self.ask(&Request::Status, &[], 1, wait) {
            Ok((Response::Status(status), _)) => Ok(Some(status)),
            Ok(_) => Err(self.unfitting()),
            Err(LinkError::Silent { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What its slots hold, after `request`: [`Request::Slots`] or [`Request::Revert`].
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn slots(&mut self, request: &Request) -> Result<SlotReport, LinkError> {
        match self.request(request, &[])?.0 {
            Response::Slots(slots) => Ok(slots),
            _ => Err(self.unfitting()),
        }
    }

    /// How far staging is, after `request`, one of those that are answered so.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn stage(&mut self, request: &Request) -> Result<StageProgress, LinkError> {
        match self.request(request, &[])?.0 {
            Response::Stage(progress) => Ok(progress),
            _ => Err(self.unfitting()),
        }
    }

    /// The settings in force, after `request`: [`Request::Settings`] or [`Request::Set`].
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn settings(&mut self, request: &Request) -> Result<Settings, LinkError> {
        match self.request(request, &[])?.0 {
            Response::Settings(settings) => Ok(settings),
            _ => Err(self.unfitting()),
        }
    }

    /// Stops masks and previews, so that the line is free; the settings before.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn quieten(&mut self) -> Result<Settings, LinkError> {
        let before = self.settings(&Request::Settings)?;
        self.stream(Stream::Off, Stream::Off)?;
        Ok(before)
    }

    /// Streams masks and previews, or not.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn stream(&mut self, masks: Stream, preview: Stream) -> Result<(), LinkError> {
        self.settings(&Request::Set(Setting::Masks(masks)))?;
        self.settings(&Request::Set(Setting::Preview(preview)))?;
        Ok(())
    }
}
