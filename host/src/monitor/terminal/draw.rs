//! Draws the screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline, SparklineBar, Wrap};

use super::digits::{self, HEIGHT};
use super::keys::KEYS;
use super::screen_state::ScreenState;
use crate::station::link_state::LinkState;

const GOOD: Style = Style::new().fg(Color::Green).add_modifier(Modifier::BOLD);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const LOST: Style = Style::new().fg(Color::White).bg(Color::Red).add_modifier(Modifier::BOLD);
const SOFT: Style = Style::new().fg(Color::DarkGray);
const LARGE: Style = Style::new().add_modifier(Modifier::BOLD);

/// Narrower terminals show one column, the count first.
const TWO_COLUMNS: u16 = 76;
/// Rows of the column on the right, with its frames.
const PICTURE_ROWS: u16 = 8;

/// Draws the selected station, and a line of tabs if there are several.
pub fn draw(frame: &mut Frame<'_>, screens: &[&ScreenState], selected: usize) {
    let Some(screen) = screens.get(selected) else { return };
    let lines = if screens.len() > 1 { 1 } else { 0 };
    let [all, one] = Layout::vertical([Constraint::Length(lines), Constraint::Min(0)]).areas(frame.area());
    frame.render_widget(tabs(screens, selected), all);
    station(frame, one, screen);
}

/// A tab per station: its key, its count, and whether that can be trusted.
fn tabs(screens: &[&ScreenState], selected: usize) -> Line<'static> {
    let tab = |(at, screen): (usize, &&ScreenState)| {
        let count = screen.displayed_count().map_or_else(|| "–".to_owned(), |shown| shown.count.to_string());
        let is_trusted = screen.frame.as_ref().is_none_or(|frame| frame.record.trusted);
        let (text, style) = match &screen.link {
            Some((LinkState::Up, _)) if is_trusted => (count, Style::new()),
            Some((LinkState::Up, _)) => (format!("{count} do not trust"), BAD),
            Some((LinkState::Lost, _)) => (format!("{count} lost"), LOST),
            Some((LinkState::Absent, _)) => ("absent".to_owned(), LOST),
            None => ("connecting".to_owned(), SOFT),
        };
        let style = if at == selected { style.add_modifier(Modifier::REVERSED) } else { style };
        [Span::styled(format!(" {} {} {text} ", at + 1, screen.name()), style), Span::raw(" ")]
    };
    let mut spans: Vec<Span<'static>> = screens.iter().enumerate().flat_map(tab).collect();
    spans.push(Span::styled("(number or Tab: switch station)", SOFT));
    Line::from(spans)
}

fn station(frame: &mut Frame<'_>, area: Rect, screen: &ScreenState) {
    let [head, body, message, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(header(screen), head);
    let [left, right] = if body.width < TWO_COLUMNS {
        Layout::vertical([Constraint::Min(12), Constraint::Length(PICTURE_ROWS)]).areas(body)
    } else {
        Layout::horizontal([Constraint::Fill(5), Constraint::Fill(4)]).areas(body)
    };
    let [counting, sizes] = Layout::vertical([Constraint::Fill(5), Constraint::Fill(3)]).areas(left);
    let [picture, station] =
        Layout::vertical([Constraint::Length(PICTURE_ROWS), Constraint::Min(0)]).areas(right);
    count(frame, counting, screen);
    histogram(frame, sizes, screen);
    table(frame, picture, "Image", &picture_rows(screen));
    table(frame, station, "Station", &station_rows(screen));
    let style = if screen.activity.failed && screen.activity.flashing.is_none() { BAD } else { Style::new() };
    frame.render_widget(Line::styled(screen.message().replace('\n', " "), style), message);
    frame.render_widget(Line::styled(KEYS, SOFT), keys);
}

fn header(screen: &ScreenState) -> Line<'_> {
    let name = screen.name();
    let link = match &screen.link {
        Some((LinkState::Up, _)) => Span::styled(" connected ", GOOD),
        Some((LinkState::Lost, message)) => Span::styled(format!(" station lost: {message} "), LOST),
        Some((LinkState::Absent, message)) => Span::styled(format!(" station absent: {message} "), LOST),
        None => Span::styled(" connecting ", SOFT),
    };
    let recording =
        screen.activity.recording.as_ref().map(|file| Span::styled(format!(" recording to {file}"), BAD));
    let mut spans = vec![Span::styled("nuclei ", LARGE), Span::raw(format!("{name} ")), link];
    spans.extend(recording);
    Line::from(spans)
}

