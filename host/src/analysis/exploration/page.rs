//! The exploration as a self-contained HTML page.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host_console::Failure;
use host_modelling::{Dataset, ImageType, draw_outlines};
use plotters::prelude::{
    ChartBuilder, Color as _, IntoDrawingArea as _, IntoLogRange as _, LineSeries, RGBColor, SVGBackend,
    WHITE,
};
use shared::{Scaling, encode_picture_png};

use super::findings::Severity;
use super::{Cluster, Exploration, TypeFacts};
use crate::support::html::{DrawResult, escaped, head, thumbnail};

/// Sample images per cluster.
const SAMPLES: usize = 6;
/// Maximum side of a sample image on the page, px.
const SAMPLE_PX: u32 = 220;
/// Findings shown; the rest is counted.
const SHOWN: usize = 100;
const OUTLINE: [u8; 3] = [0, 200, 80];

/// Writes the page. `title` names the data set.
///
/// # Errors
/// [`Failure`] when an image that was read before can no longer be.
pub fn page(title: &str, exploration: &Exploration, dataset: &Dataset) -> Result<String, Failure> {
    let mut html = head(&format!("What is in {title}"));
    cards(&mut html, exploration);
    types(&mut html, exploration);
    plot(&mut html, exploration)?;
    sizes(&mut html, exploration);
    html.push_str(
        "<h2>Kinds of image</h2><p>k-means clusters the images by color only. Where a cluster holds a \
             single image type, the rule that assigns types agrees with it.</p>",
    );
    for (number, cluster) in (1..).zip(&exploration.clusters) {
        samples(&mut html, number, cluster, exploration, dataset)?;
    }
    findings(&mut html, exploration);
    html.push_str("</html>\n");
    Ok(html)
}

fn cards(html: &mut String, exploration: &Exploration) {
    let all: Vec<_> = exploration.pictures.iter().collect();
    let facts = TypeFacts::of(&all);
    html.push_str("<div class=\"cards\">");
    for (number, what) in [
        (exploration.listed.to_string(), "pictures"),
        (facts.nuclei.to_string(), "nuclei"),
        (format!("{:.0} %", 100.0 * facts.touching), "of them touch another"),
        (format!("{} px", facts.areas_px[1]), "median area"),
        (exploration.findings.len().to_string(), "findings to review"),
    ] {
        let _ = write!(html, "<div class=\"card\"><b>{number}</b>{what}</div>");
    }
    html.push_str("</div>");
}

fn types(html: &mut String, exploration: &Exploration) {
    html.push_str(
        "<h2>Image types</h2><div class=\"wide\"><table><tr><th>type<th>pictures<th>nuclei<th>touching\
         <th>nuclei per image: least, median, most<th>area, px: 5 %, median, 95 %</tr>",
    );
    for (name, facts) in &exploration.types {
        let TypeFacts { pictures, nuclei, touching, counts, areas_px } = facts;
        let _ = write!(
            html,
            "<tr><td>{name}<td>{pictures}<td>{nuclei}<td>{:.0} %<td>{}, {}, {}<td>{}, {}, {}</tr>",
            100.0 * touching,
            counts[0],
            counts[1],
            counts[2],
            areas_px[0],
            areas_px[1],
            areas_px[2]
        );
    }
    html.push_str("</table></div>");
}

fn sizes(html: &mut String, exploration: &Exploration) {
    html.push_str("<h2>Image sizes</h2><div class=\"wide\"><table><tr><th>size, px<th>images</tr>");
    for (size, count) in &exploration.sizes {
        let _ = write!(html, "<tr><td>{size}<td>{count}</tr>");
    }
    html.push_str("</table></div>");
}

fn samples(
    html: &mut String,
    number: usize,
    cluster: &Cluster,
    exploration: &Exploration,
    dataset: &Dataset,
) -> Result<(), Failure> {
    let held: Vec<String> =
        cluster.types.iter().map(|(name, count): (&ImageType, _)| format!("{count} {name}")).collect();
    let _ = write!(
        html,
        "<h3>Cluster {number}: {} images ({})</h3><p>Median value {:.2}, mean saturation {:.2}.</p>",
        cluster.members.len(),
        held.join(", "),
        cluster.centre[0],
        cluster.centre[1]
    );
    // From the center outwards, so that outliers are included.
    let step = cluster.members.len().div_ceil(SAMPLES).max(1);
    for &member in cluster.members.iter().step_by(step) {
        let facts = &exploration.pictures[member];
        let sample = dataset.load(facts.index)?;
        let picture = match &sample.labels {
            Some(labels) => draw_outlines(&sample.image, labels, OUTLINE)?,
            None => sample.image,
        };
        let thumbnail = thumbnail(&picture, SAMPLE_PX, Scaling::UnitRange)?;
        let png = encode_picture_png(&thumbnail).map_err(|error| Failure::failed(error, "report this"))?;
        let name = escaped(&facts.name);
        let _ = write!(
            html,
            "<figure><img alt=\"{name}\" src=\"data:image/png;base64,{}\"><figcaption>{name}</figcaption></figure>",
            STANDARD.encode(png)
        );
    }
    Ok(())
}

