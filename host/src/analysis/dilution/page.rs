//! The series as a self-contained HTML page.

use std::fmt::Write as _;

use host_console::Failure;
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color as _, IntoDrawingArea as _, LineSeries, RGBColor, SVGBackend, WHITE,
};

use super::{Assessment, DilutionSeries};
use crate::support::html::{DrawResult, cards, escaped, head};

const POINT: RGBColor = RGBColor(20, 110, 190);

/// Writes the page.
///
/// # Errors
/// [`Failure`] when the plot cannot be drawn.
pub fn page(judged: &Assessment, counts: &[(f64, u32)]) -> Result<String, Failure> {
    let series = &judged.series;
    let mut html = head("Dilution series");
    let mut top = vec![
        (format!("{:.1} %", 100.0 * series.index), "proportionality index (0: perfectly proportional)"),
        (format!("{:.4}", series.r_squared), "R² of the linear fit"),
    ];
    top.extend(series.pooled_cv.map(|cv| (format!("{:.1} %", 100.0 * cv), "CV over fields of one dilution")));
    top.push((counts.len().to_string(), "fields"));
    let _ = write!(html, "<p><b>{}</b></p>", escaped(&judged.words));
    cards(&mut html, &top);
    html.push_str("<h2>Counts against the fraction of sample</h2>");
    let mut svg = String::new();
    draw(&mut svg, series, counts).map_err(|error| Failure::failed(error.to_string(), "report this"))?;
    html.push_str(&svg);
    table(&mut html, series);
    html.push_str("<h2>Cautions</h2><ul>");
    for caution in &judged.cautions {
        let _ = write!(html, "<li>{}", escaped(caution));
    }
    html.push_str("</ul></html>\n");
    Ok(html)
}

fn table(html: &mut String, series: &DilutionSeries) {
    html.push_str(
        "<h2>Every dilution</h2><div class=\"wide\"><table><tr><th>1 in<th>fields<th>mean<th>expected<th>off\
         <th>CV<th>95 % interval<th>CV by chance</tr>",
    );
    let percent = |value: f64| format!("{:.1} %", 100.0 * value);
    for step in &series.steps {
        let interval = step.cv_interval.map(|[low, high]| format!("{} to {}", percent(low), percent(high)));
        let _ = write!(
            html,
            "<tr><td>{}<td>{}<td>{:.1}<td>{:.1}<td>{:+.1} %<td>{}<td>{}<td>{}</tr>",
            step.dilution,
            step.fields,
            step.mean,
            step.expected,
            100.0 * step.off,
            step.cv.map(percent).unwrap_or_default(),
            interval.unwrap_or_default(),
            percent(step.poisson_cv)
        );
    }
    html.push_str("</table></div>");
}

fn draw<'a>(svg: &'a mut String, series: &DilutionSeries, counts: &[(f64, u32)]) -> DrawResult<'a> {
    let right = counts.iter().map(|(dilution, _)| 1.0 / dilution).fold(0.0, f64::max) * 1.05;
    let top = counts.iter().map(|&(_, count)| f64::from(count)).fold(series.slope * right, f64::max) * 1.05;
    let root = SVGBackend::with_string(svg, (900, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(14)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..right, 0.0..top)?;
    chart.configure_mesh().x_desc("fraction of sample (1 / dilution)").y_desc("nuclei per field").draw()?;
    chart.draw_series(LineSeries::new([(0.0, 0.0), (right, series.slope * right)], &BLACK))?;
    chart.draw_series(counts.iter().map(|&(dilution, count)| {
        Circle::new((1.0 / dilution, f64::from(count)), 4, POINT.mix(0.6).filled())
    }))?;
    root.present()
}