/// The count, large and in a sentence, whether it can be trusted, and the trend.
fn count(frame: &mut Frame<'_>, area: Rect, screen: &ScreenState) {
    let block = Block::bordered().title("Nuclei in view");
    let within = block.inner(area);
    frame.render_widget(block, area);
    let [number, words, trend] =
        Layout::vertical([Constraint::Length(HEIGHT as u16 + 1), Constraint::Length(4), Constraint::Min(0)])
            .areas(within);
    let Some((shown, result)) = screen.displayed_count().zip(screen.frame.as_ref()) else { return };
    let style = match (screen.is_up(), result.record.trusted) {
        (false, _) => SOFT,
        (true, true) => LARGE,
        (true, false) => BAD,
    };
    let rows = digits::rows(shown.count.into()).map(|row| Line::styled(format!(" {row}"), style));
    frame.render_widget(Paragraph::new(rows.to_vec()), number);

    let mut lines = vec![Line::raw(match shown.found {
        Some(found) => {
            format!("{} of {found} nuclei within the gates, in frame {}", shown.count, shown.frame)
        }
        None => format!("{} nuclei in frame {}", shown.count, shown.frame),
    })];
    lines.push(match screen.is_up() {
        true => Line::styled(result.text.trust.as_str(), if result.record.trusted { GOOD } else { BAD }),
        false => Line::styled("last known count: station disconnected", BAD),
    });
    let most = screen.counts.iter().map(|counted| counted.count).max().unwrap_or(0);
    let frames = screen.counts.len();
    let at_most = format!("at most {most} in the last {frames} frames");
    let trend_text: Vec<&str> =
        [result.trend, &at_most].into_iter().filter(|part| !part.is_empty()).collect();
    lines.push(Line::styled(trend_text.join("; "), SOFT));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), words);

    let newest = screen.counts.iter().skip(frames.saturating_sub(trend.width.into()));
    let bars = newest
        .map(|counted| SparklineBar::from(u64::from(counted.count)).style((!counted.trusted).then_some(BAD)));
    frame.render_widget(Sparkline::default().data(bars).max(u64::from(most.max(1))).style(GOOD), trend);
}

/// The areas of the newest frames' nuclei, over the page's axis; those outside the gates are pale.
fn histogram(frame: &mut Frame<'_>, area: Rect, screen: &ScreenState) {
    let block = Block::bordered().title(format!("Size of nuclei, last {} frames", screen.areas.len()));
    let within = block.inner(area);
    frame.render_widget(block, area);
    let [bars, axis, gates] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(1), Constraint::Length(1)]).areas(within);
    let mut areas: Vec<u32> = screen.areas.iter().flatten().copied().collect();
    areas.sort_unstable();
    let Some(last) = areas.len().checked_sub(1) else { return };
    let high = f64::from(areas[(0.995 * last as f64) as usize]) * 1.25;
    let range = high.max(100.0);
    let bins = usize::from(bars.width.max(1));
    let mut heights = vec![0_u64; bins];
    for &area in &areas {
        heights[((bins as f64 * f64::from(area) / range) as usize).min(bins - 1)] += 1;
    }
    let (least, most) = (screen.gates.min_area_px, screen.gates.max_area_px.unwrap_or(u32::MAX));
    let columns = heights.iter().enumerate().map(|(bin, &height)| {
        let middle = range * (bin as f64 + 0.5) / bins as f64;
        let outside = middle < f64::from(least) || middle > f64::from(most);
        SparklineBar::from(height).style(outside.then_some(SOFT))
    });
    frame.render_widget(Sparkline::default().data(columns).style(Style::new().fg(Color::Cyan)), bars);

    let size = screen.station.as_ref().and_then(|station| station.pixel_size_um).map(f64::from);
    let shown = |px: f64| match size {
        Some(um) => format!("{:.1} µm²", px * um * um),
        None => format!("{px:.0} px²"),
    };
    let end = shown(range);
    let gap = bins.saturating_sub(1 + end.chars().count());
    frame.render_widget(Line::styled(format!("0{}{end}", " ".repeat(gap)), SOFT), axis);
    let to = screen.gates.max_area_px.map_or("any".to_owned(), |most| shown(most.into()));
    let least = shown(least.into());
    let text = format!("gates: {least} to {to}; at the border: {}", screen.gates.border.describe());
    frame.render_widget(Line::styled(text, SOFT), gates);
}

fn picture_rows(screen: &ScreenState) -> Vec<(&'static str, &str)> {
    let Some(frame) = &screen.frame else { return Vec::new() };
    let text = &frame.text;
    vec![
        ("Focus", &text.focus),
        ("Brightness", &text.brightness),
        ("Diameter", &text.diameter),
        ("Area covered", &text.confluence),
        ("Frame", &text.frame),
        ("Speed", &text.speed),
    ]
}

fn station_rows(screen: &ScreenState) -> Vec<(&'static str, &str)> {
    let Some(station) = &screen.station else { return Vec::new() };
    let text = &station.text;
    vec![
        ("Camera", &text.camera),
        ("Model", station.model.get(..16).unwrap_or(&station.model)),
        ("Line", &text.line),
        ("Skipped", &text.dropped),
        ("Running for", &text.uptime),
        ("Light", &text.light),
    ]
}

fn table(frame: &mut Frame<'_>, area: Rect, title: &'static str, rows: &[(&'static str, &str)]) {
    let lines = rows
        .iter()
        .map(|&(what, value)| Line::from(vec![Span::styled(format!("{what:<13}"), SOFT), Span::raw(value)]));
    let table = Paragraph::new(lines.collect::<Vec<_>>()).wrap(Wrap { trim: false });
    frame.render_widget(table.block(Block::bordered().title(title)), area);
}

#[cfg(test)]
mod tests;
