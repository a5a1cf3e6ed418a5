//! The report as a self-contained HTML page.

use std::fmt::Write as _;

use host_console::Failure;
use host_modelling::{Polygon, trace_polygons};
use shared::{Channels, Image};

use super::{CountReport, FieldCount, number, objects_of, with_interval, within};
use crate::records::label_folder::LabelFolder;
use crate::support::html::{Outlines, area_histogram, cards, escaped, head, outlined};

/// Images shown per kind of field.
const SHOWN: usize = 6;

const KEY: &str = "<p><span class=\"key\" style=\"color:#00d060\"></span>counted\
                   <span class=\"key\" style=\"color:#9aa4ae\"></span>outside the gates</p>";

/// Writes the page.
///
/// # Errors
/// [`Failure`] when a field that was read before can no longer be.
pub fn page(title: &str, report: &CountReport, folder: &LabelFolder) -> Result<String, Failure> {
    let mut html = head(&format!("Nuclei in {title}"));
    let mut top = vec![(with_interval(report.counts.mean), "nuclei per field")];
    top.extend(report.density_per_mm2.map(|density| (with_interval(density), "nuclei per mm²")));
    top.extend(report.concentration_per_ml.map(|density| (with_interval(density), "nuclei per mL")));
    top.push((report.counts.fields.to_string(), "fields counted"));
    top.push((report.left_out.len().to_string(), "fields excluded"));
    cards(&mut html, &top);
    numbers(&mut html, report);
    let areas: Vec<u32> = report.fields.iter().flat_map(|field| &field.areas_px).copied().collect();
    if !areas.is_empty() {
        html.push_str("<h2>Sizes of nuclei</h2>");
        area_histogram(&mut html, &areas)?;
    }
    let gallery = [
        ("Excluded: unreliable counts", report.left_out.iter().take(SHOWN).collect()),
        ("Farthest from the mean", by_distance(report).into_iter().rev().take(SHOWN).collect()),
        ("Nearest to the mean", by_distance(report).into_iter().take(SHOWN).collect::<Vec<_>>()),
    ];
    for (headline, fields) in gallery {
        if !fields.is_empty() {
            let _ = write!(html, "<h2>{headline}</h2>{KEY}");
            for field in fields {
                picture(&mut html, field, report, folder)?;
            }
        }
    }
    table(&mut html, report);
    html.push_str("</html>\n");
    Ok(html)
}

/// The fields, those nearest to the mean first.
fn by_distance(report: &CountReport) -> Vec<&FieldCount> {
    let distance = |field: &FieldCount| (f64::from(field.count) - report.counts.mean.value).abs();
    let mut fields: Vec<&FieldCount> = report.fields.iter().collect();
    fields.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
    fields
}

fn numbers(html: &mut String, report: &CountReport) {
    let mut rows = vec![
        ("nuclei counted", report.counts.total.to_string()),
        ("confluence", format!("{:.1} %", 100.0 * report.confluence)),
        ("gates", report.options.gates.describe()),
    ];
    rows.extend(report.counts.standard_deviation.map(|s| ("standard deviation over fields", number(s))));
    rows.extend(
        report.counts.dispersion.map(|d| ("variance / mean (1: randomly distributed)", format!("{d:.2}"))),
    );
    rows.extend(report.counts.more_fields.map(|more| ("additional fields for ±5 %", more.to_string())));
    if let Some(sizes) = &report.sizes {
        rows.push((
            "area percentiles 5, 25, 50, 75, 95 %, px",
            sizes.areas_px.map(|area| area.to_string()).join(" "),
        ));
        rows.extend(sizes.areas_um2.map(|areas| ("the same, µm²", areas.map(number).join(" "))));
    }
    rows.extend(report.options.pixel_size.map(|size| ("pixel size, µm", size.get().to_string())));
    rows.extend(report.options.chamber_depth_um.map(|depth| ("chamber depth, µm", depth.to_string())));
    if report.options.dilution > 1.0 {
        rows.push(("dilution", format!("{}-fold", report.options.dilution)));
    }
    html.push_str("<h2>Numbers</h2><div class=\"wide\"><table class=\"text\">");
    for (what, value) in rows {
        let _ = write!(html, "<tr><td>{what}<td>{}</tr>", escaped(value));
    }
    let _ = write!(html, "</table></div><p>{}.</p>", escaped(report.method));
    if !report.cautions.is_empty() || !report.unreadable.is_empty() {
        html.push_str("<h2>Cautions</h2><ul>");
        for caution in report.cautions.iter().chain(&report.unreadable) {
            let _ = write!(html, "<li class=\"unusable\">{}", escaped(caution));
        }
        html.push_str("</ul>");
    }
}

fn picture(
    html: &mut String,
    field: &FieldCount,
    report: &CountReport,
    folder: &LabelFolder,
) -> Result<(), Failure> {
    let next = "do not change the folder while report reads it";
    let failed = |problem: String| Failure::failed(problem, next);
    let loaded = folder.load(&field.name).map_err(failed)?;
    let objects = objects_of(&field.name, &loaded).map_err(failed)?;
    let counted = within(&objects, &loaded, report.options.gates);
    let (mut inside, mut outside): (Vec<Polygon>, Vec<Polygon>) = Default::default();
    for (label, parts) in trace_polygons(&loaded.labels) {
        if counted.contains(&label) { &mut inside } else { &mut outside }.extend(parts);
    }
    let image = match loaded.image {
        Some(image) => image,
        None => Image::black(field.width, field.height, Channels::Grey)?,
    };
    let mut caption =
        format!("<b>{}</b>: {} counted of {} found", escaped(&field.name), field.count, field.found);
    if !field.doubts.is_empty() {
        let _ = write!(caption, " <span class=\"unusable\">{}</span>", escaped(field.doubts.join(", ")));
    }
    let outlines =
        [Outlines { class: "out", polygons: &outside }, Outlines { class: "in", polygons: &inside }];
    outlined(html, &image, &outlines, &caption)
}

fn table(html: &mut String, report: &CountReport) {
    html.push_str(
        "<h2>Every field</h2><div class=\"wide\"><table><tr><th>field<th>counted<th>found<th>confluence\
         <th>excluded because</tr>",
    );
    for field in report.fields.iter().chain(&report.left_out) {
        let _ = write!(
            html,
            "<tr><td>{}<td>{}<td>{}<td>{:.1} %<td>{}</tr>",
            escaped(&field.name),
            field.count,
            field.found,
            100.0 * field.confluence,
            escaped(field.doubts.join(", "))
        );
    }
    html.push_str("</table></div>");
}
