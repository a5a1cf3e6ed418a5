//! What viewers are told, as JSON: units stand in the names, reasons in words.

use host_modelling::trace_polygons;
use serde::{Deserialize, Serialize};
use shared::wire::{Identity, Settings, Status};
use shared::{Channels, Image, LabelImage, MeasureError, SizeError, measure_objects};
use thiserror::Error;

use super::words::{FrameWords, StationWords};
use crate::records::frame_record::FrameRecord;
use crate::records::gates::Gates;
use crate::station::client::Traffic;
use crate::station::link_state::LinkState;
use crate::support::brightness::percent;

/// Something told to viewers.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum View<'a> {
    /// Who and how the station is.
    Station(StationView),
    /// The line to the station.
    Link {
        /// Whether it answers.
        state: LinkState,
        /// What a person is told.
        message: String,
    },
    /// Which nuclei count.
    Gates(Gates),
    /// What goes on besides counting.
    Work(&'a Work),
    /// A frame's result.
    Frame {
        /// The result.
        #[serde(flatten)]
        record: &'a FrameRecord,
        /// Which way the counts go, in a word.
        trend: &'static str,
        /// Frames a second.
        frames_per_second: f64,
        /// What a person is told of it.
        words: FrameWords,
    },
    /// A frame's nuclei.
    Nuclei(NucleiView),
}

/// Who and how the station is.
#[derive(Debug, Serialize, Deserialize)]
pub struct StationView {
    /// Its own name.
    pub name: String,
    /// SHA-256 of the model that runs, hexadecimal.
    pub model: String,
    /// Brightness of the illumination, per cent.
    pub illumination_percent: f32,
    /// Size of a pixel in the specimen, µm, where it is known.
    pub pixel_size_um: Option<f32>,
    /// How many watch.
    pub viewers: usize,
    /// What a person is told of it.
    pub words: StationWords,
}

impl StationView {
    /// The view of a station at `port`.
    pub fn new(
        line: (&str, u32),
        identity: &Identity,
        status: &Status,
        settings: &Settings,
        traffic: Traffic,
        viewers: usize,
    ) -> Self {
        Self {
            name: identity.name.to_string(),
            model: format!("{:#}", status.model),
            illumination_percent: percent(settings.illumination),
            pixel_size_um: settings.pixel_size.map(shared::PixelSize::get),
            viewers,
            words: StationWords::new(line, status, settings, traffic),
        }
    }
}

/// What goes on besides counting.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Work {
    /// The file that frames are recorded in.
    pub recording: Option<String>,
    /// How far a flash is, in words.
    pub flashing: Option<String>,
    /// What came of the last thing asked for.
    pub told: Option<String>,
    /// Whether that was a failure.
    pub failed: bool,
}

/// A frame's nuclei.
#[derive(Debug, Serialize)]
pub struct NucleiView {
    /// The frame's number.
    pub frame: u32,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Nuclei found.
    pub found: usize,
    /// Those within the gates.
    pub within: usize,
    nuclei: Vec<NucleusView>,
}

#[derive(Debug, Serialize)]
struct NucleusView {
    area_px: u32,
    /// Centre, px.
    x: f32,
    /// Centre, px.
    y: f32,
    within: bool,
    /// Outer rings along pixel edges: x and y by turns, px.
    rings: Vec<Vec<i32>>,
}

/// Why a frame's nuclei are not shown.
#[derive(Debug, Error)]
pub enum NucleiError {
    /// No picture has their size.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// They cannot be measured.
    #[error(transparent)]
    Measure(#[from] MeasureError),
}

impl NucleiView {
    /// The nuclei of a frame.
    ///
    /// # Errors
    /// [`NucleiError`], never in practice: the labels have the frame's size.
    pub fn new(frame: u32, labels: &LabelImage, gates: &Gates) -> Result<Self, NucleiError> {
        let (width, height) = (labels.width(), labels.height());
        let objects = measure_objects(labels, &Image::black(width, height, Channels::Grey)?)?;
        let mut polygons = trace_polygons(labels);
        let nuclei: Vec<NucleusView> = objects
            .iter()
            .map(|nucleus| NucleusView {
                area_px: nucleus.area_px,
                x: nucleus.centroid.x,
                y: nucleus.centroid.y,
                within: gates.pass(nucleus, width, height),
                rings: polygons
                    .remove(&nucleus.label)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|polygon| polygon.exterior.into_iter().flatten().collect())
                    .collect(),
            })
            .collect();
        let within = nuclei.iter().filter(|nucleus| nucleus.within).count();
        Ok(Self { frame, width, height, found: nuclei.len(), within, nuclei })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nuclei_are_gated_and_drawn() {
        let labels = LabelImage::new(4, 2, vec![1, 1, 0, 2, 1, 1, 0, 0]).unwrap();
        let gates = Gates { min_area_px: 2, ..Gates::default() };
        let view = NucleiView::new(7, &labels, &gates).unwrap();
        assert_eq!((view.found, view.within), (2, 1));
        let json = serde_json::to_value(View::Nuclei(view)).unwrap();
        assert_eq!(json["kind"], "nuclei");
        assert_eq!(json["nuclei"][0]["rings"][0].as_array().unwrap().len(), 8);
        assert_eq!(json["nuclei"][1]["within"], false);
    }
}
