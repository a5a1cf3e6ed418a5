use shared::PixelSize;
use shared::wire::QcFlags;

use super::*;
use crate::records::provenance::Provenance;
use crate::records::test_report::test_report;

fn report(count: u32, true_count: Option<u32>, qc_flags: QcFlags) -> FrameReport {
    FrameReport {
        frame: 7,
        time_unix_ms: 86_400_000 * 3 + 3_723_000,
        count,
        true_count,
        median_diameter_px: 20.0,
        focus: 0.534,
        qc_flags,
        skipped: 2,
        ..test_report()
    }
}

#[test]
fn a_line_of_text_holds_what_a_person_needs() {
    let size = PixelSize::try_from(0.5).unwrap();
    let cases = [
        (
            None,
            report(12, None, QcFlags::NONE),
            "01:02:03Z     12 nuclei           20.0 px  focus 0.53  0.0 fps  dropped 5",
        ),
        (
            Some(size),
            report(9, Some(10), QcFlags::OUT_OF_FOCUS.union(QcFlags::TOO_DENSE)),
            "01:02:03Z      9 nuclei  (true 10)           10.0 µm  focus 0.53  0.0 fps  dropped 5  \
             DO NOT TRUST: out of focus, too dense",
        ),
    ];
    for (pixel_size, report, line) in cases {
        let mut stats = CountStats::default();
        stats.record_frame(&report);
        let record = FrameRecord::new(&report, &Provenance::of_nothing(pixel_size));
        assert_eq!(stats.text_line(&record, 3), line);
    }
}

#[test]
fn counts_are_compared_with_the_truth() {
    let mut stats = CountStats::default();
    for (count, truth) in [(9, Some(10)), (22, Some(20)), (100, None)] {
        stats.record_frame(&report(count, truth, QcFlags::NONE));
    }
    let summary = stats.summary();
    let truth = summary.truth.unwrap();
    assert_eq!((summary.frames, truth.frames, summary.skipped), (3, 2, 6));
    assert!((truth.mean_deviation_percent - 100.0 / 30.0).abs() < 1e-9, "{truth:?}");
    assert!((truth.frame_deviation_percent - 10.0).abs() < 1e-9, "{truth:?}");
    assert_eq!(CountStats::default().summary().truth, None);
}

#[test]
fn frames_that_arrive_at_once_have_no_rate() {
    let start = Instant::now();
    let mut stats = CountStats::default();
    for frame in 0..10 {
        stats.record_frame_at(&report(1, None, QcFlags::NONE), start + Duration::from_micros(24 * frame));
    }
    assert_eq!(stats.frames_per_second(), 0.0);
    assert_eq!(stats.summary().to_line(), "10 frames");
    stats.record_frame_at(&report(1, None, QcFlags::NONE), start + Duration::from_secs(2));
    assert_eq!(stats.frames_per_second(), 5.0);
    assert_eq!(stats.summary().to_line(), "11 frames, 5.0 per second");
}
