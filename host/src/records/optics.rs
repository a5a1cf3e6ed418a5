//! Where a station's pixel size and flat field come from: who measured them, when and how.
//!
//! The station knows the numbers. This machine stores their origin, and adds it to every record as long as the station
//! still has exactly those numbers.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use host_console::{Failure, write_whole};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::PixelSize;
use shared::wire::FlatFieldDigest;

use crate::support::user_config;

/// Who measured something, when and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Who.
    pub by: String,
    /// When: ms since 1970 by this machine's clock.
    pub time_unix_ms: u64,
    /// How, in words.
    pub how: String,
}

impl Origin {
    /// Of a measurement made now.
    pub fn now(by: String, how: String) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { by, time_unix_ms: since.as_millis() as u64, how }
    }
}

/// A pixel size as it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredPixelSize {
    /// µm per pixel.
    pub um_per_px: f32,
    /// Its standard uncertainty, µm per pixel; twice it is the 95 % interval. Absent if a person typed the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncertainty_um_per_px: Option<f64>,
    /// Who, when and how.
    #[serde(flatten)]
    pub origin: Origin,
}

/// A flat field as it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredFlatField {
    /// SHA-256 of its file, hexadecimal.
    pub sha256: String,
    /// Who, when and how; absent if it was measured elsewhere.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// The calibration of a station's optics.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct OpticsCalibration {
    /// The pixel size; absent if it was not measured from this machine.
    pub pixel_size: Option<MeasuredPixelSize>,
    /// The flat field; absent if frames are not corrected.
    pub flat_field: Option<MeasuredFlatField>,
}

/// A folder of measurements: one file per station for its pixel size, one file per flat field.
#[derive(Debug, Clone)]
pub struct CalibrationStore {
    folder: Option<PathBuf>,
}

impl CalibrationStore {
    /// The user's store; an empty one without a home folder.
    pub fn of_user() -> Self {
        Self { folder: user_config::path("calibration") }
    }

    /// A store in that folder.
    #[cfg(test)]
    pub const fn at(folder: PathBuf) -> Self {
        Self { folder: Some(folder) }
    }

    /// Stores the pixel size of a station.
    ///
    /// # Errors
    /// [`Failure`] when the file cannot be written.
    pub fn store_pixel_size(&self, station: &str, measured: &MeasuredPixelSize) -> Result<(), Failure> {
        self.store(&pixel_size_file(station), measured)
    }

    /// Stores the origin of a flat field.
    ///
    /// # Errors
    /// [`Failure`] when the file cannot be written.
    pub fn store_flat_field(&self, measured: &MeasuredFlatField) -> Result<(), Failure> {
        self.store(&flat_field_file(&measured.sha256), measured)
    }

    /// The calibration of a station that has this pixel size and flat field now.
    ///
    /// # Errors
    /// [`Failure`] when a file is damaged.
    pub fn in_force(
        &self,
        station: &str,
        pixel_size: Option<PixelSize>,
        flat_field: Option<FlatFieldDigest>,
    ) -> Result<OpticsCalibration, Failure> {
        let size: Option<MeasuredPixelSize> = self.load(&pixel_size_file(station))?;
        let size = size.filter(|kept| Some(kept.um_per_px) == pixel_size.map(PixelSize::get));
        let Some(sha256) = flat_field.map(|digest| digest.to_string()) else {
            return Ok(OpticsCalibration { pixel_size: size, flat_field: None });
        };
        let kept: Option<MeasuredFlatField> = self.load(&flat_field_file(&sha256))?;
        let kept = kept.filter(|kept| kept.sha256 == sha256);
        let flat_field = kept.unwrap_or(MeasuredFlatField { sha256, origin: None });
        Ok(OpticsCalibration { pixel_size: size, flat_field: Some(flat_field) })
    }

    fn store(&self, file: &str, measured: &impl Serialize) -> Result<(), Failure> {
        let Some(folder) = &self.folder else {
            return Err(Failure::failed(
                "neither XDG_CONFIG_HOME nor HOME is set, so calibrations cannot be stored",
                "set HOME, or set XDG_CONFIG_HOME to one of your folders",
            ));
        };
        let text = toml::to_string(measured).map_err(|error| Failure::failed(error, "please report this"))?;
        Ok(write_whole(&folder.join(file), text.as_bytes())?)
    }

    fn load<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>, Failure> {
        let path = self.folder.as_ref().map(|folder| folder.join(file));
        let text = path.as_ref().and_then(|path| fs::read_to_string(path).ok());
        let Some((path, text)) = path.zip(text) else { return Ok(None) };
        toml::from_str(&text).map(Some).map_err(|error| {
            let problem = format!("{} is damaged: {}", path.display(), error.message());
            Failure::failed(problem, "correct or delete the file, and calibrate the station again")
        })
    }
}

/// The file stays in the folder, whatever the station's name is.
fn pixel_size_file(station: &str) -> String {
    let plain = station.replace(|c: char| !c.is_alphanumeric() && c != '-' && c != '_', "_");
    format!("pixel-size-{plain}.toml")
}

fn flat_field_file(sha256: &str) -> String {
    format!("flat-field-{}.toml", sha256.get(..16).unwrap_or(sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calibration_applies_only_to_exactly_its_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let store = CalibrationStore { folder: Some(folder.path().join("calibration")) };
        let size = |um: f32| Some(PixelSize::try_from(um).unwrap());
        let in_force = |size, digest| store.in_force("bench 3", size, digest);
        assert_eq!(in_force(size(0.325), None).unwrap(), OpticsCalibration::default());
        let origin = Origin::now("ana".into(), "typed".into());
        let measured = MeasuredPixelSize {
            um_per_px: 0.325,
            uncertainty_um_per_px: Some(0.0004),
            origin: origin.clone(),
        };
        store.store_pixel_size("bench 3", &measured).unwrap();
        let digest = FlatFieldDigest([7; 32]);
        let flat_field = MeasuredFlatField { sha256: digest.to_string(), origin: Some(origin) };
        store.store_flat_field(&flat_field).unwrap();
        assert_eq!(
            in_force(size(0.325), Some(digest)).unwrap(),
            OpticsCalibration { pixel_size: Some(measured.clone()), flat_field: Some(flat_field) }
        );
        assert_eq!(in_force(None, None).unwrap(), OpticsCalibration::default());
        let other = in_force(size(0.65), Some(FlatFieldDigest([8; 32]))).unwrap();
        assert_eq!((other.pixel_size, other.flat_field.unwrap().origin), (None, None));
        assert_eq!(store.in_force("bench 4", size(0.325), None).unwrap().pixel_size, None);
        let typed = MeasuredPixelSize { uncertainty_um_per_px: None, ..measured };
        store.store_pixel_size("bench 3", &typed).unwrap();
        assert_eq!(in_force(size(0.325), None).unwrap().pixel_size, Some(typed));
        fs::write(folder.path().join("calibration/pixel-size-bench_3.toml"), "um_per_px = \"x\"").unwrap();
        assert!(in_force(None, None).unwrap_err().to_string().contains("pixel-size-bench_3.toml is damaged"));
    }

    #[test]
    fn a_station_name_is_not_a_path() {
        assert_eq!(pixel_size_file("../bench 3"), "pixel-size-___bench_3.toml");
    }
}