fn findings(html: &mut String, exploration: &Exploration) {
    html.push_str("<h2>Problems, file by file</h2>");
    if exploration.findings.is_empty() {
        html.push_str("<p>None.</p>");
        return;
    }
    html.push_str(
        "<div class=\"wide\"><table class=\"text\"><tr><th>file<th>problem<th>effect<th>what to do</tr>",
    );
    for finding in exploration.findings.iter().take(SHOWN) {
        let class = match finding.severity {
            Severity::Unusable => " class=\"unusable\"",
            Severity::Odd => "",
        };
        let [file, problem, effect, next] =
            [&finding.file, &finding.problem, finding.effect, &finding.next].map(escaped);
        let _ = write!(html, "<tr><td>{file}<td{class}>{problem}<td>{effect}<td>{next}</tr>");
    }
    html.push_str("</table></div>");
    if let more @ 1.. = exploration.findings.len().saturating_sub(SHOWN) {
        let _ = write!(html, "<p>And {more} more: see --json.</p>");
    }
}

/// Nucleus areas of each type, as shares of its nuclei over halves of octaves.
fn plot(html: &mut String, exploration: &Exploration) -> Result<(), Failure> {
    let colours = [
        (ImageType::Fluorescence, RGBColor(20, 110, 190), "blue"),
        (ImageType::PurpleSaturated, RGBColor(140, 60, 170), "purple"),
        (ImageType::PurpleOnPale, RGBColor(210, 110, 160), "pink"),
        (ImageType::GreyBrightfield, RGBColor(90, 90, 90), "grey"),
    ];
    let curves: Vec<(Vec<(f64, f64)>, RGBColor)> = colours
        .iter()
        .filter_map(|(image_type, colour, _)| {
            let of_type = exploration.pictures.iter().filter(|picture| picture.image_type == *image_type);
            let areas: Vec<u32> =
                of_type.flat_map(|picture| picture.areas_px.iter().flatten().copied()).collect();
            (!areas.is_empty()).then(|| (shares(&areas), *colour))
        })
        .collect();
    if curves.is_empty() {
        return Ok(());
    }
    let legend: Vec<String> = colours
        .iter()
        .filter(|(image_type, ..)| exploration.types.contains_key(image_type))
        .map(|(image_type, _, name)| format!("{image_type} {name}"))
        .collect();
    let mut svg = String::new();
    draw(&mut svg, &curves).map_err(|error| Failure::failed(error.to_string(), "report this"))?;
    let _ = write!(html, "<h2>Nucleus areas</h2><p>{}</p>{svg}", escaped(legend.join(", ")));
    Ok(())
}

/// Steps of the area axis in an octave.
const STEPS: f64 = 2.0;

fn shares(areas: &[u32]) -> Vec<(f64, f64)> {
    let step = |area: u32| (f64::from(area.max(1)).log2() * STEPS).round() as i32;
    let last = areas.iter().map(|&area| step(area)).max().unwrap_or(0);
    (0..=last)
        .map(|at| {
            let count = areas.iter().filter(|&&area| step(area) == at).count();
            (2.0_f64.powf(f64::from(at) / STEPS), 100.0 * count as f64 / areas.len() as f64)
        })
        .collect()
}

fn draw<'a>(svg: &'a mut String, curves: &[(Vec<(f64, f64)>, RGBColor)]) -> DrawResult<'a> {
    let points = || curves.iter().flat_map(|(points, _)| points);
    let right = points().map(|&(x, _)| x).fold(10.0, f64::max);
    let top = points().map(|&(_, y)| y).fold(1.0, f64::max);
    let root = SVGBackend::with_string(svg, (900, 340)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(14)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d((1.0..right * 1.2).log_scale(), 0.0..top * 1.05)?;
    chart.configure_mesh().x_desc("area of a nucleus, px").y_desc("fraction of nuclei, %").draw()?;
    for (points, colour) in curves {
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
    }
    root.present()
}
