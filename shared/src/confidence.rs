//! How sure the network is of what it found.

/// Probability from which a pixel counts as found.
const FOUND: f32 = 0.5;
/// Values summed in single precision before they join the whole sum.
const RUN: usize = 1024;

/// The Dice coefficient of a map with what it becomes at a threshold of one half, 0 to 1: near 1 where pixels are
/// clearly nucleus or clearly not, lower the more of them are neither. `None` where no pixel is found.
///
/// Borges, de Campos and others call it Soft Dice Confidence ("Selective prediction for semantic segmentation using
/// post-hoc confidence estimation and its performance under distribution shift", 2024).
///
/// # Shapes
/// `map_hw` holds probabilities, 0 to 1, in any order.
pub fn soft_dice_confidence(map_hw: &[f32]) -> Option<f32> {
    let (mut all, mut within, mut found) = (0.0_f64, 0.0_f64, 0_usize);
    for run in map_hw.chunks(RUN) {
        let (mut run_all, mut run_within) = (0.0_f32, 0.0_f32);
        for &p in run {
            run_all += p;
            if p > FOUND {
                run_within += p;
                found += 1;
            }
        }
        all += f64::from(run_all);
        within += f64::from(run_within);
    }
    (found > 0).then(|| (2.0 * within / (all + found as f64)) as f32)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn is_the_dice_of_the_map_and_its_own_mask() {
        assert_eq!(soft_dice_confidence(&[1.0, 0.0, 1.0, 0.0]), Some(1.0));
        // 2 (0.6 + 0.9) / (0.6 + 0.9 + 0.3 + 2).
        let confidence = soft_dice_confidence(&[0.6, 0.9, 0.3]).unwrap();
        assert!((confidence - 3.0 / 3.8).abs() < 1e-6, "{confidence}");
    }

    #[test]
    fn nothing_found_has_none() {
        assert_eq!(soft_dice_confidence(&[]), None);
        assert_eq!(soft_dice_confidence(&[0.5, 0.2]), None);
    }

    #[test]
    fn a_large_map_keeps_its_precision() {
        let mut map_hw = vec![0.000_1; 4_000_000];
        map_hw[..1000].fill(0.9);
        // 2 * 900 / (900 + 399.9 + 1000).
        let confidence = soft_dice_confidence(&map_hw).unwrap();
        assert!((confidence - 0.782_6).abs() < 1e-4, "{confidence}");
    }
}
