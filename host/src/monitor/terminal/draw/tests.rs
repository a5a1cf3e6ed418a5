use std::sync::Arc;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use shared::wire::{
    CameraState, Fragment, FrameReport, Identity, ModelDigest, Name, QcFlags, Settings, Status, Stream,
};
use shared::{DutyCycle, LabelImage, PixelSize, encode_labels};

use super::super::keys::{KeyAction, action_for, tab_for};
use super::*;
use crate::monitor::view::{ViewCommand, ViewPublisher, ViewerChannel};
use crate::records::frame_record::FrameRecord;
use crate::records::gates::{Border, Gates};
use crate::records::provenance::Provenance;
use crate::records::test_report::test_report;
use crate::station::client::LinkStats;

const STATUS: Status = Status {
    uptime_ms: 600_000,
    camera: CameraState::Running,
    camera_name: Name::new(),
    model: ModelDigest([0xAB; 32]),
    frames: 900,
    frames_skipped: 31,
    frames_unsent: 4,
    damaged_packets: 2,
    threads: 4,
};
const SETTINGS: Settings = Settings {
    illumination: DutyCycle::FULL,
    pixel_size: None,
    acquisition: shared::wire::Acquisition::Continuous,
    masks: Stream::On,
    preview: Stream::Off,
};

fn record(frame: u32, count: u32, qc_flags: QcFlags) -> FrameRecord {
    let report = FrameReport {
        frame,
        model: STATUS.model,
        width: 40,
        height: 10,
        count,
        true_count: Some(count + 1),
        median_diameter_px: 21.5,
        confluence: 0.125,
        focus: 0.53,
        saturated: 0.25,
        qc_flags,
        ..test_report()
    };
    FrameRecord::new(&report, &Provenance::of_nothing(PixelSize::try_from(0.5).ok()))
}

/// Squares of 4, 9 and 16 pixels.
fn squares() -> LabelImage {
    let label = |at: usize| {
        let (x, y) = (at % 40, at / 40);
        (1..=3_u32).find(|&label| {
            let (from, side) = (10 * label as usize, label as usize + 1);
            (from..from + side).contains(&x) && (2..2 + side).contains(&y)
        })
    };
    LabelImage::new(40, 10, (0..400).map(|at| label(at).unwrap_or(0)).collect()).unwrap()
}

/// A publisher, and what a terminal shows of its messages.
struct Harness {
    publisher: ViewPublisher,
    channel: ViewerChannel,
}

impl Harness {
    fn new() -> Self {
        let (publisher, channel) = ViewPublisher::with_gates(Gates::default(), None);
        Self { publisher, channel }
    }

    fn station(&self) {
        let text = |text: &str| text.try_into().unwrap();
        let identity = Identity { protocol: 3, version: text("0.1.0"), name: text("bench 3") };
        let link = LinkStats { damaged: 1, ..LinkStats::default() };
        self.publisher.publish_station(("/dev/ttyUSB0", 921_600), &identity, &STATUS, &SETTINGS, link);
        self.publisher.set_link_state(LinkState::Up, "");
    }

    fn screen(&self) -> ScreenState {
        let (latest, ..) = Arc::clone(&self.channel.feed).follow();
        let mut screen = ScreenState::default();
        latest.iter().for_each(|message| screen.apply(message));
        screen
    }
}

fn rows(screen: &ScreenState, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, &[screen], 0)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    (0..height).map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect()).collect()
}

/// The number drawn large.
fn large(rows: &[String]) -> Option<u64> {
    let top = rows.iter().position(|row| row.contains('█'))?;
    let digits: Vec<String> = rows[top..top + HEIGHT]
        .iter()
        .map(|row| {
            let within = row.chars().skip(2).take(40);
            within.map(|c| if c == '█' { c } else { ' ' }).collect()
        })
        .collect();
    digits::tests::read(&digits)
}

#[track_caller]
fn assert_shows(rows: &[String], words: &[&str]) {
    let screen = rows.join("\n");
    for word in words {
        assert!(screen.contains(word), "{word:?} in\n{screen}");
    }
}

#[test]
fn the_numbers_on_the_screen_are_those_of_the_record() {
    let mut harness = Harness::new();
    harness.station();
    for (frame, count) in [(7, 3), (8, 250), (9, 1046)] {
        harness.publisher.publish_frame(record(frame, count, QcFlags::NONE), "rising", 4.25);
        let rows = rows(&harness.screen(), 110, 34);
        assert_eq!(large(&rows), Some(count.into()));
        assert_shows(
            &rows,
            &[&format!("{count} nuclei in frame {frame}"), &format!("{} in the scene", count + 1)],
        );
    }
    assert_shows(
        &rows(&harness.screen(), 200, 34),
        &[
            "bench 3  connected",
            "can be trusted",
            "rising; at most 1046",
            "sharp (0.53)",
            "within range (25.0 % saturated)",
            "10.8 µm",
            "12.5 %",
            "4.2 frames/s",
            "running",
            "abababababababab",
            "/dev/ttyUSB0, 921600 baud, 3 damaged",
            "31 frames at the camera, 4 images on the line",
            "10 min",
            "100 %",
            "S snapshot",
        ],
    );
}

#[test]
fn a_doubted_count_shows_its_reason_and_a_lost_station_its_last_count() {
    let mut harness = Harness::new();
    harness.station();
    harness.publisher.publish_frame(record(1, 12, QcFlags::OUT_OF_FOCUS), "", 0.0);
    let shown = ["do not trust this count", "focus until the edges are sharp"];
    assert_shows(&rows(&harness.screen(), 200, 30), &shown);
    harness.publisher.set_link_state(LinkState::Lost, "the station does not answer");
    let shown = ["station lost: the station does not answer", "last known count: station disconnected"];
    assert_shows(&rows(&harness.screen(), 200, 30), &shown);
}

