//! Compares label images of one image from two machines.

use shared::LabelImage;

/// The least IoU of any nucleus of `expected` with the one of `found` that overlaps it most.
pub fn least_iou(expected: &LabelImage, found: &LabelImage) -> f64 {
    assert_eq!((expected.width(), expected.height()), (found.width(), found.height()));
    let (areas, others) = (expected.areas(), found.areas());
    let mut overlaps = std::collections::BTreeMap::new();
    for pair in expected.labels_hw().iter().zip(found.labels_hw()) {
        *overlaps.entry(pair).or_insert(0u32) += 1;
    }
    let best = |label: u32| {
        let ious = overlaps.iter().filter(|((a, b), _)| **a == label && **b != 0).map(|((_, b), &both)| {
            f64::from(both) / f64::from(areas[label as usize] + others[**b as usize] - both)
        });
        ious.fold(0.0, f64::max)
    };
    (1..=expected.max_label()).map(best).fold(1.0, f64::min)
}

#[test]
fn the_worst_nucleus_counts() {
    let image = |labels: &[u32]| LabelImage::new(4, 2, labels.to_vec()).unwrap();
    let expected = image(&[1, 1, 0, 2, 1, 1, 0, 2]);
    let cases: [(&[u32], f64); 4] = [
        (&[2, 2, 0, 1, 2, 2, 0, 1], 1.0),
        (&[1, 1, 0, 2, 1, 1, 0, 0], 0.5),
        (&[1, 1, 0, 0, 1, 1, 0, 0], 0.0),
        (&[1, 1, 1, 2, 1, 1, 0, 2], 0.8),
    ];
    for (found, least) in cases {
        assert!((least_iou(&expected, &image(found)) - least).abs() < 1e-12, "{found:?}");
    }
}
