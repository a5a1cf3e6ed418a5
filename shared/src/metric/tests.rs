use super::*;
use proptest::prelude::*;

fn row(labels: &[u32]) -> LabelImage {
    LabelImage::new(labels.len() as u32, 1, labels.to_vec()).unwrap()
}

fn counts(true_positives: u32, false_positives: u32, false_negatives: u32) -> MatchCounts {
    MatchCounts { true_positives, false_positives, false_negatives }
}

fn score(matches: [MatchCounts; THRESHOLD_COUNT]) -> ImageScore {
    ImageScore {
        matches,
        true_count: 0,
        predicted_count: 0,
        intersection: 0,
        union: 0,
        true_pixels: 0,
        predicted_pixels: 0,
    }
}

#[test]
fn average_precision_of_known_counts() {
    struct Case {
        counts: MatchCounts,
        rounded: &'static str,
    }
    for case in [
        Case { counts: counts(5, 2, 2), rounded: "0.556" },
        Case { counts: counts(4, 3, 3), rounded: "0.400" },
        Case { counts: counts(2, 5, 5), rounded: "0.167" },
        Case { counts: counts(1, 6, 6), rounded: "0.077" },
        Case { counts: counts(0, 7, 7), rounded: "0.000" },
        Case { counts: counts(0, 0, 0), rounded: "1.000" },
        Case { counts: counts(0, 3, 0), rounded: "0.000" },
        Case { counts: counts(0, 0, 3), rounded: "0.000" },
    ] {
        assert_eq!(format!("{:.3}", case.counts.average_precision()), case.rounded, "{:?}", case.counts);
    }
}

#[test]
fn ten_known_values_average_to_0_224() {
    let hits = [5, 4, 4, 4, 2, 2, 1, 1, 0, 0];
    let known = score(hits.map(|hit| counts(hit, 7 - hit, 7 - hit)));
    let rounded: Vec<String> = (0..THRESHOLD_COUNT).map(|i| format!("{:.3}", known.ap(i))).collect();
    assert_eq!(
        rounded,
        ["0.556", "0.400", "0.400", "0.400", "0.167", "0.167", "0.077", "0.077", "0.000", "0.000"]
    );
    assert_eq!(format!("{:.3}", known.mean_ap()), "0.224");
}