#[test]
fn gates_exclude_nuclei_and_are_shown() {
    let mut harness = Harness::new();
    harness.station();
    let masks = encode_labels(&squares());
    let gates = Gates { min_area_px: 5, max_area_px: Some(12), border: Border::Count };
    harness.publisher.set_gates(gates).unwrap();
    harness.publisher.publish_frame(record(5, 3, QcFlags::NONE), "", 0.0);
    harness.publisher.add_labels(Fragment { frame: 5, offset: 0, total: masks.len() as u32 }, &masks);
    let screen = harness.screen();
    assert_eq!(
        screen.displayed_count(),
        Some(super::super::screen_state::DisplayedCount { count: 1, frame: 5, found: Some(3) })
    );
    let shown = ["1 of 3 nuclei within the gates, in frame 5", "gates: 5 px² to 12 px²"];
    let rows = rows(&screen, 110, 34);
    assert_shows(&rows, &shown);
    assert_eq!(large(&rows), Some(1));
}

#[test]
fn any_size_can_be_drawn() {
    let mut harness = Harness::new();
    let empty = harness.screen();
    harness.station();
    harness.publisher.publish_frame(record(1, 12, QcFlags::TOO_DENSE), "steady", 1.0);
    let full = harness.screen();
    for (width, height) in [(1, 1), (20, 5), (40, 60), (79, 23), (80, 24), (250, 90)] {
        rows(&empty, width, height);
        rows(&full, width, height);
    }
    assert_shows(&rows(&full, 50, 40), &["12 nuclei in frame 1", "steady"]);
}

#[test]
fn keys_send_the_commands_of_the_buttons() {
    let mut harness = Harness::new();
    let none = KeyModifiers::NONE;
    let mut screen = harness.screen();
    let key = |c| KeyEvent::new(KeyCode::Char(c), none);
    assert_eq!(action_for(key('+'), &mut screen), KeyAction::Nothing, "the light is unknown");
    harness.station();
    let mut screen = harness.screen();
    let cases = [
        (key('s'), KeyAction::Send(ViewCommand::Snapshot)),
        (key('R'), KeyAction::Send(ViewCommand::Record { on: true })),
        (key('-'), KeyAction::Send(ViewCommand::Illumination { percent: 95.0 })),
        (key('-'), KeyAction::Send(ViewCommand::Illumination { percent: 90.0 })),
        (key('+'), KeyAction::Send(ViewCommand::Illumination { percent: 95.0 })),
        (key('g'), KeyAction::Send(ViewCommand::Gates { gates: Gates::default() })),
        (key('y'), KeyAction::Nothing),
        (key('v'), KeyAction::Nothing),
        (key('n'), KeyAction::Nothing),
        (key('y'), KeyAction::Nothing),
        (key('v'), KeyAction::Nothing),
        (key('y'), KeyAction::Send(ViewCommand::Revert)),
        (key('q'), KeyAction::Quit),
        (KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL), KeyAction::Quit),
        (KeyEvent::new(KeyCode::Esc, none), KeyAction::Nothing),
    ];
    for (key, expected) in cases {
        assert_eq!(action_for(key, &mut screen), expected, "{key:?}");
    }
    harness.publisher.update_activity(|activity| activity.recording = Some("counts.jsonl".into()));
    let mut screen = harness.screen();
    assert_eq!(action_for(key('r'), &mut screen), KeyAction::Send(ViewCommand::Record { on: false }));
    assert_shows(&rows(&screen, 110, 30), &["recording to counts.jsonl"]);
}

#[test]
fn one_of_several_stations_is_shown_with_tabs_for_all() {
    let mut harness = Harness::new();
    harness.station();
    harness.publisher.publish_frame(record(1, 12, QcFlags::TOO_DENSE), "", 0.0);
    let doubted = harness.screen();
    harness.publisher.set_link_state(LinkState::Lost, "the station does not answer");
    let lost = harness.screen();
    let mut absent = ScreenState::of("/dev/ttyUSB7".into());
    absent.link = Some((LinkState::Absent, "port /dev/ttyUSB7 does not exist".into()));
    let screens = [&doubted, &lost, &absent];
    for (selected, words) in [
        (0, "12 nuclei in frame 1"),
        (1, "last known count: station disconnected"),
        (2, "absent: port /dev/ttyUSB7 does not exist"),
    ] {
        let mut terminal = Terminal::new(TestBackend::new(120, 30)).unwrap();
        terminal.draw(|frame| draw(frame, &screens, selected)).unwrap();
        let rows: Vec<String> = {
            let buffer = terminal.backend().buffer();
            (0..30).map(|y| (0..120).map(|x| buffer[(x, y)].symbol()).collect()).collect()
        };
        assert!(
            rows[0].starts_with(" 1 bench 3 12 do not trust   2 bench 3 12 lost   3 /dev/ttyUSB7 absent "),
            "{}",
            rows[0]
        );
        assert_shows(&rows, &[words]);
    }
}

#[test]
fn keys_select_a_station() {
    let cases = [
        (KeyCode::Tab, 0, 3, Some(1)),
        (KeyCode::Tab, 2, 3, Some(0)),
        (KeyCode::BackTab, 0, 3, Some(2)),
        (KeyCode::Char('2'), 0, 3, Some(1)),
        (KeyCode::Char('4'), 0, 3, None),
        (KeyCode::Char('s'), 0, 3, None),
        (KeyCode::Tab, 0, 0, None),
    ];
    for (code, selected, stations, expected) in cases {
        let key = KeyEvent::new(code, KeyModifiers::NONE);
        assert_eq!(tab_for(key, selected, stations), expected, "{key:?} at {selected} of {stations}");
    }
}
