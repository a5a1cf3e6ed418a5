//! A score as a self-contained HTML page: the worst images first.

use std::fmt::Write as _;

use host_console::Failure;
use host_modelling::{LabelledSample, Polygon, trace_polygons};
use plotters::prelude::{
    ChartBuilder, Color as _, IntoDrawingArea as _, LineSeries, RGBColor, SVGBackend, WHITE,
};
use shared::{LabelImage, SetScore, THRESHOLDS_PERCENT, matched_labels};

use super::{ScoreReport, ScoredPicture};
use crate::support::html::{DrawResult, Outlines, cards, escaped, head, outlined};

/// Images shown.
const SHOWN: usize = 24;

/// The worst images so far, drawn.
#[derive(Debug, Default)]
pub struct Worst {
    /// Mean AP and the figure in HTML, the worst first.
    figures: Vec<(f64, String)>,
    failure: Option<Failure>,
}

impl Worst {
    /// Adds an image, if it is among the worst.
    pub fn add(&mut self, sample: &LabelledSample, found: &LabelImage, scored: &ScoredPicture) {
        let mean_ap = scored.score.mean_ap();
        let at = self.figures.partition_point(|(other, _)| *other <= mean_ap);
        if at >= SHOWN {
            return;
        }
        match figure(sample, found, scored) {
            Ok(figure) => self.figures.insert(at, (mean_ap, figure)),
            Err(failure) => self.failure = Some(failure),
        }
        self.figures.truncate(SHOWN);
    }

    /// The page. `title` names what was scored.
    ///
    /// # Errors
    /// [`Failure`] when an image could not be drawn.
    pub fn page(self, title: &str, report: &ScoreReport) -> Result<String, Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let total = &report.total;
        let mut html = head(&format!("Score of {title}"));
        let top = [
            (format!("{:.3}", total.mean_ap), "mean AP over IoU 0.50 to 0.95"),
            (format!("{:.3}", total.ap[0]), "AP at IoU above 0.50"),
            (format!("{:.3}", total.mean_iou), "IoU of nuclei against background"),
            (format!("{:.1} %", 100.0 * total.count_error), "count error per image"),
            (total.images.to_string(), "pictures"),
        ];
        cards(&mut html, &top);
        types(&mut html, report);
        thresholds(&mut html, total)?;
        let _ = write!(
            html,
            "<h2>Worst images first</h2><p>Outlines at IoU above 0.50:\
             <span class=\"key\" style=\"color:#00d060\"></span>hit\
             <span class=\"key\" style=\"color:#ff9800\"></span>missed nucleus\
             <span class=\"key\" style=\"color:#ff40c0\"></span>false positive</p>"
        );
        self.figures.iter().for_each(|(_, figure)| html.push_str(figure));
        if let more @ 1.. = report.pictures.len().saturating_sub(SHOWN) {
            let _ = write!(html, "<p>And {more} better ones: see --csv.</p>");
        }
        html.push_str("</html>\n");
        Ok(html)
    }
}

fn figure(sample: &LabelledSample, found: &LabelImage, scored: &ScoredPicture) -> Result<String, Failure> {
    let matched = matched_labels(&sample.labels, found, THRESHOLDS_PERCENT[0]);
    let matched = matched.map_err(|error| Failure::failed(error, "report this"))?;
    let is_hit = |label: u32| matched.iter().any(|&(_, hit)| hit == label);
    let is_met = |label: u32| matched.binary_search_by_key(&label, |&(truth, _)| truth).is_ok();
    let (mut hits, mut finds): (Vec<Polygon>, Vec<Polygon>) = Default::default();
    for (label, parts) in trace_polygons(found) {
        if is_hit(label) { &mut hits } else { &mut finds }.extend(parts);
    }
    let misses = trace_polygons(&sample.labels).into_iter().filter(|(label, _)| !is_met(*label));
    let misses: Vec<Polygon> = misses.flat_map(|(_, parts)| parts).collect();
    let counts = &scored.score.matches[0];
    let caption = format!(
        "<b>{:.3}</b> {} ({}): {} hits, {} missed, {} false",
        scored.score.mean_ap(),
        escaped(&scored.name),
        scored.image_type,
        counts.true_positives,
        counts.false_negatives,
        counts.false_positives
    );
    let outlines = [
        Outlines { class: "in", polygons: &hits },
        Outlines { class: "miss", polygons: &misses },
        Outlines { class: "false", polygons: &finds },
    ];
    let mut html = String::new();
    outlined(&mut html, &sample.image, &outlines, &caption)?;
    Ok(html)
}

fn types(html: &mut String, report: &ScoreReport) {
    html.push_str(
        "<h2>By type</h2><div class=\"wide\"><table><tr><th>type<th>images<th>mean AP<th>AP 0.50<th>AP 0.75\
         <th>IoU<th>Dice<th>count error</tr>",
    );
    let rows = report.types.iter().map(|(image_type, score)| (image_type.name(), score));
    for (name, score) in std::iter::once(("all", &report.total)).chain(rows) {
        let _ = write!(
            html,
            "<tr><td>{name}<td>{}<td>{:.4}<td>{:.4}<td>{:.4}<td>{:.4}<td>{:.4}<td>{:.1} %</tr>",
            score.images,
            score.mean_ap,
            score.ap[0],
            score.ap[5],
            score.mean_iou,
            score.dice,
            100.0 * score.count_error
        );
    }
    html.push_str("</table></div>");
}

fn thresholds(html: &mut String, total: &SetScore) -> Result<(), Failure> {
    html.push_str("<h2>AP by threshold</h2>");
    let points: Vec<(f64, f64)> =
        THRESHOLDS_PERCENT.iter().map(|&percent| f64::from(percent) / 100.0).zip(total.ap).collect();
    let mut svg = String::new();
    draw(&mut svg, &points).map_err(|error| Failure::failed(error.to_string(), "report this"))?;
    html.push_str(&svg);
    html.push_str("<div class=\"wide\"><table><tr><td>IoU above");
    points.iter().for_each(|(threshold, _)| html.push_str(&format!("<td>{threshold:.2}")));
    html.push_str("</tr><tr><td>AP");
    points.iter().for_each(|(_, ap)| html.push_str(&format!("<td>{ap:.4}")));
    html.push_str("</tr></table></div>");
    Ok(())
}

fn draw<'a>(svg: &'a mut String, points: &[(f64, f64)]) -> DrawResult<'a> {
    let root = SVGBackend::with_string(svg, (900, 300)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(14)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.5..0.95, 0.0..1.0)?;
    chart.configure_mesh().x_desc("IoU above").y_desc("average precision").draw()?;
    chart.draw_series(LineSeries::new(points.iter().copied(), RGBColor(20, 110, 190).stroke_width(3)))?;
    root.present()
}
