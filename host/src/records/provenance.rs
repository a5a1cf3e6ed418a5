//! What a frame's count depends on besides its image: programs, optics, gates.

use host_console::Failure;
use serde::Serialize;
use shared::PixelSize;
use shared::wire::{Identity, PROTOCOL_VERSION, Settings};

use crate::records::gates::Gates;
use crate::records::optics::{CalibrationStore, OpticsCalibration};
use crate::station::client::{LinkError, StationClient, Transport};

/// The versions of the programs that made a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// Of `nuclei-host`.
    pub host: String,
    /// Of `nuclei-station`.
    pub station: String,
    /// Of the protocol between them.
    pub protocol: u16,
}

/// What a frame's count depends on besides its image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Provenance {
    /// The camera's scale; records state it beside the numbers that it gives.
    #[serde(skip)]
    pub pixel_size: Option<PixelSize>,
    /// The station's own name.
    pub station: String,
    /// The programs.
    pub versions: Versions,
    /// The origin of pixel size and flat field.
    pub calibration: OpticsCalibration,
    /// Which nuclei count for the user. The record's count is of all.
    pub gates: Gates,
}

/// Why the provenance is not known.
#[derive(Debug)]
pub enum ProvenanceError {
    /// The station does not answer.
    Link(LinkError),
    /// A file on this machine is damaged.
    Stored(Failure),
}

impl From<LinkError> for ProvenanceError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<ProvenanceError> for Failure {
    fn from(error: ProvenanceError) -> Self {
        match error {
            ProvenanceError::Link(error) => error.into(),
            ProvenanceError::Stored(failure) => failure,
        }
    }
}

impl Provenance {
    /// The provenance of a station's counts with these settings, under these gates.
    ///
    /// # Errors
    /// [`ProvenanceError`].
    pub fn of<T: Transport>(
        station: &mut StationClient<T>,
        identity: &Identity,
        settings: &Settings,
        gates: Gates,
    ) -> Result<Self, ProvenanceError> {
        let flat_field = station.flat_field()?;
        let known = CalibrationStore::of_user().in_force(&identity.name, settings.pixel_size, flat_field);
        let versions = Versions {
            host: env!("CARGO_PKG_VERSION").to_owned(),
            station: identity.version.to_string(),
            protocol: PROTOCOL_VERSION,
        };
        Ok(Self {
            pixel_size: settings.pixel_size,
            station: identity.name.to_string(),
            versions,
            calibration: known.map_err(ProvenanceError::Stored)?,
            gates,
        })
    }

    /// An empty one for tests.
    #[cfg(test)]
    pub fn of_nothing(pixel_size: Option<PixelSize>) -> Self {
        let versions = Versions { host: String::new(), station: String::new(), protocol: PROTOCOL_VERSION };
        let (station, calibration, gates) = Default::default();
        Self { pixel_size, station, versions, calibration, gates }
    }
}
