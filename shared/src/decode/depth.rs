//! Maps samples of more than 8 bits to 8 bits, and records their values in the file's own units.

use alloc::vec::Vec;

use crate::image::ValueScale;

/// Quantiles of the samples that become 0 and 255, which exclude single hot and dead pixels.
const LOW: f64 = 0.000_5;
const HIGH: f64 = 0.999_9;
/// Steps of the result per standard deviation of the noise; finer steps would only show noise.
const STEPS_IN_NOISE: f64 = 2.0;
/// The standard deviation of normal noise over the median second difference of neighbors: those spread wider by
/// the root of six, and the median of their size is 0.6745 of that.
const NOISE_OF_MEDIAN_DIFFERENCE: f64 = 0.605_2;
/// Minimum number of samples to distinguish noise from content.
const FEW_SAMPLES: usize = 4096;

/// Maps samples `[height, width, channels]` linearly to 0 to 255.
///
/// Integers that fit into 8 bits are unchanged. The step is a 255th of the span between two quantiles, or half a
/// standard deviation of the noise if that is more, and at least 1 for integers.
pub(super) fn to_bytes(samples_hwc: &[f64], channels: usize, whole: bool) -> (Vec<u8>, ValueScale) {
    let mut sorted: Vec<f64> = samples_hwc.iter().copied().filter(|sample| sample.is_finite()).collect();
    if sorted.is_empty() {
        return (alloc::vec![0; samples_hwc.len()], ValueScale::BYTES);
    }
    let (low, high) = (quantile(&mut sorted, LOW), quantile(&mut sorted, HIGH));
    let fits = |value: f64| (0.0..=255.0).contains(&value);
    if whole && samples_hwc.iter().copied().all(fits) {
        return (samples_hwc.iter().map(|&sample| sample as u8).collect(), ValueScale::BYTES);
    }
    let finest = if whole { 1.0 } else { f64::MIN_POSITIVE };
    let step = ((high - low) / 255.0).max(noise(samples_hwc, channels) / STEPS_IN_NOISE).max(finest);
    let bytes = samples_hwc
        .iter()
        .map(
            |&sample| {
                if sample.is_nan() { 0 } else { libm::round((sample - low) / step).clamp(0.0, 255.0) as u8 }
            },
        )
        .collect();
    (bytes, ValueScale { offset: low as f32, step: step as f32 })
}

/// The value at a quantile; reorders the values.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    let at = ((values.len() - 1) as f64 * share + 0.5) as usize;
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}

/// Standard deviation of the noise, by the median second difference along rows: edges are few, and slopes have none
/// (Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", 1994, with a plain second difference).
fn noise(samples_hwc: &[f64], channels: usize) -> f64 {
    if samples_hwc.len() < FEW_SAMPLES {
        return 0.0;
    }
    let (middle, after) = (samples_hwc.iter().skip(channels), samples_hwc.iter().skip(2 * channels));
    let triples = samples_hwc.iter().zip(middle).zip(after);
    let mut differences: Vec<f64> = triples
        .map(|((a, b), c)| (a - 2.0 * b + c).abs())
        .filter(|difference| difference.is_finite())
        .collect();
    if differences.is_empty() { 0.0 } else { quantile(&mut differences, 0.5) * NOISE_OF_MEDIAN_DIFFERENCE }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of a flat field with noise of that standard deviation, by the sum of twelve uniform ones.
    fn field(mean: f64, deviation: f64) -> Vec<f64> {
        let mut state = 1_u32;
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24)
        };
        (0..40_000)
            .map(|_| libm::round(mean + deviation * ((0..12).map(|_| uniform()).sum::<f64>() - 6.0)))
            .collect()
    }

    #[test]
    fn whole_numbers_of_eight_bits_stay() {
        let (bytes, scale) = to_bytes(&[0.0, 3.0, 255.0], 1, true);
        assert_eq!((bytes, scale), (alloc::vec![0, 3, 255], ValueScale::BYTES));
    }

    #[test]
    fn a_hot_pixel_and_an_offset_change_nothing() {
        let plain = field(1000.0, 40.0);
        let (bytes, scale) = to_bytes(&plain, 1, true);
        let mut odd: Vec<f64> = plain.iter().map(|value| value + 32_768.0).collect();
        odd[17] = 65_535.0;
        let (shifted, moved) = to_bytes(&odd, 1, true);
        let same = bytes.iter().zip(&shifted).filter(|(a, b)| a == b).count();
        assert!(same + 1 >= bytes.len(), "{same}");
        assert_eq!(moved.step, scale.step);
        assert_eq!(moved.offset, scale.offset + 32_768.0);
    }

    #[test]
    fn noise_stays_within_a_few_levels() {
        let (bytes, scale) = to_bytes(&field(1000.0, 40.0), 1, true);
        assert!((15.0..25.0).contains(&scale.step), "{scale:?}");
        assert!(bytes.iter().all(|&byte| byte < 24), "{:?}", bytes.iter().max());
    }

    #[test]
    fn depth_conversion_is_within_half_a_step() {
        let ramp: Vec<f64> = (0..10_000).map(f64::from).collect();
        let (bytes, scale) = to_bytes(&ramp, 1, true);
        for (&value, &byte) in ramp.iter().zip(&bytes).skip(10).take(9_900) {
            assert!((f64::from(scale.value(byte.into())) - value).abs() <= f64::from(scale.step) * 0.51);
        }
        let (_, unit) = to_bytes(&ramp.iter().map(|value| value / 1e4).collect::<Vec<_>>(), 1, false);
        assert!((unit.step * 1e4 / scale.step - 1.0).abs() < 1e-3);
    }

    #[test]
    fn non_finite_samples_are_black() {
        let (bytes, _) = to_bytes(&[f64::NAN, 0.0, 1.0, f64::INFINITY], 1, false);
        assert_eq!((bytes[0], bytes[1], bytes[2], bytes[3]), (0, 0, 255, 255));
        assert_eq!(to_bytes(&[f64::NAN], 1, false).0, [0]);
    }
}
