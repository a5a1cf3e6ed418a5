//! Messages to viewers. As JSON, units are in the names and reasons in words.

use host_modelling::trace_polygons;
use serde::Serialize;
use shared::wire::{Identity, Settings, Status};
use shared::{Channels, Image, LabelImage, MeasureError, SizeError, measure_objects};
use thiserror::Error;

use super::display::{FrameText, StationText};
use crate::records::frame_record::FrameRecord;
use crate::records::gates::Gates;
use crate::station::client::LinkStats;
use crate::station::link_state::LinkState;
use crate::support::brightness::percent;

/// A message to viewers.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ViewMessage {
    /// The station's identity and state.
    Station(StationView),
    /// The connection to the station.
    Link {
        /// Whether it answers.
        state: LinkState,
        /// What a person reads of it.
        message: String,
    },
    /// Which nuclei count.
    Gates(Gates),
    /// Recording, flashing, and the result of the last command.
    #[serde(rename = "work")]
    Activity(Activity),
    /// A frame's result.
    Frame(Box<FrameView>),
    /// A frame's nuclei.
    Nuclei(NucleiView),
    /// A frame's image; browsers get it as bytes.
    #[serde(skip)]
    Preview {
        /// The frame's number.
        frame: u32,
        /// The image, JPEG.
        jpeg: Vec<u8>,
    },
}

/// What a message is about; those of single frames come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// [`ViewMessage::Station`].
    Station,
    /// [`ViewMessage::Link`].
    Link,
    /// [`ViewMessage::Gates`].
    Gates,
    /// [`ViewMessage::Activity`].
    Activity,
    /// [`ViewMessage::Frame`].
    Frame,
    /// [`ViewMessage::Preview`].
    Preview,
    /// [`ViewMessage::Nuclei`].
    Nuclei,
}

impl ViewMessage {
    /// What it is about.
    pub const fn topic(&self) -> Topic {
        match self {
            Self::Station(_) => Topic::Station,
            Self::Link { .. } => Topic::Link,
            Self::Gates(_) => Topic::Gates,
            Self::Activity(_) => Topic::Activity,
            Self::Frame(_) => Topic::Frame,
            Self::Preview { .. } => Topic::Preview,
            Self::Nuclei(_) => Topic::Nuclei,
        }
    }
}

/// A frame's result.
#[derive(Debug, Clone, Serialize)]
pub struct FrameView {
    /// The result.
    #[serde(flatten)]
    pub record: FrameRecord,
    /// The trend of the counts in one word; empty while it is unknown.
    pub trend: &'static str,
    /// Frames per second.
    pub frames_per_second: f64,
    /// What a person reads of it.
    #[serde(rename = "words")]
    pub text: FrameText,
}

/// The station's identity and state.
#[derive(Debug, Clone, Serialize)]
pub struct StationView {
    /// Its name.
    pub name: String,
    /// SHA-256 of the running model, hexadecimal.
    pub model: String,
    /// Brightness of the illumination, percent.
    pub illumination_percent: f32,
    /// Pixel size in the specimen, µm, if known.
    pub pixel_size_um: Option<f32>,
    /// Number of viewers.
    pub viewers: usize,
    /// What a person reads of it.
    #[serde(rename = "words")]
    pub text: StationText,
}

impl StationView {
    /// The view of a station at `port`.
    pub fn new(
        line: (&str, u32),
        identity: &Identity,
        status: &Status,
        settings: &Settings,
        link: LinkStats,
        viewers: usize,
    ) -> Self {
        Self {
            name: identity.name.to_string(),
            model: format!("{:#}", status.model),
            illumination_percent: percent(settings.illumination),
            pixel_size_um: settings.pixel_size.map(shared::PixelSize::get),
            viewers,
            text: StationText::new(line, status, settings, link),
        }
    }
}

/// Activity besides counting.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Activity {
    /// The file that frames are recorded to.
    pub recording: Option<String>,
    /// The progress of a flash.
    pub flashing: Option<String>,
    /// The result of the last command.
    pub result: Option<String>,
    /// Whether that command failed.
    pub failed: bool,
}

/// A frame's nuclei.
#[derive(Debug, Clone, Serialize)]
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

#[derive(Debug, Clone, Serialize)]
struct NucleusView {
    area_px: u32,
    /// Center, px.
    x: f32,
    /// Center, px.
    y: f32,
    within: bool,
    /// Outer rings along pixel edges: x and y in turn, px.
    rings: Vec<Vec<i32>>,
}

/// Why a frame's nuclei cannot be shown.
#[derive(Debug, Error)]
pub enum NucleiError {
    /// The label image exceeds the limits.
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

    /// The nuclei's areas, px.
    pub fn areas_px(&self) -> impl Iterator<Item = u32> {
        self.nuclei.iter().map(|nucleus| nucleus.area_px)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::wire::{FrameReport, QcFlags};

    use super::*;
    use crate::records::provenance::Provenance;
    use crate::records::test_report::test_report;

    #[test]
    fn messages_have_the_keys_that_the_page_reads() {
        let json = |message: ViewMessage| serde_json::to_value(message).unwrap();
        let link = ViewMessage::Link { state: LinkState::Lost, message: "away".into() };
        assert_eq!(json(link), json!({ "kind": "link", "state": "lost", "message": "away" }));
        let activity = Activity { result: Some("done".into()), ..Activity::default() };
        assert_eq!(
            json(ViewMessage::Activity(activity)),
            json!({ "kind": "work", "recording": null, "flashing": null, "result": "done", "failed": false })
        );
        let report = FrameReport { frame: 7, count: 3, qc_flags: QcFlags::BLANK, ..test_report() };
        let record = FrameRecord::new(&report, &Provenance::of_nothing(None));
        let text = FrameText::new(&record, 2.5);
        let frame = json(ViewMessage::Frame(Box::new(FrameView {
            record,
            trend: "rising",
            frames_per_second: 2.5,
            text: text.clone(),
        })));
        let values: Vec<&Value> = ["kind", "frame", "count", "doubts", "trend", "frames_per_second"]
            .map(|key| &frame[key])
            .to_vec();
        let expected =
            [json!("frame"), json!(7), json!(3), json!(["blank image"]), json!("rising"), json!(2.5)];
        assert_eq!(values, expected.iter().collect::<Vec<_>>());
        assert_eq!(frame["words"]["trust"], text.trust);
    }

    #[test]
    fn nuclei_are_gated_and_outlined() {
        let labels = LabelImage::new(4, 2, vec![1, 1, 0, 2, 1, 1, 0, 0]).unwrap();
        let gates = Gates { min_area_px: 2, ..Gates::default() };
        let view = NucleiView::new(7, &labels, &gates).unwrap();
        assert_eq!((view.found, view.within), (2, 1));
        let json = serde_json::to_value(ViewMessage::Nuclei(view)).unwrap();
        assert_eq!(json["kind"], "nuclei");
        assert_eq!(json["nuclei"][0]["rings"][0].as_array().unwrap().len(), 8);
        assert_eq!(json["nuclei"][1]["within"], false);
    }
}
