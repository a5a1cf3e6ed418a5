use std::num::NonZeroUsize;

use shared::{Channels, decode_image, decode_labels};

use super::*;
use crate::camera::{CameraSource, Grab, GrabStrategy};
use crate::update::FACTORY_MODEL;

fn model() -> Model {
    Model::load(FACTORY_MODEL, NonZeroUsize::MIN).unwrap()
}

fn frames(count: usize) -> Vec<Frame> {
    let source =
        CameraSource::Simulated { width: 320, height: 256, seed: 3, nuclei: 20, frames_per_second: 10.0 };
    let mut camera = source.open().unwrap();
    let next = |_| match camera.grab(GrabStrategy::OneByOne).unwrap() {
        Grab::Frame(frame) => *frame,
        Grab::Finished => panic!("a microscope does not finish"),
    };
    (0..count).map(next).collect()
}

#[test]
fn every_field_of_a_report_is_real() {
    let frame = Frame { skipped: 3, convert: shared::Microseconds(17), ..frames(1).remove(0) };
    let truth = frame.truth.clone().unwrap();
    let duty = DutyCycle::try_from(500).unwrap();
    let mut pipeline = Pipeline::new(model());
    let result = pipeline.process(42, frame, duty, Acquisition::Continuous).unwrap();
    let report = &result.report;
    let labels = decode_labels(&result.masks, 320 * 256).unwrap();
    assert_eq!((report.frame, report.model), (42, ModelDigest::of(FACTORY_MODEL)));
    assert_eq!((report.width, report.height, report.skipped), (320, 256, 3));
    assert_eq!(report.time_unix_ms, result.frame.time_unix_ms);
    assert_eq!((report.count, report.true_count), (labels.count(), Some(truth.count())));
    assert!(
        report.count.abs_diff(truth.count()) <= truth.count() / 4,
        "{} of {}",
        report.count,
        truth.count()
    );
    assert!((18.0..34.0).contains(&report.median_diameter_px), "{}", report.median_diameter_px);
    assert!(report.confluence > 0.03 && report.confluence < 0.4, "{}", report.confluence);
    assert!(report.focus > shared::MIN_FOCUS && report.focus < 1.0, "{}", report.focus);
    assert_eq!((report.illumination, report.exposure), (duty, None));
    assert_eq!(report.qc_flags, shared::wire::QcFlags::NONE);
    assert_eq!(report.times.convert.0, 17);
    let times = report.times;
    assert!(
        [times.preprocess, times.network, times.extraction, times.evidence].iter().all(|time| time.0 > 0)
    );
    assert_eq!((labels.width(), labels.height()), (320, 256));
}

#[test]
fn a_triggered_frame_is_segmented_as_a_picture_by_itself_whatever_came_before() {
    let frames = frames(3);
    let mut pipeline = Pipeline::new(model());
    let mut process = |frame: &Frame, acquisition| {
        pipeline.process(1, frame.clone(), DutyCycle::OFF, acquisition).unwrap().masks
    };
    let alone = |frame: &Frame| {
        encode_labels(
            &model().into_segmenter().segment(&frame.image, ScaleChoice::PerPicture).unwrap().labels,
        )
    };
    process(&frames[0], Acquisition::Continuous);
    process(&frames[1], Acquisition::Continuous);
    assert_eq!(process(&frames[2], Acquisition::Triggered), alone(&frames[2]));
    assert_eq!(process(&frames[0], Acquisition::Triggered), alone(&frames[0]));
}

#[test]
fn threads_change_no_result() {
    let frames = frames(2);
    let [one, two] = [1, 2].map(|threads| {
        let model = Model::load(FACTORY_MODEL, NonZeroUsize::new(threads).unwrap()).unwrap();
        let mut pipeline = Pipeline::new(model);
        let mut process = |frame: &Frame| {
            pipeline.process(1, frame.clone(), DutyCycle::OFF, Acquisition::Continuous).unwrap().masks
        };
        frames.iter().map(&mut process).collect::<Vec<_>>()
    });
    assert_eq!(one, two);
}

#[test]
fn a_stream_keeps_the_scale_that_it_learned() {
    let mut pipeline = Pipeline::new(model());
    let scales: Vec<f32> = frames(4)
        .into_iter()
        .map(|frame| {
            pipeline.process(1, frame, DutyCycle::OFF, Acquisition::Continuous).unwrap().report.scale
        })
        .collect();
    assert!(scales[1..].iter().all(|&scale| scale == scales[1]), "{scales:?}");
    assert_eq!(pipeline.postprocess.learned_scale().map_or(1.0, shared::Scale::get), scales[1]);
}

#[test]
fn previews_are_small_jpegs_of_the_same_shape() {
    for (width, height, expected) in [
        (640, 480, (320, 240)),
        (1, 1, (1, 1)),
        (321, 10, (161, 5)),
        (100, 2000, (15, 286)),
        (30_000, 1, (320, 1)),
    ] {
        for channels in [Channels::Grey, Channels::Rgb] {
            let grey = vec![90; (width * height) as usize * channels.count()];
            let jpeg = preview_jpeg(&Image::new(width, height, channels, grey).unwrap());
            let decoded = decode_image(&jpeg).unwrap();
            assert_eq!((decoded.width(), decoded.height()), expected, "{width}x{height}");
            assert!(decoded.samples_hwc().iter().all(|sample| sample.abs_diff(90) < 4), "{width}x{height}");
        }
    }
}

#[test]
fn shrinking_takes_the_mean_of_each_block() {
    let image = Image::new(3, 2, Channels::Grey, vec![0, 10, 7, 20, 30, 9]).unwrap();
    assert_eq!(shrunk(&image, 2).unwrap().samples_hwc(), [15, 8]);
    assert_eq!(shrunk(&image, 1), None);
    let samples = vec![0, 100, 7, 10, 120, 8, 5, 255, 0, 20, 100, 9, 30, 120, 10, 6, 253, 3];
    let image = Image::new(3, 2, Channels::Rgb, samples).unwrap();
    assert_eq!(shrunk(&image, 2).unwrap().samples_hwc(), [15, 110, 9, 6, 254, 2]);
}

#[test]
fn means_by_multiplication_are_those_by_division() {
    for factor in [2, 3, 4, 5, 7, 64, 103] {
        let (width, height) = (2 * factor + 1, factor + 2);
        let noise = |at: usize| (at as u32).wrapping_mul(2_654_435_761) >> 24;
        for samples in [
            (0..3 * width * height).map(|at| noise(at) as u8).collect::<Vec<u8>>(),
            vec![255; 3 * width * height],
            (0..3 * width * height).map(|at| 254 + (noise(at) % 2) as u8).collect(),
        ] {
            let got = block_means(samples.as_chunks::<3>().0, width, factor);
            let mut expected = Vec::new();
            for top in (0..height).step_by(factor) {
                for left in (0..width).step_by(factor) {
                    let block = (top..height.min(top + factor))
                        .flat_map(|y| (left..width.min(left + factor)).map(move |x| y * width + x));
                    let count = block.clone().count();
                    for channel in 0..3 {
                        let sum: usize = block.clone().map(|at| usize::from(samples[3 * at + channel])).sum();
                        expected.push(((sum + count / 2) / count) as u8);
                    }
                }
            }
            assert_eq!(got, expected, "{factor}");
        }
    }
}
