use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

const DILUTIONS: [f64; 5] = [1.0, 2.0, 4.0, 8.0, 16.0];
const FIELDS: usize = 9;
/// Nuclei in a field of the undiluted sample.
const DENSE: f64 = 400.0;

/// A Poisson count: arrivals of exponential gaps.
fn poisson(random: &mut StdRng, mean: f64) -> u32 {
    let (mut count, mut time) = (0, 0.0);
    loop {
        time -= f64::ln(1.0 - random.random::<f64>());
        if time > mean {
            return count;
        }
        count += 1;
    }
}

/// Fields of a sample whose truth is known, seen by a counter.
fn counted(seed: u64, counter: impl Fn(f64) -> f64) -> Vec<(f64, u32)> {
    let mut random = StdRng::seed_from_u64(seed);
    let steps = DILUTIONS.into_iter().flat_map(|dilution| [dilution; FIELDS]);
    steps.map(|dilution| (dilution, poisson(&mut random, counter(DENSE / dilution)))).collect()
}

fn judged(counts: &[(f64, u32)]) -> Assessment {
    Assessment::new(DilutionSeries::of(counts).unwrap())
}

/// How many of 1000 series are judged so.
fn share(verdict: Verdict, counter: impl Fn(f64) -> f64 + Copy) -> f64 {
    let found = (0..1000).filter(|&seed| judged(&counted(seed, counter)).verdict == verdict).count();
    found as f64 / 1000.0
}

#[test]
fn a_true_counter_is_found_proportional_and_its_numbers_are_the_known_ones() {
    let right = share(Verdict::Proportional, |truth| truth);
    println!("true counters found proportional: {:.1} %", 100.0 * right);
    assert!(right > 0.95, "{right}");
    let series = DilutionSeries::of(&counted(1, |truth| truth)).unwrap();
    assert!((series.slope / DENSE - 1.0).abs() < 0.03 && series.r_squared > 0.99, "{series:?}");
    for step in &series.steps {
        assert!((step.cv.unwrap() / step.poisson_cv - 1.0).abs() < 0.8, "{step:?}");
    }
    // One that misses a fifth everywhere is proportional too, as the caution says.
    assert!(share(Verdict::Proportional, |truth| 0.8 * truth) > 0.95);
}

#[test]
fn a_counter_that_saturates_is_found_out() {
    // Of 400 it sees 320: a fifth is lost at the densest step, a tenth at the next.
    let saturating = |truth: f64| truth / (1.0 + truth / 1600.0);
    let found = share(Verdict::FallsShort, saturating);
    println!("counters that lose a fifth of 400 nuclei found out: {:.1} %", 100.0 * found);
    assert!(found > 0.95, "{found}");
    let assessment = judged(&counted(3, saturating));
    assert!((0.1..0.3).contains(&assessment.series.shortfall), "{assessment:?}");
    assert!(
        assessment.words.contains("at 1 in 1 they are") && assessment.words.contains("dilute further"),
        "{}",
        assessment.words
    );
    // And one that counts 30 too many, whatever there is.
    assert!(share(Verdict::Overshoots, |truth| truth) < 0.02);
    assert!(share(Verdict::FallsShort, |truth| truth + 30.0) > 0.95, "thin steps have too many");
}

#[test]
fn a_wrong_dilution_is_named() {
    let mut counts = counted(5, |truth| truth);
    for (dilution, count) in &mut counts {
        if *dilution == 4.0 {
            *count = (*count * 13) / 10;
        }
    }
    let assessment = judged(&counts);
    assert_eq!(assessment.verdict, Verdict::Scattered, "{assessment:?}");
    assert!(assessment.words.contains("off at 1 in 4"), "{}", assessment.words);
}

#[test]
fn the_interval_of_a_cv_covers_what_it_promises() {
    let mut random = StdRng::seed_from_u64(11);
    let (mean, fields, series) = (100.0, 6, 2000);
    let truth = 1.0 / f64::sqrt(mean);
    let covered = (0..series)
        .filter(|_| {
            let counts: Vec<(f64, u32)> =
                (0..fields).map(|_| (1.0, poisson(&mut random, mean))).chain([(2.0, 50)]).collect();
            let step = &DilutionSeries::of(&counts).unwrap().steps[0];
            step.cv_interval.is_some_and(|[low, high]| low <= truth && truth <= high)
        })
        .count();
    let share = covered as f64 / f64::from(series);
    println!("95 % intervals of the CV of {fields} fields cover {:.1} %", 100.0 * share);
    assert!((0.93..0.97).contains(&share), "{share}");
}

#[test]
fn few_and_clumped_fields_are_cautioned_against() {
    let assessment = judged(&[(1.0, 10), (1.0, 60), (1.0, 20), (2.0, 15)]);
    let cautions = assessment.cautions.join("\n");
    for words in [
        "only 2 dilutions",
        "fewer than 3 fields at 1 in 2",
        "more than randomly distributed nuclei",
        "proportional does not mean accurate",
    ] {
        assert!(cautions.contains(words), "{words:?} in {cautions}");
    }
    assert!(assessment.to_lines().iter().any(|line| line.contains("95 %")));
    let html = page(&assessment, &[(1.0, 10), (2.0, 15)]).unwrap();
    assert!(html.contains("<svg") && html.contains("Every dilution"));
}
