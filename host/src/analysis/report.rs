//! Summarizes the fields of a sample: mean count with its interval, density, concentration, coverage and sizes, with
//! cautions.

mod page;
mod statistics;

use std::collections::BTreeSet;

use host_console::Progress;
use serde::Serialize;
use shared::{
    Channels, Evidence, Image, Object, PixelSize, ScaleFit, equivalent_diameter_px, measure_objects,
};

use crate::records::gates::{Border, Gates};
use crate::records::label_folder::{LabelFolder, LabelledField};

pub use page::page;
pub use statistics::{CountStatistics, Estimate};

/// Options of the report.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReportOptions {
    /// Which nuclei count.
    pub gates: Gates,
    /// Size of a pixel in the specimen.
    #[serde(rename = "pixel_size_um")]
    pub pixel_size: Option<PixelSize>,
    /// Depth of the chamber, µm.
    pub chamber_depth_um: Option<f64>,
    /// Dilution factor of the sample, 1 or more.
    pub dilution: f64,
}

/// A field.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldCount {
    /// Its name.
    pub name: String,
    /// Nuclei within the gates.
    pub count: u32,
    /// Nuclei found.
    pub found: u32,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Fraction of the image covered by nuclei, regardless of gates.
    pub confluence: f64,
    /// Reasons not to trust the count; such a field is excluded.
    pub doubts: Vec<String>,
    /// Areas of the nuclei within the gates, px.
    #[serde(skip)]
    pub areas_px: Vec<u32>,
}

/// Sizes of the nuclei within the gates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NucleusSizes {
    /// Areas at 5, 25, 50, 75 and 95 % of the nuclei, px.
    pub areas_px: [u32; 5],
    /// The same, µm².
    pub areas_um2: Option<[f64; 5]>,
    /// Diameter of the disc of the median area, px.
    pub median_diameter_px: f32,
    /// The same, µm.
    pub median_diameter_um: Option<f32>,
}

/// The summary of the fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CountReport {
    /// What was asked for.
    pub options: ReportOptions,
    /// Counts of the fields that can be trusted.
    pub counts: CountStatistics,
    /// Nuclei per mm², if the pixel size is known.
    pub density_per_mm2: Option<Estimate>,
    /// Nuclei per mL of the undiluted sample, if the chamber depth is known, too.
    pub concentration_per_ml: Option<Estimate>,
    /// Mean fraction of an image covered by nuclei.
    pub confluence: f64,
    /// Sizes; absent without a nucleus.
    pub sizes: Option<NucleusSizes>,
    /// The method of the interval.
    pub method: &'static str,
    /// What speaks against these numbers.
    pub cautions: Vec<String>,
    /// The fields that were counted.
    pub fields: Vec<FieldCount>,
    /// The fields excluded because of unreliable counts.
    pub left_out: Vec<FieldCount>,
    /// Label images that cannot be read, with the reason.
    pub unreadable: Vec<String>,
}

const METHOD: &str = "95 % interval of the mean over fields by Student's t; it assumes randomly chosen \
     fields, and covers less than 95 % if counts are low or clumped";

/// No field can be counted.
#[derive(Debug)]
pub struct NothingCounted {
    /// The fields with unreliable counts.
    pub left_out: Vec<FieldCount>,
}

