//! The score-against-cost plot.

use std::collections::BTreeMap;

use host_console::Failure;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::{
    ChartBuilder, Circle, Color as _, DrawingBackend, EmptyElement, IntoDrawingArea as _, IntoLogRange as _,
    RGBColor, SVGBackend, Text, WHITE,
};
use serde::{Deserialize, Serialize};
use shared::SetScore;

const OURS: RGBColor = RGBColor(20, 90, 170);
const BASELINE: RGBColor = RGBColor(190, 60, 40);

/// The result of a run of the plot, with scores on the held-back images.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ParetoPoint {
    /// The run's name.
    pub name: String,
    /// The network as text.
    pub architecture: String,
    /// Multiply-accumulates of a tile of 256x256, in billions.
    pub gmac: f64,
    /// Bytes of the model file with int8 weights.
    pub bytes: usize,
    /// Training crops; whole images for the tutorial.
    pub crops: u64,
    /// Time that training took, s.
    pub seconds: f64,
    /// Scores with float weights.
    pub float: Option<SetScore>,
    /// Scores of the file.
    pub int8: Option<SetScore>,
    /// Scores of the file by image type.
    pub types: BTreeMap<String, SetScore>,
}

type DrawResult<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// An SVG with one point per run: mean AP of the int8 file over GMAC on a logarithmic scale.
///
/// # Errors
/// [`Failure`], never in practice: an SVG is text.
pub(super) fn draw_pareto(rows: &[ParetoPoint]) -> Result<String, Failure> {
    let mut svg = String::new();
    draw(&mut svg, rows)
        .map_err(|error| Failure::failed(error.to_string(), "please report this with front.json"))?;
    Ok(svg)
}

fn draw<'a>(svg: &'a mut String, rows: &[ParetoPoint]) -> DrawResult<'a> {
    let root = SVGBackend::with_string(svg, (720, 440)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("mean AP of the int8 file on the held-back images", ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d((0.05..10.0).log_scale(), 0.0..0.7)?;
    chart.configure_mesh().x_desc("GMAC per tile of 256x256").draw()?;
    let points = rows.iter().filter_map(|row| Some((row, row.int8.as_ref()?.mean_ap)));
    chart.draw_series(points.map(|(row, score)| {
        let colour = if row.name == "tutorial" { BASELINE } else { OURS };
        EmptyElement::at((row.gmac, score))
            + Circle::new((0, 0), 5, colour.filled())
            + Text::new(format!("{} {score:.3}", row.name), (9, -6), ("sans-serif", 13))
    }))?;
    root.present()
}
