use shared::DutyCycle;
use shared::wire::{ModelDigest, Name, QcFlags, StageTimes};

use super::*;

fn report(count: u32, true_count: Option<u32>, qc_flags: QcFlags) -> FrameReport {
    FrameReport {
        frame: 7,
        time_unix_ms: 86_400_000 * 3 + 3_723_000,
        source: Name::new(),
        model: ModelDigest([0xAB; 32]),
        width: 640,
        height: 480,
        count,
        true_count,
        median_diameter_px: 20.0,
        confluence: 0.1,
        scale: 1.0,
        exposure: None,
        illumination: DutyCycle::FULL,
        focus: 0.534,
        saturated: 0.0,
        qc_flags,
        times: StageTimes::default(),
        skipped: 2,
    }
}

#[test]
fn a_line_holds_what_a_person_needs() {
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
        assert_eq!(Watch::new(pixel_size).see(&report, 3), line);
    }
}

#[test]
fn counts_are_held_against_the_truth() {
    let mut watch = Watch::new(None);
    for (count, truth) in [(9, Some(10)), (22, Some(20)), (100, None)] {
        watch.see(&report(count, truth, QcFlags::NONE), 0);
    }
    let summary = watch.summary();
    let truth = summary.truth.unwrap();
    assert_eq!((summary.frames, truth.frames, summary.skipped), (3, 2, 6));
    assert!((truth.mean_deviation_percent - 100.0 / 30.0).abs() < 1e-9, "{truth:?}");
    assert!((truth.frame_deviation_percent - 10.0).abs() < 1e-9, "{truth:?}");
    assert_eq!(Watch::new(None).summary().truth, None);
}