/// Counts every field of a folder, and summarizes the reliable ones.
///
/// # Errors
/// [`NothingCounted`] where none is left.
pub fn report(folder: &LabelFolder, options: ReportOptions) -> Result<CountReport, NothingCounted> {
    let names = folder.names();
    let progress = Progress::new("counting", names.len() as u64);
    let (mut counted, mut left_out, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    let mut judged = true;
    for name in &names {
        match folder.load(name).and_then(|field| count(folder, name, &field, options.gates)) {
            Ok((field, is_judged)) if field.doubts.is_empty() => {
                judged &= is_judged;
                counted.push(field);
            }
            Ok((field, _)) => left_out.push(field),
            Err(problem) => {
                progress.warn(&format!("not counted: {problem}"));
                unreadable.push(problem);
            }
        }
        progress.advance(1);
    }
    drop(progress);
    let counts: Vec<u32> = counted.iter().map(|field| field.count).collect();
    let Some(statistics) = CountStatistics::of(&counts) else { return Err(NothingCounted { left_out }) };
    let mut cautions = statistics.cautions();
    cautions.extend(other_cautions(&counted, options, judged));
    let density_per_mm2 = options.pixel_size.and_then(|size| {
        let pixel_mm2 = (f64::from(size.get()) / 1000.0).powi(2);
        let area = |field: &FieldCount| f64::from(field.width) * f64::from(field.height) * pixel_mm2;
        statistics::density(&counts, &counted.iter().map(area).collect::<Vec<f64>>())
    });
    let concentration_per_ml = density_per_mm2
        .zip(options.chamber_depth_um)
        .map(|(density, depth)| density.times(concentration_factor(depth, options.dilution)));
    Ok(CountReport {
        options,
        counts: statistics,
        density_per_mm2,
        concentration_per_ml,
        confluence: counted.iter().map(|field| field.confluence).sum::<f64>() / counts.len() as f64,
        sizes: NucleusSizes::of(&counted, options.pixel_size),
        method: METHOD,
        cautions,
        fields: counted,
        left_out,
        unreadable,
    })
}

/// Nuclei per mL of the undiluted sample for each nucleus per mm² of a chamber: 1 mL is 10¹² µm³, and a mm² of the
/// chamber holds 10⁶ µm² times its depth.
fn concentration_factor(depth_um: f64, dilution: f64) -> f64 {
    1e6 / depth_um * dilution
}

/// A field's count, and whether its quality was checked.
fn count(
    folder: &LabelFolder,
    name: &str,
    field: &LabelledField,
    gates: Gates,
) -> Result<(FieldCount, bool), String> {
    let objects = objects_of(name, field)?;
    let within = within(&objects, field, gates);
    let (width, height) = (field.labels.width(), field.labels.height());
    let covered: u64 = objects.iter().map(|object| u64::from(object.area_px)).sum();
    let entry =
        folder.evidence_of(name).or_else(|| folder.judgement_of(name).filter(|_| !folder.has_evidence()));
    let doubts: Option<Vec<String>> = match (entry, &field.image) {
        (Some(evidence_of), _) => Some(evidence_of.reasons()),
        (None, _) if folder.has_evidence() => Some(vec!["no evidence for this frame".to_owned()]),
        (None, Some(image)) => {
            let doubts = Evidence::of(image, &field.labels, ScaleFit::WithinLimits, None).qc_flags;
            Some(doubts.reasons().map(str::to_owned).collect())
        }
        (None, None) => None,
    };
    let judged = doubts.is_some();
    let counted = FieldCount {
        name: name.to_owned(),
        count: within.len() as u32,
        found: objects.len() as u32,
        width,
        height,
        confluence: covered as f64 / (f64::from(width) * f64::from(height)),
        doubts: doubts.unwrap_or_default(),
        areas_px: objects.iter().filter(|o| within.contains(&o.label)).map(|o| o.area_px).collect(),
    };
    Ok((counted, judged))
}

fn objects_of(name: &str, field: &LabelledField) -> Result<Vec<Object>, String> {
    let (width, height) = (field.labels.width(), field.labels.height());
    let black = Image::black(width, height, Channels::Grey).map_err(|error| format!("{name}: {error}"))?;
    let seen = field.image.as_ref().unwrap_or(&black);
    measure_objects(&field.labels, seen).map_err(|error| format!("{name}: {error}"))
}

/// Labels of the nuclei within the gates.
fn within(objects: &[Object], field: &LabelledField, gates: Gates) -> BTreeSet<u32> {
    let (width, height) = (field.labels.width(), field.labels.height());
    objects.iter().filter(|object| gates.pass(object, width, height)).map(|object| object.label).collect()
}

fn other_cautions(fields: &[FieldCount], options: ReportOptions, judged: bool) -> Vec<String> {
    let mut cautions = Vec::new();
    let sizes: BTreeSet<(u32, u32)> = fields.iter().map(|field| (field.width, field.height)).collect();
    if sizes.len() > 1 {
        cautions.push(format!(
            "the fields have {} different sizes, so the mean per field is not meaningful; the density \
                 accounts for size",
            sizes.len()
        ));
    }
    if options.pixel_size.is_some() && options.gates.border != Border::TwoEdges {
        let off = match options.gates.border {
            Border::Count => "high",
            _ => "low",
        };
        cautions.push(format!(
            "the density is {off}, since nuclei at all borders are treated alike; --border two-edges is unbiased"
        ));
    }
    if !judged {
        cautions.push(
            "neither evidence nor images available: focus, light and density were not checked; give the images \
                 with --images"
                .to_owned(),
        );
    }
    cautions
}

impl NucleusSizes {
    fn of(fields: &[FieldCount], pixel_size: Option<PixelSize>) -> Option<Self> {
        let mut areas: Vec<u32> = fields.iter().flat_map(|field| &field.areas_px).copied().collect();
        areas.sort_unstable();
        let last = areas.len().checked_sub(1)?;
        let areas_px =
            [0.05, 0.25, 0.5, 0.75, 0.95].map(|share| areas[(last as f64 * share).round() as usize]);
        let side = pixel_size.map(|size| f64::from(size.get()));
        let median_diameter_px = equivalent_diameter_px(areas_px[2]);
        Some(Self {
            areas_px,
            areas_um2: side.map(|side| areas_px.map(|area| f64::from(area) * side * side)),
            median_diameter_px,
            median_diameter_um: pixel_size.map(|size| median_diameter_px * size.get()),
        })
    }
}

impl CountReport {
    /// The report as text.
    pub fn to_lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{:<26}{}", "fields counted", self.counts.fields)];
        let mut row = |what: &str, value: String| lines.push(format!("{what:<26}{value}"));
        if self.options.gates != Gates::default() {
            row("gates", self.options.gates.describe());
        }
        row("nuclei counted", self.counts.total.to_string());
        row("nuclei per field", with_interval(self.counts.mean));
        if let Some(deviation) = self.counts.standard_deviation {
            row("standard deviation", number(deviation));
        }
        if let Some(dispersion) = self.counts.dispersion {
            row("variance / mean", format!("{dispersion:.2}  (1: randomly distributed)"));
        }
        match self.counts.more_fields {
            Some(0) => row("within ±5 %", "reached".to_owned()),
            Some(more) => row("within ±5 %", format!("with {more} more fields")),
            None => {}
        }
        if let Some(density) = self.density_per_mm2 {
            row("nuclei per mm²", with_interval(density));
        }
        if let Some(concentration) = self.concentration_per_ml {
            row("nuclei per mL", with_interval(concentration));
        }
        row("confluence", format!("{:.1} %", 100.0 * self.confluence));
        if let Some(sizes) = &self.sizes {
            row(
                "area, 5 25 50 75 95 %",
                format!("{} px", sizes.areas_px.map(|area| area.to_string()).join(" ")),
            );
            if let Some(areas) = &sizes.areas_um2 {
                row("", format!("{} µm²", areas.map(number).join(" ")));
            }
        }
        lines.extend([String::new(), self.method.to_owned()]);
        lines.extend(self.cautions.iter().map(|caution| format!("caution: {caution}")));
        lines.extend(left_out_lines(&self.left_out));
        lines
    }
}

/// Excluded fields, one line each.
pub fn left_out_lines(left_out: &[FieldCount]) -> impl Iterator<Item = String> {
    left_out.iter().map(|field| format!("excluded: {}: {}", field.name, field.doubts.join(", ")))
}

/// A number with its interval.
fn with_interval(estimate: Estimate) -> String {
    match estimate.interval {
        None => number(estimate.value),
        Some([low, high]) => {
            format!("{}  (95 %: {} to {})", number(estimate.value), number(low), number(high))
        }
    }
}

/// At least four digits.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1e5 => format!("{value:.3e}"),
        large if large >= 1000.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}
