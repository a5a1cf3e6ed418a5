use shared::measure_objects;

use super::*;

fn microscope(seed: u64, nuclei: u32) -> Simulated {
    Simulated::new(320, 240, seed, nuclei, FramePacer::new(10.0).unwrap()).unwrap()
}

fn next(microscope: &mut Simulated) -> Frame {
    match microscope.grab(GrabStrategy::OneByOne).unwrap() {
        Grab::Frame(frame) => *frame,
        Grab::Finished => panic!("a microscope does not finish"),
    }
}

#[test]
fn the_same_seed_gives_the_same_frames_and_another_does_not() {
    let (mut first, mut second, mut other) = (microscope(5, 20), microscope(5, 20), microscope(6, 20));
    for _ in 0..3 {
        let (a, b, c) = (next(&mut first), next(&mut second), next(&mut other));
        assert_eq!((&a.image, &a.truth), (&b.image, &b.truth));
        assert_ne!(a.image, c.image);
    }
}

#[test]
fn frames_passed_over_change_nothing_after_them() {
    let (mut all, mut some) = (microscope(5, 20), microscope(5, 20));
    for _ in 0..4 {
        next(&mut all);
    }
    next(&mut some);
    for _ in 0..3 {
        some.specimen.step();
    }
    assert_eq!(next(&mut some).image, next(&mut all).image);
}

#[test]
fn a_microscope_over_nothing_sees_the_medium() {
    let frame = next(&mut microscope(1, 0));
    assert_eq!(frame.truth.unwrap().count(), 0);
    assert!(frame.image.samples_hwc().iter().all(|&sample| sample < 60));
}

#[test]
fn truth_is_what_the_picture_shows() {
    for seed in 0..4 {
        let mut microscope = microscope(seed, 25);
        for _ in 0..40 {
            microscope.specimen.step();
        }
        let frame = next(&mut microscope);
        let truth = frame.truth.unwrap();
        let count = truth.count();
        assert_eq!(truth.max_label(), count, "labels are consecutive");
        assert!((13..=37).contains(&count), "{count} of about 25");
        let background: Vec<u8> = pixels(&frame.image, &truth, 0);
        let dark = mean(&background);
        for object in measure_objects(&truth, &frame.image).unwrap() {
            assert!(object.mean_intensity > dark + 15.0, "seed {seed}: {object:?} on {dark}");
            assert!(object.area_px >= 24, "{object:?}");
            let size = if object.touches_border { 2.0..45.0 } else { 10.0..36.0 };
            assert!(size.contains(&object.equivalent_diameter_px), "seed {seed}: {object:?}");
        }
        let hidden = background.iter().filter(|&&sample| f32::from(sample) > dark + 40.0).count();
        assert!(hidden * 200 < background.len(), "{hidden} bright pixels belong to no nucleus");
    }
}

fn pixels(image: &Image, truth: &LabelImage, label: u32) -> Vec<u8> {
    let both = image.samples_hwc().iter().zip(truth.labels_hw());
    both.filter(|&(_, &found)| found == label).map(|(&sample, _)| sample).collect()
}

fn mean(samples: &[u8]) -> f32 {
    samples.iter().map(|&sample| f32::from(sample)).sum::<f32>() / samples.len() as f32
}

#[test]
fn about_as_many_nuclei_are_in_view_as_asked_for() {
    let counts = (0..12).map(|seed| {
        let microscope = Simulated::new(640, 480, seed, 60, FramePacer::new(10.0).unwrap()).unwrap();
        microscope.scene().unwrap().1.count()
    });
    let mean = counts.sum::<u32>() as f32 / 12.0;
    assert!((54.0..66.0).contains(&mean), "{mean} of 60");
}

#[test]
fn every_nucleus_is_one_piece() {
    let truth = next(&mut microscope(2, 40)).truth.unwrap();
    for label in 1..=truth.max_label() {
        let own: Vec<bool> = truth.labels_hw().iter().map(|&found| found == label).collect();
        let pieces = shared::components(&own, truth.width() as usize);
        let mut areas = vec![0u32; own.len().min(64)];
        pieces.0.iter().for_each(|&piece| areas[piece as usize] += 1);
        let (whole, largest) =
            (areas[1..].iter().sum::<u32>(), areas[1..].iter().copied().max().unwrap_or(0));
        assert!(largest * 100 >= whole * 97, "nucleus {label}: {largest} of {whole} pixels hang together");
    }
}

#[test]
fn consecutive_frames_are_related_and_later_ones_differ() {
    let mut microscope = microscope(1, 20);
    let frames: Vec<Frame> = (0..30).map(|_| next(&mut microscope)).collect();
    let moved = |a: &Frame, b: &Frame| {
        let (a, b) = (a.truth.as_ref().unwrap(), b.truth.as_ref().unwrap());
        let changed =
            a.labels_hw().iter().zip(b.labels_hw()).filter(|&(a, b)| (*a == 0) != (*b == 0)).count();
        changed as f32 / a.labels_hw().iter().filter(|&&label| label != 0).count() as f32
    };
    assert!(moved(&frames[0], &frames[1]) < 0.1, "{}", moved(&frames[0], &frames[1]));
    assert!(moved(&frames[0], &frames[29]) > moved(&frames[0], &frames[1]));
}

#[test]
fn cells_divide_come_and_go_and_their_number_holds() {
    let mut microscope = microscope(4, 40);
    let start = microscope.specimen.nuclei().len();
    let mut most = start;
    for _ in 0..4000 {
        microscope.specimen.step();
        most = most.max(microscope.specimen.nuclei().len());
    }
    let end = microscope.specimen.nuclei().len();
    assert!(most > start, "none has divided");
    assert!(end.abs_diff(start) <= start / 3, "{start} became {end}");
}
