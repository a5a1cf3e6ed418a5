//! Parts of the HTML pages that commands write, each a single file without external resources.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host_console::Failure;
use host_modelling::Polygon;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::{
    ChartBuilder, Color as _, DrawingBackend, IntoDrawingArea as _, IntoLogRange as _, RGBColor, Rectangle,
    SVGBackend, WHITE,
};
use shared::{Image, Planes, Scaling, encode_jpeg};

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--line:#d5dae0;--soft:#f4f6f8;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--paper:#15181c;--line:#353b42;--soft:#1e2328;--bad:#ff8a80}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:70rem;margin:auto;padding:1rem}
h1{font-size:1.6rem}h2{margin-top:2.2rem;border-bottom:1px solid var(--line)}
.cards{display:flex;flex-wrap:wrap;gap:1rem}.card{background:var(--soft);padding:.6rem 1rem;border-radius:.5rem}
.card b{display:block;font-size:1.6rem}.wide{overflow-x:auto}
table{border-collapse:collapse;margin:.6rem 0}th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid var(--line)}
th:first-child,td:first-child,.text td,.text th{text-align:left}
figure{display:inline-block;margin:.3rem}figure img{display:block;max-width:13.5rem;border-radius:.3rem}
figcaption{font-size:.75rem;max-width:13.5rem;overflow-wrap:anywhere}.unusable{color:var(--bad);font-weight:600}
svg{max-width:100%;height:auto;border-radius:.5rem}
figure.outlined{width:20rem;vertical-align:top}figure.outlined svg{display:block;width:100%;background:#000}
figure.outlined figcaption{max-width:20rem;font-size:.85rem}
path{fill:none;stroke-width:2;vector-effect:non-scaling-stroke}
.in{stroke:#00d060}.out{stroke:#9aa4ae;stroke-dasharray:2 3}.miss{stroke:#ff9800;stroke-dasharray:5 3}.false{stroke:#ff40c0}
.key{display:inline-block;width:1.4rem;border-top:3px solid;margin:0 .3rem .25rem .8rem}";

/// Maximum side of an outlined image, px.
const OUTLINED_PX: u32 = 640;
const JPEG_QUALITY: u8 = 80;

/// The start of a page, including its headline.
pub fn head(title: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
    )
}

/// Text as HTML.
pub fn escaped(text: impl AsRef<str>) -> String {
    text.as_ref().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Large numbers with their captions.
pub fn cards(html: &mut String, cards: &[(String, &str)]) {
    html.push_str("<div class=\"cards\">");
    for (number, what) in cards {
        // Writing to a string cannot fail, here and below.
        let _ = write!(html, "<div class=\"card\"><b>{}</b>{}</div>", escaped(number), escaped(what));
    }
    html.push_str("</div>");
}

/// The image scaled to at most `side` on its longer side.
///
/// # Errors
/// [`Failure`], never in practice: a smaller image is within the limits.
pub fn thumbnail(picture: &Image, side: u32, scaling: Scaling) -> Result<Image, Failure> {
    let longer = picture.width().max(picture.height());
    if longer <= side && scaling == Scaling::UnitRange {
        return Ok(picture.clone());
    }
    let fit = |length: u32| if longer <= side { length } else { (length * side / longer).max(1) };
    let (width, height) = (fit(picture.width()), fit(picture.height()));
    let planes = Planes::from_image(picture, scaling).resized(width as usize, height as usize);
    let samples = (0..(width * height) as usize)
        .flat_map(|at| (0..planes.count()).map(move |plane| (plane, at)))
        .map(|(plane, at)| (255.0 * planes.plane(plane)[at]).round() as u8)
        .collect();
    Ok(Image::new(width, height, picture.channels(), samples)?)
}

/// Outlines of one CSS class in [`STYLE`].
#[derive(Debug, Clone, Copy)]
pub struct Outlines<'a> {
    /// `in`, `out`, `miss` or `false`.
    pub class: &'static str,
    /// The outlined regions.
    pub polygons: &'a [Polygon],
}

/// An image, stretched to its full range, with outlines in vector graphics and a caption in HTML.
///
/// # Errors
/// [`Failure`] when the image cannot be encoded.
pub fn outlined(
    html: &mut String,
    picture: &Image,
    outlines: &[Outlines<'_>],
    caption: &str,
) -> Result<(), Failure> {
    let (width, height) = (picture.width(), picture.height());
    let small = thumbnail(picture, OUTLINED_PX, Scaling::STRETCH)?;
    let jpeg = encode_jpeg(&small, JPEG_QUALITY).map_err(|error| Failure::failed(error, "report this"))?;
    let _ = write!(
        html,
        "<figure class=\"outlined\"><svg viewBox=\"0 0 {width} {height}\" role=\"img\">\
         <image width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\" \
         href=\"data:image/jpeg;base64,{}\"/>",
        STANDARD.encode(jpeg)
    );
    for Outlines { class, polygons } in outlines {
        let _ = write!(html, "<path class=\"{class}\" d=\"");
        for ring in polygons.iter().flat_map(|part| std::iter::once(&part.exterior).chain(&part.holes)) {
            for (at, [x, y]) in ring.iter().enumerate() {
                let _ = write!(html, "{}{x} {y}", if at == 0 { 'M' } else { 'L' });
            }
            html.push('Z');
        }
        html.push_str("\"/>");
    }
    let _ = write!(html, "</svg><figcaption>{caption}</figcaption></figure>");
    Ok(())
}

const BAR: RGBColor = RGBColor(20, 110, 190);
/// Bars of the areas' axis in an octave.
const BARS: f64 = 4.0;

/// A histogram of nucleus areas with a logarithmic axis.
///
/// # Errors
/// [`Failure`] when it cannot be drawn.
pub fn area_histogram(html: &mut String, areas: &[u32]) -> Result<(), Failure> {
    let bar = |area: u32| (f64::from(area.max(1)).log2() * BARS).floor() as i32;
    let edge = |at: i32| 2.0_f64.powf(f64::from(at) / BARS);
    let (Some(first), Some(last)) = (areas.iter().min(), areas.iter().max()) else { return Ok(()) };
    let bars: Vec<(f64, f64, f64)> = (bar(*first)..=bar(*last))
        .map(|at| {
            let count = areas.iter().filter(|&&area| bar(area) == at).count();
            (edge(at), edge(at + 1), count as f64)
        })
        .collect();
    let mut svg = String::new();
    draw(&mut svg, &bars).map_err(|error| Failure::failed(error.to_string(), "report this"))?;
    html.push_str(&svg);
    Ok(())
}

/// The result of drawing an SVG.
pub type DrawResult<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw<'a>(svg: &'a mut String, bars: &[(f64, f64, f64)]) -> DrawResult<'a> {
    let (left, right) = (bars.first().map_or(1.0, |bar| bar.0), bars.last().map_or(10.0, |bar| bar.1));
    let top = bars.iter().map(|bar| bar.2).fold(1.0, f64::max);
    let root = SVGBackend::with_string(svg, (900, 300)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(14)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d((left / 1.2..right * 1.2).log_scale(), 0.0..top * 1.05)?;
    chart.configure_mesh().x_desc("area of a nucleus, px").y_desc("nuclei").draw()?;
    chart.draw_series(
        bars.iter()
            .map(|&(from, to, count)| Rectangle::new([(from, 0.0), (to, count)], BAR.mix(0.8).filled())),
    )?;
    root.present()
}