#[test]
fn intersection_564_over_union_849_is_0_664() {
    // 564 shared, 150 true only, 135 predicted only.
    let label = |from: usize, to: usize| -> Vec<u32> {
        (0..1000).map(|x| u32::from((from..to).contains(&x))).collect()
    };
    let score = evaluate(&row(&label(0, 714)), &row(&label(150, 849))).unwrap();
    assert_eq!((score.intersection, score.union), (564, 849));
    assert_eq!(format!("{:.3}", score.iou()), "0.664");
    assert_eq!(score.dice(), 2.0 * 564.0 / (714.0 + 699.0));
    assert_eq!(score.matches.map(|m| m.true_positives), [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(score.mean_ap(), 0.4);
}

#[test]
fn empty_truth_or_prediction() {
    struct Case {
        truth: [u32; 4],
        predicted: [u32; 4],
        mean_ap: f64,
        count_error: f64,
    }
    for case in [
        Case { truth: [0; 4], predicted: [0; 4], mean_ap: 1.0, count_error: 0.0 },
        Case { truth: [0; 4], predicted: [0, 1, 2, 0], mean_ap: 0.0, count_error: 2.0 },
        Case { truth: [0, 1, 2, 0], predicted: [0; 4], mean_ap: 0.0, count_error: 1.0 },
        Case { truth: [0, 1, 2, 0], predicted: [0, 9, 4, 0], mean_ap: 1.0, count_error: 0.0 },
    ] {
        let score = evaluate(&row(&case.truth), &row(&case.predicted)).unwrap();
        assert_eq!(score.mean_ap(), case.mean_ap);
        assert_eq!(score.iou(), case.mean_ap);
        assert_eq!(score.dice(), case.mean_ap);
        assert_eq!(score.count_error(), case.count_error);
    }
}

#[test]
fn an_iou_at_the_threshold_is_no_match() {
    for (i, percent) in THRESHOLDS_PERCENT.into_iter().enumerate() {
        let truth = row(&[1; 100]);
        let predicted: Vec<u32> = (0..100).map(|x| u32::from(x < percent)).collect();
        let score = evaluate(&truth, &row(&predicted)).unwrap();
        let hits = score.matches.map(|m| m.true_positives as usize);
        assert_eq!(hits.iter().sum::<usize>(), i, "{percent} %");
    }
}

#[test]
fn labels_may_be_sparse_and_high() {
    let score = evaluate(&row(&[u32::MAX, u32::MAX, 0, 7]), &row(&[3, 3, 0, u32::MAX])).unwrap();
    assert_eq!((score.true_count, score.predicted_count, score.mean_ap()), (2, 2, 1.0));
}

#[test]
fn sizes_must_agree() {
    assert_eq!(
        evaluate(&row(&[0, 1, 1]), &row(&[0, 1])),
        Err(MetricError::Size { true_width: 3, true_height: 1, predicted_width: 2, predicted_height: 1 })
    );
}

#[test]
fn a_set_is_the_mean_of_its_images() {
    assert_eq!(SetScore::from_scores([]), None);
    let whole = evaluate(&row(&[0, 1, 1, 2]), &row(&[0, 1, 1, 2])).unwrap();
    let missed = evaluate(&row(&[0, 1, 1, 2]), &row(&[0, 0, 0, 0])).unwrap();
    let set = SetScore::from_scores([&whole, &missed]).unwrap();
    assert_eq!(
        set,
        SetScore { images: 2, mean_ap: 0.5, ap: [0.5; 10], mean_iou: 0.5, dice: 0.5, count_error: 0.5 }
    );
    let json = serde_json::to_value(&set).unwrap();
    assert_eq!(json["ap"].as_array().map(Vec::len), Some(10));
    assert_eq!(json["mean_ap"], 0.5);
}

#[test]
fn merging_in_between_changes_nothing() {
    // Alternating pixels make as many runs as pixels, past the first compaction.
    let side = 600;
    let truth: Vec<u32> = (0..side * side).map(|i| i % 2 * (1 + i / side / 100)).collect();
    let predicted: Vec<u32> = (0..side * side).map(|i| i % 2 * (1 + i / side / 150)).collect();
    let truth = LabelImage::new(side, side, truth).unwrap();
    let predicted = LabelImage::new(side, side, predicted).unwrap();
    assert_eq!(evaluate(&truth, &predicted).unwrap(), slow_evaluate(&truth, &predicted));
}

/// Every pair of masks, pixel by pixel.
fn slow_evaluate(truth: &LabelImage, predicted: &LabelImage) -> ImageScore {
    let labels = |image: &LabelImage| {
        let mut labels: Vec<u32> = image.labels_hw().iter().copied().filter(|&label| label != 0).collect();
        labels.sort_unstable();
        labels.dedup();
        labels
    };
    let (true_labels, predicted_labels) = (labels(truth), labels(predicted));
    let pairs = || truth.labels_hw().iter().zip(predicted.labels_hw());
    let count = |test: &dyn Fn(u32, u32) -> bool| pairs().filter(|&(&t, &p)| test(t, p)).count() as u64;
    let matches = THRESHOLDS_PERCENT.map(|percent| {
        let mut hits = 0;
        for &t in &true_labels {
            for &p in &predicted_labels {
                let intersection = count(&|a, b| a == t && b == p);
                let union = count(&|a, b| a == t || b == p);
                hits += u32::from(intersection as f64 / union as f64 > f64::from(percent) / 100.0);
            }
        }
        counts(hits, predicted_labels.len() as u32 - hits, true_labels.len() as u32 - hits)
    });
    ImageScore {
        matches,
        true_count: true_labels.len() as u32,
        predicted_count: predicted_labels.len() as u32,
        intersection: count(&|t, p| t != 0 && p != 0),
        union: count(&|t, p| t != 0 || p != 0),
        true_pixels: count(&|t, _| t != 0),
        predicted_pixels: count(&|_, p| p != 0),
    }
}

/// Two label images that overlap in places: the second is the first, damaged.
fn pair_of_labels() -> impl Strategy<Value = (LabelImage, LabelImage)> {
    (1u32..14, 1u32..10).prop_flat_map(|(width, height)| {
        let pixels = (width * height) as usize;
        (
            prop::collection::vec(0u32..5, pixels.div_ceil(3)),
            prop::collection::vec(prop::option::weighted(0.2, 0u32..6), pixels),
        )
            .prop_map(move |(thirds, damage)| {
                let truth: Vec<u32> = (0..pixels).map(|i| thirds[i / 3]).collect();
                let predicted = truth.iter().zip(&damage).map(|(&t, d)| d.unwrap_or(t)).collect();
                (
                    LabelImage::new(width, height, truth).unwrap(),
                    LabelImage::new(width, height, predicted).unwrap(),
                )
            })
    })
}

proptest! {
    #[test]
    fn equals_the_slow_reference((truth, predicted) in pair_of_labels()) {
        prop_assert_eq!(evaluate(&truth, &predicted).unwrap(), slow_evaluate(&truth, &predicted));
    }

    #[test]
    fn matched_labels_are_the_hits_and_unique((truth, predicted) in pair_of_labels()) {
        let score = evaluate(&truth, &predicted).unwrap();
        for (percent, counts) in THRESHOLDS_PERCENT.into_iter().zip(score.matches) {
            let matched = matched_labels(&truth, &predicted, percent).unwrap();
            prop_assert_eq!(matched.len() as u32, counts.true_positives);
            let (mut of_truth, mut of_predicted): (Vec<u32>, Vec<u32>) = matched.into_iter().unzip();
            for labels in [&mut of_truth, &mut of_predicted] {
                let all = labels.len();
                labels.sort_unstable();
                labels.dedup();
                prop_assert_eq!(labels.len(), all);
            }
        }
    }

    #[test]
    fn numbering_does_not_matter(
        (truth, predicted) in pair_of_labels(),
        names in Just((1u32..200).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let renamed = |image: &LabelImage, names: &[u32]| {
            let labels = image.labels_hw().iter().map(|&l| if l == 0 { 0 } else { names[l as usize] });
            LabelImage::new(image.width(), image.height(), labels.collect()).unwrap()
        };
        prop_assert_eq!(
            evaluate(&truth, &predicted).unwrap(),
            evaluate(&renamed(&truth, &names), &renamed(&predicted, &names[50..])).unwrap()
        );
    }

    #[test]
    fn an_image_matches_itself((truth, _) in pair_of_labels()) {
        prop_assert_eq!(evaluate(&truth, &truth).unwrap().mean_ap(), 1.0);
    }
}
