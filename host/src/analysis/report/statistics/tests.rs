use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

#[test]
fn quantiles_are_those_of_the_tables() {
    for (degrees, expected) in
        [(1, 12.7062), (2, 4.3027), (4, 2.7764), (9, 2.2622), (29, 2.0452), (1000, 1.9623)]
    {
        assert!((student(degrees) - expected).abs() < 1e-4, "{degrees}: {}", student(degrees));
    }
}

#[test]
fn numbers_of_known_counts() {
    // Mean 10, squares 4 + 1 + 0 + 1 + 4, s² 2.5: s / √5 is 0.70711, times 2.77645.
    let known = CountStatistics::of(&[8, 9, 10, 11, 12]).unwrap();
    assert_eq!((known.fields, known.total, known.mean.value), (5, 50, 10.0));
    assert!((known.standard_deviation.unwrap() - 2.5_f64.sqrt()).abs() < 1e-12);
    let [low, high] = known.mean.interval.unwrap();
    assert!((low - 8.0368).abs() < 1e-4 && (high - 11.9632).abs() < 1e-4, "{low} {high}");
    assert!((known.dispersion.unwrap() - 0.25).abs() < 1e-12);
    // t(0.975, 40) 0.15811 / √41 is 0.0499, and of 40 fields 0.0506.
    assert_eq!(known.more_fields, Some(41 - 5));
    assert!(known.cautions().is_empty());

    let one = CountStatistics::of(&[7]).unwrap();
    assert_eq!((one.mean.interval, one.standard_deviation, one.more_fields), (None, None, None));
    assert_eq!(CountStatistics::of(&[]), None);
    let none = CountStatistics::of(&[0, 0]).unwrap();
    assert_eq!((none.mean.value, none.more_fields, none.dispersion), (0.0, None, None));
}

#[test]
fn cautions_name_every_weakness_and_no_other() {
    let few_nuclei = "fewer than 5 nuclei";
    let cases: [(&[u32], &[&str]); 7] = [
        (&[40], &["one field"]),
        (&[40, 44], &["only 2 fields"]),
        (&[1, 2, 3, 2, 1], &[few_nuclei]),
        (&[0, 0, 0, 0, 0, 0], &[few_nuclei, "up to 0.50 randomly distributed nuclei per field"]),
        (&[40, 40, 40, 40, 40], &["all counts are equal"]),
        (&[3, 70, 5, 90, 2, 80], &["times as much as those of randomly distributed nuclei"]),
        (&[38, 44, 40, 35, 47, 42], &[]),
    ];
    for (counts, parts) in cases {
        let cautions = CountStatistics::of(counts).unwrap().cautions();
        assert_eq!(cautions.len(), parts.len(), "{counts:?}: {cautions:?}");
        for (caution, part) in cautions.iter().zip(parts) {
            assert!(caution.contains(part), "{counts:?}: {cautions:?}");
        }
    }
}

#[test]
fn density_of_equal_fields_is_their_mean() {
    let counts = [8, 9, 10, 11, 12];
    let mean = CountStatistics::of(&counts).unwrap().mean;
    let found = density(&counts, &[4.0; 5]).unwrap();
    assert!((found.value - mean.value / 4.0).abs() < 1e-12);
    let ends = |estimate: Estimate| estimate.interval.unwrap();
    assert!(ends(found).iter().zip(ends(mean.times(0.25))).all(|(a, b)| (a - b).abs() < 1e-9));
    // Counts in proportion to the areas leave no doubt.
    let exact = density(&[10, 20], &[1.0, 2.0]).unwrap();
    assert_eq!((exact.value, exact.interval), (10.0, Some([10.0, 10.0])));
    assert_eq!(density(&[3], &[1.5]).unwrap().interval, None);
    assert_eq!(density(&[], &[]), None);
}

/// A count of nuclei strewn at random, by waiting times.
fn poisson(rng: &mut StdRng, mean: f64) -> u32 {
    let mut time = 0.0;
    let mut count = 0;
    loop {
        time -= (1.0 - rng.random::<f64>()).ln();
        if time > mean {
            return count;
        }
        count += 1;
    }
}

/// A count of nuclei in clumps of a geometric number, `clump` in the mean.
fn clumped(rng: &mut StdRng, mean: f64, clump: f64) -> u32 {
    (0..poisson(rng, mean / clump))
        .map(|_| {
            let mut size = 1;
            while rng.random::<f64>() > 1.0 / clump {
                size += 1;
            }
            size
        })
        .sum()
}

/// Share of series whose interval holds the true mean.
fn coverage(fields: usize, mean: f64, mut count: impl FnMut(&mut StdRng) -> u32) -> f64 {
    const SERIES: u32 = 4000;
    let mut rng = StdRng::seed_from_u64(20_391);
    let covered = (0..SERIES).filter(|_| {
        let counts: Vec<u32> = (0..fields).map(|_| count(&mut rng)).collect();
        let [low, high] = CountStatistics::of(&counts).unwrap().mean.interval.unwrap();
        low <= mean && mean <= high
    });
    covered.count() as f64 / f64::from(SERIES)
}

#[test]
fn the_interval_covers_what_it_says() {
    // Three standard errors of a share of 0.95 in 4000 series are 0.010.
    for (fields, mean) in [(3, 20.0), (5, 5.0), (5, 50.0), (10, 20.0), (30, 100.0)] {
        let covered = coverage(fields, mean, |rng| poisson(rng, mean));
        println!("Poisson, mean {mean}, {fields} fields: {covered:.3}");
        assert!((covered - 0.95).abs() < 0.015, "{fields} fields, mean {mean}: {covered}");
    }
    for (fields, clump, least) in [(5, 4.0, 0.93), (5, 10.0, 0.91), (20, 4.0, 0.93), (20, 10.0, 0.93)] {
        let covered = coverage(fields, 40.0, |rng| clumped(rng, 40.0, clump));
        println!("clumps of {clump}, mean 40, {fields} fields: {covered:.3}");
        assert!((least..0.96).contains(&covered), "{fields} fields, clumps of {clump}: {covered}");
    }
}

#[test]
fn patches_are_covered_once_there_are_many_fields() {
    // Nuclei in one field of four, none in the others: as clumped as a cover slip gets.
    let patchy = |rng: &mut StdRng| if rng.random::<f64>() < 0.25 { poisson(rng, 160.0) } else { 0 };
    for (fields, range) in [(5, 0.70..0.80), (20, 0.88..0.94), (80, 0.92..0.96)] {
        let covered = coverage(fields, 40.0, patchy);
        println!("a quarter of the fields full, mean 40, {fields} fields: {covered:.3}");
        assert!(range.contains(&covered), "{fields} fields: {covered}");
    }
}

#[test]
fn the_promised_fields_reach_the_goal() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut widths = Vec::new();
    for _ in 0..200 {
        let first: Vec<u32> = (0..10).map(|_| poisson(&mut rng, 40.0)).collect();
        let more = CountStatistics::of(&first).unwrap().more_fields.unwrap();
        let all: Vec<u32> = first.into_iter().chain((0..more).map(|_| poisson(&mut rng, 40.0))).collect();
        let mean = CountStatistics::of(&all).unwrap().mean;
        widths.push((mean.interval.unwrap()[1] - mean.value) / mean.value);
    }
    widths.sort_by(f64::total_cmp);
    let median = widths[widths.len() / 2];
    assert!((median - GOAL).abs() < 0.01, "{median}");
}
