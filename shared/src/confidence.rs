//! The network's confidence.

/// Probability threshold of a nucleus pixel.
const FOUND: f32 = 0.5;
/// Probability below which a pixel is clearly background: where nuclei are few, the sum over all the background would
/// otherwise outweigh them.
const FAINT: f32 = 0.2;
/// Block size of single-precision partial sums.
const RUN: usize = 1024;
/// Parallel partial sums, which hide the latency of additions.
const ABREAST: usize = 4;

/// The Dice coefficient of a map with itself thresholded at one half, 0 to 1: near 1 if pixels are clearly nucleus or
/// clearly background, lower the more are uncertain. Probabilities below a fifth count as zero. `None` if no pixel is
/// above the threshold.
///
/// Borges, de Campos and others call it Soft Dice Confidence ("Selective prediction for semantic segmentation using
/// post-hoc confidence estimation and its performance under distribution shift", 2024).
///
/// # Shapes
/// `map_hw` holds probabilities, 0 to 1, in any order.
pub fn soft_dice_confidence(map_hw: &[f32]) -> Option<f32> {
    let (mut all, mut within, mut found) = (0.0_f64, 0.0_f64, 0_usize);
    for runs in map_hw.chunks(ABREAST * RUN) {
        let (whole, rest) = runs.as_chunks::<RUN>();
        let (abreast, alone) = whole.as_chunks::<ABREAST>();
        let sums = abreast.iter().flat_map(sums_abreast).chain(alone.iter().map(|run| sums_of(run)));
        for (run_all, run_within) in sums.chain([sums_of(rest)]) {
            all += f64::from(run_all);
            within += f64::from(run_within);
        }
        found += runs.iter().map(|&p| u32::from(p > FOUND)).fold(0, u32::wrapping_add) as usize;
    }
    (found > 0).then(|| (2.0 * within / (all + found as f64)) as f32)
}

/// A probability over the threshold, or zero.
fn above(p: f32, threshold: f32) -> f32 {
    if p > threshold { p } else { 0.0 }
}

/// The sums of a run, and of what of it is found.
fn sums_of(run: &[f32]) -> (f32, f32) {
    run.iter().fold((0.0, 0.0), |(all, within), &p| (all + above(p, FAINT), within + above(p, FOUND)))
}

/// The same of several runs.
fn sums_abreast(runs: &[[f32; RUN]; ABREAST]) -> [(f32, f32); ABREAST] {
    let (mut all, mut within) = ([0.0; ABREAST], [0.0; ABREAST]);
    for at in 0..RUN {
        for (lane, run) in runs.iter().enumerate() {
            let p = run[at];
            all[lane] += above(p, FAINT);
            within[lane] += above(p, FOUND);
        }
    }
    core::array::from_fn(|lane| (all[lane], within[lane]))
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;

    #[test]
    fn is_the_dice_of_the_map_and_its_own_mask() {
        assert_eq!(soft_dice_confidence(&[1.0, 0.0, 1.0, 0.0]), Some(1.0));
        // 2 (0.6 + 0.9) / (0.6 + 0.9 + 0.3 + 2).
        let confidence = soft_dice_confidence(&[0.6, 0.9, 0.3]).unwrap();
        assert!((confidence - 3.0 / 3.8).abs() < 1e-6, "{confidence}");
        // A faint background, however wide, does not count.
        let mut wide = [0.1; 1000];
        wide[..3].copy_from_slice(&[0.6, 0.9, 0.3]);
        assert_eq!(soft_dice_confidence(&wide), Some(confidence));
    }

    #[test]
    fn runs_side_by_side_are_summed_as_one_after_the_other() {
        let map_hw: Vec<f32> = (0..20_u32 * 1024 + 77)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0)
            .collect();
        for length in [1, 1023, 1024, 8 * 1024, 9 * 1024 + 5, map_hw.len()] {
            let (mut all, mut within, mut found) = (0.0_f64, 0.0_f64, 0);
            for run in map_hw[..length].chunks(RUN) {
                all += f64::from(run.iter().filter(|&&p| p > FAINT).sum::<f32>());
                within += f64::from(run.iter().filter(|&&p| p > FOUND).sum::<f32>());
                found += run.iter().filter(|&&p| p > FOUND).count();
            }
            let expected = (found > 0).then(|| (2.0 * within / (all + found as f64)) as f32);
            assert_eq!(soft_dice_confidence(&map_hw[..length]), expected, "{length}");
        }
    }

    #[test]
    fn nothing_found_has_none() {
        assert_eq!(soft_dice_confidence(&[]), None);
        assert_eq!(soft_dice_confidence(&[0.5, 0.2]), None);
    }

    #[test]
    fn a_large_map_keeps_its_precision() {
        let mut map_hw = vec![0.25; 4_000_000];
        map_hw[..1_000_000].fill(0.9);
        // 2 * 0.9 / (0.9 + 0.75 + 1), in millions.
        let confidence = soft_dice_confidence(&map_hw).unwrap();
        assert!((confidence - 0.679_25).abs() < 1e-4, "{confidence}");
    }
}
